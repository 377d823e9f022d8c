"""The sparse voxel grid."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.baking.sparse_grid import sparse_grid_of


def test_runs_hold_the_corners_of_active_cells():
    active = np.zeros((3, 2, 4), dtype=bool)
    active[0, 0, 1] = active[0, 0, 3] = True  # the run above (0, 0) spans the gap between them
    grid = sparse_grid_of(active)
    assert grid.shape == (3, 2, 4)
    assert grid.num_vertices == 4 * 4  # four runs of z = 1 ... 4
    rows = 3
    touched = [0, 1, rows, rows + 1]
    assert np.flatnonzero(grid.last > grid.first).tolist() == touched
    assert set(grid.first[touched]) == {1}
    assert set(grid.last[touched]) == {5}
    # a cell exists where all four runs hold it; the gap's cell does, too
    assert grid.ranges().reshape(3, 2, 2)[0, 0].tolist() == [1, 4]
    assert all(low >= high for low, high in grid.ranges().reshape(-1, 2)[1:])
    assert grid.bounds().tolist() == [[0, 0, 1], [1, 1, 4]]
    points = grid.points()
    np.testing.assert_allclose(points[:4], [[0, 0, z / 4] for z in (1, 2, 3, 4)])
    np.testing.assert_allclose(points[grid.offset[rows + 1]], [1 / 3, 1 / 2, 1 / 4])
