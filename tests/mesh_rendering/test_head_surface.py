"""Surface of the head: the mesh's depth, its completion to the outline, and points on it."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.linear_face_model import canonical_face
from nerfstudio_talking.mesh_rendering.head_surface import head_surface

CAMERA = PinholeCamera(500.0, 160, 160)
POSE = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]])


def oval_mask(centre=(70, 80), radii=(62, 52)):
    rows, columns = np.mgrid[:160, :160] + 0.5
    return ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1


@pytest.fixture(scope="module")
def surface():
    return head_surface(canonical_face()[0], POSE, CAMERA, oval_mask())


def test_the_mesh_has_its_own_depth(surface):
    shape = canonical_face()[0]
    for point in (1, 4, 168, 50, 280):  # nose, between the eyes, cheeks
        x, y = CAMERA.project(shape[point : point + 1], POSE[None])[0, 0]
        assert surface.on_mesh[int(y), int(x)]
        assert surface.depth[int(y), int(x)] == pytest.approx(0.8 - shape[point, 2], abs=0.004)


def test_the_depth_recedes_to_the_outline_without_a_step(surface):
    column = surface.depth[:, 80]
    rows = np.flatnonzero(surface.mask[:, 80] & ~surface.on_mesh[:, 80])
    rows = rows[rows < 70]  # above the face, from the outline down
    assert len(rows) > 10
    assert (np.diff(column[rows]) < 0).all()
    assert 0.80 < column[rows[0]] < 0.83  # an ellipse is steep at its end: half a pixel inside it is a third nearer
    assert abs(column[rows[-1]] - column[rows[-1] + 1]) < 0.006


def test_nothing_outside_the_head(surface):
    assert (surface.depth[~surface.mask] == 0).all()
    assert (surface.mask == (oval_mask() | surface.on_mesh)).all()
    assert (surface.depth[surface.mask] > 0.6).all()
    assert (surface.depth[surface.mask] < 0.84).all()


def test_points_project_to_their_pixels(surface):
    rows, columns = np.nonzero(surface.mask)
    points = surface.points(rows, columns)
    np.testing.assert_allclose(
        CAMERA.project(points, POSE[None])[0], np.stack([columns, rows], axis=1) + 0.5, atol=1e-6
    )
    np.testing.assert_allclose(0.8 - points[:, 2], surface.depth[rows, columns], atol=1e-6)


def test_a_head_outside_the_image():
    aside = POSE.copy()
    aside[0, 3] = 1.0
    with pytest.raises(ValueError, match="covers no pixel"):
        head_surface(canonical_face()[0], aside, CAMERA, oval_mask())


def test_without_a_mesh_the_front_is_round():
    rows, columns = np.mgrid[:61, :61] - 30
    mask = np.hypot(rows, columns) <= 25
    pose = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.9]])
    surface = head_surface(None, pose, PinholeCamera(150.0, 61, 61), mask)
    assert not surface.on_mesh.any()
    assert np.array_equal(surface.mask, mask)
    assert surface.depth[30, 30] == pytest.approx(0.93 - 0.1)
    share = np.arange(25) / 26
    assert np.allclose(surface.depth[30, 30:55], 0.93 - 0.1 * np.sqrt(1 - share**2), atol=0.01)  # to a pixel
    with pytest.raises(ValueError, match="neither"):
        head_surface(None, pose, PinholeCamera(150.0, 61, 61), np.zeros_like(mask))
