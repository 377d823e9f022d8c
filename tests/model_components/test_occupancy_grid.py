"""The occupancy grid."""

from __future__ import annotations

import torch

from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid


def test_occupancy_keeps_what_is_seen_and_its_neighbours():
    grid = OccupancyGrid(resolution=16, warmup=2, decay=0.5, threshold=0.1)
    middle = torch.full((1, 3), 0.5 + 1 / 32)  # centre of cell (8, 8, 8)
    neighbour, far = middle + 1 / 16, middle + 3 / 16
    for _ in range(2):
        assert grid.occupied(far).all()  # everything, until the warm-up is over
        grid.record(torch.cat([middle, far]), torch.tensor([0.9, 0.05]))
        grid.refresh()
    assert grid.mask.sum() == 27
    assert grid.occupied(torch.cat([middle, neighbour])).all()
    assert not grid.occupied(far).any()
    for _ in range(5):  # 0.9 halves below 0.1
        grid.refresh()
    assert not grid.mask.any()
