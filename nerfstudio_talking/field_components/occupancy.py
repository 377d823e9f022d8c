"""A grid that remembers where the head is, so that empty space costs nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class OccupancyGrid(nn.Module):
    """Greatest density seen lately in each cell of the head's box, over all frames.

    Everything counts as occupied until the grid has been refreshed `warmup` times.

    Args:
        resolution: cells along an axis.
        decay: factor per refresh on what a cell remembers (0.95 in Instant-NGP, appendix C).
        warmup: refreshes before the grid skips anything.
    """

    grid: Tensor
    mask: Tensor
    refreshes: Tensor

    def __init__(self, resolution: int = 64, decay: float = 0.95, warmup: int = 16) -> None:
        super().__init__()
        self.resolution, self.decay, self.warmup = resolution, decay, warmup
        self.register_buffer("grid", torch.zeros(resolution**3))
        self.register_buffer("mask", torch.ones(resolution**3, dtype=torch.bool))
        self.register_buffer("refreshes", torch.zeros((), dtype=torch.long))

    def occupied(self, unit: Float[Tensor, "*bs 3"]) -> Bool[Tensor, "*bs"]:
        """Whether points in [0, 1]^3 lie in cells that may hold something."""
        cell = (unit * self.resolution).long().clamp_(0, self.resolution - 1)
        return self.mask[(cell[..., 0] * self.resolution + cell[..., 1]) * self.resolution + cell[..., 2]]

    @torch.no_grad()
    def refresh(
        self,
        density: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]],
        threshold: float,
        num_cells: int,
    ) -> None:
        """Evaluate some cells anew: half at random, half among the occupied ones.

        Args:
            density: density in 1/metre at points in [0, 1]^3.
            threshold: density under which a cell is empty.
            num_cells: cells to evaluate.
        """
        device = self.grid.device
        cells = torch.randint(self.resolution**3, (num_cells,), device=device)
        known = self.mask.nonzero()[:, 0]
        if self.refreshes >= self.warmup and len(known) > 0:
            half = num_cells // 2
            cells[:half] = known[torch.randint(len(known), (half,), device=device)]
        coords = torch.stack(
            [cells // self.resolution**2, cells // self.resolution % self.resolution, cells % self.resolution], -1
        )
        unit = (coords + torch.rand(num_cells, 3, device=device)) / self.resolution
        self.grid *= self.decay ** (num_cells / self.resolution**3)
        self.grid.scatter_reduce_(0, cells, density(unit), "amax")
        self.refreshes += 1
        if self.refreshes >= self.warmup:
            occupied = (self.grid > threshold).view(1, 1, *[self.resolution] * 3).float()
            # a cell's neighbours count too: the random points of a refresh miss thin things
            self.mask.copy_(torch.nn.functional.max_pool3d(occupied, 3, 1, 1).bool().flatten())
