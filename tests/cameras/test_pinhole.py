"""The pinhole camera, against OpenCV, hand-computed values and its own inverse."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera

CAMERA = PinholeCamera(300.0, 100, 80)


def poses(count: int, seed: int = 0) -> np.ndarray:
    """Random cameras about 0.8 m in front of the head."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_euler("xyz", rng.uniform(-0.3, 0.3, (count, 3))).as_matrix()
    position = rotation @ np.array([0.02, -0.01, 0.8])
    return np.concatenate([rotation, position[:, :, None]], axis=2)


def test_projection_by_hand():
    """0.08 m at 0.8 m with 1000 px is 100 px; +x goes right, +y goes up (a smaller row), +z comes nearer."""
    points = np.array([[0, 0, 0], [0.08, 0, 0], [0, 0.08, 0], [0.08, 0, 0.4]])
    pose = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]]])
    pixels = PinholeCamera(1000.0, 400, 300).project(points, pose)[0]
    np.testing.assert_allclose(pixels, [[200, 150], [300, 150], [200, 50], [400, 150]], atol=1e-9)


def test_projection_is_that_of_opencv():
    points = np.random.default_rng(1).uniform(-0.1, 0.1, (30, 3))
    for pose in poses(5):
        # OpenCV: world to camera, y down, z away from the camera
        flip = np.diag([1.0, -1.0, -1.0])
        rotation = flip @ pose[:, :3].T
        expected, _ = cv2.projectPoints(
            points, cv2.Rodrigues(rotation)[0], -rotation @ pose[:, 3], CAMERA.matrix, np.zeros(4)
        )
        np.testing.assert_allclose(CAMERA.project(points, pose[None])[0], expected[:, 0], atol=1e-9)


def test_arrays_and_tensors_agree_and_points_may_differ_between_frames():
    points, pose = np.random.default_rng(2).uniform(-0.1, 0.1, (4, 30, 3)), poses(4)
    arrays = CAMERA.project(points, pose)
    tensors = CAMERA.project(torch.from_numpy(points), torch.from_numpy(pose))
    np.testing.assert_allclose(tensors.numpy(), arrays, atol=1e-12)
    np.testing.assert_allclose(CAMERA.project(points[0], pose)[2], CAMERA.project(points[:1], pose[2:3])[0], atol=1e-12)
    single = CAMERA.project(torch.from_numpy(points).float(), torch.from_numpy(pose).float())
    assert single.dtype == torch.float32


def test_unproject_inverts_project():
    pixels = np.random.default_rng(3).uniform(0, 80, (20, 2))
    for pose in poses(3):
        directions = CAMERA.unproject(pixels)
        np.testing.assert_allclose(directions[:, 2], -1.0)
        world = pose[:, 3] + 0.7 * directions @ pose[:, :3].T
        np.testing.assert_allclose(CAMERA.project(world, pose[None])[0], pixels, atol=1e-9)


def test_uv_is_minus_one_and_one_at_the_edges():
    corners = np.array([[0.0, 0.0], [100.0, 80.0], [50.0, 40.0]])
    np.testing.assert_allclose(CAMERA.uv(corners), [[-1, -1], [1, 1], [0, 0]])
    # one metre at one metre is 300 px, six half widths and 7.5 half heights
    assert CAMERA.uv_per_metre == pytest.approx((6.0, -7.5))


def test_resize_keeps_the_field_of_view():
    half = CAMERA.resize(50, 40)
    assert (half.focal, half.size) == (150.0, (50, 40))
    assert half.fov_y == pytest.approx(CAMERA.fov_y)
    assert CAMERA.fov_y == pytest.approx(2 * math.atan(40 / 300))


def test_projection_is_differentiable():
    points = torch.rand(3, 3, dtype=torch.float64) * 0.1
    pose = torch.from_numpy(poses(2))
    assert torch.autograd.gradcheck(CAMERA.project, (points.requires_grad_(), pose.requires_grad_()))


def test_points_behind_the_camera_stay_finite():
    pose = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]]])
    assert np.isfinite(CAMERA.project(np.array([[0.1, 0.0, 2.0], [0.0, 0.0, 0.8]]), pose)).all()


def test_nerfstudio_sees_the_same_rays():
    pose = poses(2).astype(np.float32)
    cameras = CAMERA.to_nerfstudio(pose, np.array([0.0, 1.0], np.float32))
    rays = cameras.generate_rays(camera_indices=1, keep_shape=True)
    assert rays.times is not None and float(rays.times[0, 0]) == 1.0
    rows, columns = np.mgrid[:80, :100] + 0.5
    directions = CAMERA.unproject(np.stack([columns, rows], -1)) @ pose[1, :, :3].T.astype(np.float64)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    np.testing.assert_allclose(rays.directions.numpy(), directions, atol=1e-6)
