"""Occupancy grid updated from rendering weights, so that samples in empty cells are skipped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


class OccupancyGrid(nn.Module):
    """Decaying maximum of the rendering weight of samples in each cell of the volume's box, over all frames.

    Weights instead of densities (nerfacc, Instant-NGP) also prune the inside of the head, whose density has no effect
    behind the skin. They come from the training rays and cost no evaluation of the field. Between two refreshes a
    surface moves into a neighbouring cell at most, so the neighbours of an occupied cell stay occupied.

    Args:
        resolution: number of cells along an axis.
        threshold: rendering weight below which a cell counts as empty.
        decay: factor on the stored weights at each refresh.
        warmup: number of refreshes during which every cell counts as occupied.
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

    def cells(self, unit: Float[Tensor, "*bs 3"]) -> Int64[Tensor, "*bs"]:
        """Index of the cell of each point in [0, 1]^3."""
        cell = (unit * self.resolution).long().clamp_(0, self.resolution - 1)
        return (cell[..., 0] * self.resolution + cell[..., 1]) * self.resolution + cell[..., 2]

    def occupied(self, unit: Float[Tensor, "*bs 3"]) -> Bool[Tensor, "*bs"]:
        """Whether points in [0, 1]^3 lie in occupied cells."""
        return self.mask[self.cells(unit)]

    @torch.no_grad()
    def record(self, unit: Float[Tensor, "points 3"], weights: Float[Tensor, " points"]) -> None:
        """Take the rendering weights of samples in [0, 1]^3 into the grid."""
        self.grid.scatter_reduce_(0, self.cells(unit), weights.to(self.grid.dtype), "amax")

    @torch.no_grad()
    def refresh(self) -> None:
        """Mark cells as empty whose weights have stayed below the threshold, and decay the weights."""
        self.refreshes += 1
        if self.refreshes >= self.warmup:
            seen = (self.grid > self.threshold).view(1, 1, *[self.resolution] * 3).float()
            self.mask.copy_(F.max_pool3d(seen, 3, 1, 1).bool().flatten())
            self.grid *= self.decay
        else:
            self.grid.zero_()  # the fog of the first steps must not stay
