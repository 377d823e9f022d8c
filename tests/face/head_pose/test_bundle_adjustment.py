"""Head pose: conventions by hand, bundle adjustment against known poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.head_pose.bundle_adjustment import bundle_adjust, independent_pnp, pose_jitter

WIDTH = HEIGHT = 400
FOCAL = 950.0
CAMERA = PinholeCamera(FOCAL, WIDTH, HEIGHT)
FRONTAL = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]]])


def synthetic_clip(frames=60, noise=0.4, seed=0):
    """A head-sized cloud of points, smooth known poses, and what a camera sees of it."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(90, 3))
    direction[:, 2] = np.abs(direction[:, 2])
    shape = direction / np.linalg.norm(direction, axis=1, keepdims=True) * (0.07, 0.09, 0.075)
    t = np.linspace(0, 2 * np.pi, frames)
    head = Rotation.from_euler(
        "yxz", np.stack([25 * np.sin(t), 10 * np.cos(2 * t), 6 * np.sin(t + 1)], 1), degrees=True
    )
    shift = np.stack([0.02 * np.sin(t), 0.015 * np.cos(t), -0.9 + 0.03 * np.sin(2 * t)], axis=1)
    rotation = head.inv().as_matrix()
    poses = np.concatenate([rotation, -rotation @ shift[:, :, None]], axis=-1)
    points = CAMERA.project(shape, poses) + noise * rng.normal(size=(frames, 90, 2))
    return shape, poses, points, rng


def test_a_point_lands_where_the_conventions_say():
    points = np.array([[0, 0, 0], [0.08, 0, 0], [0, 0.08, 0], [0.08, 0, 0.4]])
    pixels = PinholeCamera(1000.0, 400, 300).project(points, FRONTAL)[0]
    # 0.08 m at 0.8 m with 1000 px is 100 px; +x goes right, +y goes up (smaller row), +z comes nearer
    np.testing.assert_allclose(pixels, [[200, 150], [300, 150], [200, 50], [400, 150]], atol=1e-9)


def test_a_head_rotated_to_its_left_shows_its_nose_on_the_right():
    rotation = Rotation.from_euler("y", 30, degrees=True).as_matrix()  # z towards x: the image's right
    pose = np.concatenate([rotation.T, rotation.T @ [[0], [0], [0.8]]], axis=1)[None]
    nose = PinholeCamera(1000.0, 400, 400).project(np.array([[0.0, 0, 0.1]]), pose)[0, 0]
    assert nose[0] > 240
    assert abs(nose[1] - 200) < 1e-9


def test_bundle_adjustment_finds_known_poses():
    shape, poses, points, rng = synthetic_clip()
    guess = shape + 0.002 * rng.normal(size=shape.shape)
    found = bundle_adjust(points, guess, WIDTH, HEIGHT)
    gt, solved = (Rotation.from_matrix(p[:, :, :3]) for p in (poses, found.camera_to_worlds))
    angle = np.degrees((gt.inv() * solved).magnitude())
    assert np.median(angle) < 0.5
    assert np.median(np.linalg.norm(found.camera_to_worlds[:, :, 3] - poses[:, :, 3], axis=1)) < 0.05
    assert abs(found.camera.focal / FOCAL - 1) < 0.05
    assert found.seen.all()
    assert np.median(found.error) < 0.6  # 0.4 px per coordinate: a median distance of 0.47
    assert np.abs(found.shape - shape).mean() < np.abs(guess - shape).mean()


def test_bundle_adjustment_is_steadier_than_single_frames():
    shape, poses, points, rng = synthetic_clip(noise=1.0)
    guess = shape + 0.002 * rng.normal(size=shape.shape)
    found = bundle_adjust(points, guess, WIDTH, HEIGHT)
    single = independent_pnp(points, guess, found.camera)
    gt = pose_jitter(poses)
    joint, alone = pose_jitter(found.camera_to_worlds), pose_jitter(single.camera_to_worlds)
    assert joint[0] - gt[0] < 0.25 * (alone[0] - gt[0])
    assert abs(joint[1] - gt[1]) < 0.2 * (alone[1] - gt[1])


def test_pnp_is_exact_without_noise():
    shape, poses, points, _ = synthetic_clip(noise=0.0)
    found = independent_pnp(points, shape, CAMERA)
    np.testing.assert_allclose(found.camera_to_worlds, poses, atol=1e-4)


def test_frames_without_a_face_are_interpolated_and_flagged():
    shape, poses, points, _ = synthetic_clip(noise=0.0)
    points[20:24] = np.nan
    points[:2] = np.nan
    found = bundle_adjust(points, shape, WIDTH, HEIGHT)
    assert np.flatnonzero(~found.seen).tolist() == [0, 1, 20, 21, 22, 23]
    assert np.isnan(found.error[~found.seen]).all()
    np.testing.assert_allclose(found.camera_to_worlds[0], found.camera_to_worlds[2])
    gt, solved = (Rotation.from_matrix(p[20:24, :, :3]) for p in (poses, found.camera_to_worlds))
    assert np.degrees((gt.inv() * solved).magnitude()).max() < 2.0


def test_one_bad_landmark_does_not_move_the_pose():
    shape, poses, points, _ = synthetic_clip(noise=0.2)
    points[:, 7] += 40.0
    found = bundle_adjust(points, shape, WIDTH, HEIGHT)
    gt, solved = (Rotation.from_matrix(p[:, :, :3]) for p in (poses, found.camera_to_worlds))
    assert np.median(np.degrees((gt.inv() * solved).magnitude())) < 0.7


def test_too_little_to_solve_is_refused():
    shape, _, points, _ = synthetic_clip(frames=5)
    points[1:4] = np.nan
    with pytest.raises(ValueError, match="3 frames"):
        bundle_adjust(points, shape, WIDTH, HEIGHT)


def test_jitter_of_a_known_motion():
    angle = np.array([0.0, 1.0, 3.0, 6.0])  # second differences 1, 1 degrees
    rotation = Rotation.from_euler("y", angle[:, None], degrees=True).as_matrix()
    depth = np.array([0.5, 0.5, 0.502, 0.5])  # second differences 0.002, -0.004
    poses = np.concatenate([rotation, rotation @ (np.array([0, 0, 1.0])[:, None] * depth[:, None, None])], axis=-1)
    rotating, moving = pose_jitter(poses)
    assert rotating == pytest.approx(1.0, abs=1e-6)
    assert moving == pytest.approx(np.sqrt((0.002**2 + 0.004**2) / 2), rel=1e-6)
