"""A grid that remembers where the head is seen, so that space that shows nothing costs nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class OccupancyGrid(nn.Module):
    """Greatest rendering weight seen lately in each cell of the head's box, over all frames.

    Weights instead of densities (nerfacc, Instant-NGP) prune the inside of the head as well as the air around it:
    what lies behind the skin has density and no effect. They come from the training rays themselves and cost no
    evaluation of the field. A surface moves into a neighbouring cell, never farther, between two refreshes, so the
    neighbours of a seen cell stay open.

    Args:
        resolution: cells along an axis.
        threshold: weight of a sample under which its cell shows nothing.
        decay: factor per refresh on what a cell remembers.
        warmup: refreshes during which everything counts as occupied.
    """

    grid: Tensor
    mask: Tensor
    refreshes: Tensor

    def __init__(self, resolution: int = 48, threshold: float = 0.005, decay: float = 0.6, warmup: int = 2) -> None:
        super().__init__()
        self.resolution, self.threshold, self.decay, self.warmup = resolution, threshold, decay, warmup
        self.register_buffer("grid", torch.zeros(resolution**3))
        self.register_buffer("mask", torch.ones(resolution**3, dtype=torch.bool))
        self.register_buffer("refreshes", torch.zeros((), dtype=torch.long))

    def cells(self, unit: Float[Tensor, "*bs 3"]) -> Tensor:
        """Cell of each point in [0, 1]^3, (*bs,) long."""
        cell = (unit * self.resolution).long().clamp_(0, self.resolution - 1)
        return (cell[..., 0] * self.resolution + cell[..., 1]) * self.resolution + cell[..., 2]

    def occupied(self, unit: Float[Tensor, "*bs 3"]) -> Bool[Tensor, "*bs"]:
        """Whether points in [0, 1]^3 lie in cells that may show something."""
        return self.mask[self.cells(unit)]

    @torch.no_grad()
    def record(self, unit: Float[Tensor, "points 3"], weights: Float[Tensor, " points"]) -> None:
        """Remember the rendering weights of samples."""
        self.grid.scatter_reduce_(0, self.cells(unit), weights.to(self.grid.dtype), "amax")

    @torch.no_grad()
    def refresh(self) -> None:
        """Close the cells that have shown nothing for a while."""
        self.refreshes += 1
        if self.refreshes >= self.warmup:
            seen = (self.grid > self.threshold).view(1, 1, *[self.resolution] * 3).float()
            self.mask.copy_(F.max_pool3d(seen, 3, 1, 1).bool().flatten())
            self.grid *= self.decay
        else:
            self.grid.zero_()  # the fog of the first steps must not linger
