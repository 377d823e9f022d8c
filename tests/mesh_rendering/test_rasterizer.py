"""The rasteriser against a plane that is known."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.mesh_rendering.rasterizer import interpolate, rasterise, sample, signed_areas

POINTS = np.array([(2.0, 2.0), (2.0, 30.0), (28.0, 30.0), (28.0, 2.0), (15.0, 16.0)])
SQUARE = np.array([(0, 1, 2), (0, 2, 3)])


def test_areas_are_positive_counter_clockwise():
    np.testing.assert_allclose(signed_areas(POINTS, SQUARE), [26 * 28, 26 * 28])
    np.testing.assert_allclose(signed_areas(POINTS, SQUARE[:, ::-1]), [-26 * 28, -26 * 28])


def test_interpolated_positions_are_the_pixel_centres():
    coverage = rasterise(POINTS, np.ones(5), SQUARE, 32, 32)
    positions = interpolate(coverage, SQUARE, POINTS)
    rows, columns = np.nonzero(coverage.triangle >= 0)
    inside = (rows > 2) & (rows < 29) & (columns > 2) & (columns < 27)
    assert inside.sum() == 26 * 24
    expected = np.stack([columns, rows], 1)[inside] + 0.5
    np.testing.assert_allclose(positions[rows, columns][inside], expected, atol=0.01)
    assert (positions[coverage.triangle < 0] == 0).all()


def test_near_triangles_cover_far_ones_and_back_faces_are_culled():
    near = np.concatenate([SQUARE, [(1, 2, 4)]])
    depth = np.array([5.0, 5, 5, 5, -9])
    assert rasterise(POINTS, depth, near, 32, 32).triangle[27, 15] == 2
    assert (rasterise(POINTS, depth, SQUARE[:, ::-1], 32, 32).triangle == -1).all()


def test_sampling_is_bilinear_between_pixel_centres():
    ramp = np.broadcast_to((10 * np.arange(8, dtype=np.uint8))[None, :, None], (6, 8, 3)).copy()
    positions = np.array([[(0.5, 0.5), (3.0, 2.0)], [(-4.0, 1.0), (7.5, 9.0)]], dtype=np.float32)
    assert sample(ramp, positions)[..., 0].tolist() == [[0, 25], [0, 70]]
