"""Photometric alignment on ray-traced heads whose poses are known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.textured_heads import CAMERA, head_points, render_head, smooth_poses
from scipy.spatial.transform import Rotation

from nerfstudio_talking.face.head_pose.photometric_alignment import (
    AlignmentSettings,
    align_poses,
    alignment_passes,
    correct_poses,
    project_with_jacobian,
)

POSES = smooth_poses()
POINTS = head_points()
WEIGHTS = np.ones(len(POINTS))
ALL = np.ones(len(POSES), dtype=bool)


@pytest.fixture(scope="module")
def images():
    """Frames of the head; every third one is darker."""
    return [render_head(pose, 0.9 if frame % 3 == 0 else 1.0) for frame, pose in enumerate(POSES)]


def perturb(poses, seed=0):
    """Poses with the errors of landmarks: 0.008 rad and 0.4 mm, correlated over a few frames."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(len(poses) + 4, 6))
    noise = sum(noise[k : k + len(poses)] for k in range(5)) / np.sqrt(5)
    return correct_poses(poses, noise * ([0.008] * 3 + [0.0004] * 3)).astype(np.float32)


def pixel_errors(poses):
    """Distance of every point from its true position, pixels, per frame. A motion common to all frames is left out:
    the images do not determine the head's frame."""
    moved = np.concatenate([POSES, np.tile([[[0, 0, 0, 1.0]]], (len(POSES), 1, 1))], axis=1)
    other = np.concatenate([poses, np.tile([[[0, 0, 0, 1.0]]], (len(POSES), 1, 1))], axis=1).astype(np.float64)
    relative = other @ np.linalg.inv(moved)
    turn = Rotation.from_matrix(relative[:, :3, :3]).mean().as_matrix()
    common = np.concatenate([turn, np.median(relative[:, :3, 3], axis=0)[:, None]], axis=1)
    free = (POINTS - common[:, 3]) @ common[:, :3]  # points seen from the true poses in the moved frame
    shown = CAMERA.project(POINTS, other[:, :3])
    return np.linalg.norm(shown - CAMERA.project(free, POSES), axis=-1).mean(1)


def align(images, poses, seen=ALL, **options):
    return align_poses(lambda frame: images[frame], POINTS, WEIGHTS, poses, CAMERA, seen, **options)


def test_perturbed_poses_come_back(images):
    start = perturb(POSES)
    found = align(images, start)
    before, after = pixel_errors(start), pixel_errors(found.camera_to_worlds)
    assert before.mean() > 0.15
    assert after.mean() < before.mean() / 2.5
    assert found.improved
    assert not found.refused.any()
    assert np.median(found.residual_after) < 0.6 * np.median(found.residual_before)


def test_the_jacobian_is_the_derivative_of_the_projection():
    pose = perturb(POSES)[5].astype(np.float64)
    pixels, jacobian = project_with_jacobian(POINTS, pose, CAMERA)
    np.testing.assert_allclose(pixels, CAMERA.project(POINTS, pose[None])[0], atol=1e-9)
    step = 1e-6
    for k in range(6):
        ends = [CAMERA.project(POINTS, correct_poses(pose[None], s * step * np.eye(6)[k : k + 1]))[0] for s in (1, -1)]
        np.testing.assert_allclose(jacobian[:, :, k], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-3)


def test_a_correction_rotates_about_the_heads_origin_and_moves_in_the_heads_frame():
    pose = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]]])
    moved = correct_poses(pose, np.array([[0, np.pi / 2, 0, 0.1, 0.2, 0.3]]))
    np.testing.assert_allclose(moved[0], [[0, 0, 1, 0.9], [0, 1, 0, 0.2], [-1, 0, 0, 0.3]], atol=1e-12)


def test_two_runs_agree_to_the_bit(images):
    first, second = (align(images, perturb(POSES)) for _ in range(2))
    assert (first.camera_to_worlds == second.camera_to_worlds).all()
    assert (first.residual_after == second.residual_after).all()


def test_a_frame_without_a_face_follows_its_neighbours(images):
    seen = ALL.copy()
    seen[[9, 10]] = False
    read = []

    def get(frame):
        read.append(frame)
        return images[frame]

    start = POSES.astype(np.float32).copy()
    start[6:14] = correct_poses(POSES[6:14], np.tile([0.006, 0, 0, 0, 0, 0], (8, 1)))
    found = align_poses(get, POINTS, WEIGHTS, start, CAMERA, seen)
    assert not {9, 10} & set(read)
    assert np.isnan(found.residual_before[[9, 10]]).all()
    assert not found.refused.any()
    # the neighbours' rotation is taken back, and with it that of the two
    around = found.corrections[[8, 11], 0]
    assert (around < -0.002).all()
    np.testing.assert_allclose(found.corrections[[9, 10], 0], around.mean(), atol=0.0015)


def test_a_correction_that_is_too_large_is_refused(images):
    start = perturb(POSES)
    found = align(images, start, settings=AlignmentSettings(max_rotation=0.01))
    assert found.refused.any()
    assert not found.refused.all()
    assert (found.camera_to_worlds[found.refused] == start[found.refused]).all()
    assert (found.corrections[found.refused] == 0).all()
    assert (np.linalg.norm(found.corrections[:, :3], axis=1) <= 0.01).all()


def test_a_frame_that_shows_something_else_keeps_its_pose(images):
    rng = np.random.default_rng(2)
    changed = [*images]
    changed[12] = rng.integers(0, 255, images[12].shape, dtype=np.uint8)
    start = perturb(POSES)
    strict = AlignmentSettings(max_residual_ratio=0.9)  # noise that nothing can align
    found = align(changed, start, settings=strict)
    assert found.refused[12]
    assert (found.camera_to_worlds[12] == start[12]).all()


def test_a_head_outside_the_image_is_not_measured(images):
    start = perturb(POSES)
    start[3, 0, 3] += 0.3
    found = align(images, start)
    assert np.isnan(found.residual_before[3])
    assert np.isfinite(found.residual_before[4])


def test_the_temporal_penalty_scales_with_the_frame_rate(images):
    start = perturb(POSES)
    slow, fast = (align(images, start, fps=fps).corrections for fps in (25.0, 100.0))
    bend = [np.abs(np.diff(c, 2, axis=0)).mean() for c in (slow, fast)]
    assert bend[1] < 0.8 * bend[0]


def test_larger_images_are_shrunk(images):
    start = perturb(POSES)
    large = [np.repeat(np.repeat(image, 2, 0), 2, 1) for image in images]
    double = align_poses(
        lambda frame: large[frame], POINTS, WEIGHTS, start, CAMERA.resize(192, 192), ALL,
        settings=AlignmentSettings(side=96),
    )  # fmt: skip
    assert (double.camera_to_worlds == align(images, start).camera_to_worlds).all()


@pytest.mark.parametrize("kept", [0, 10])
def test_images_are_kept_only_as_far_as_the_memory_allows(images, kept):
    reads = np.zeros(len(POSES), dtype=int)

    def read(frame):
        reads[frame] += 1
        return images[frame]

    start = perturb(POSES)
    settings = AlignmentSettings(cache_bytes=kept * images[0].nbytes)
    found = align_poses(read, POINTS, WEIGHTS, start, CAMERA, ALL, settings=settings)
    assert (reads == 1).sum() == kept
    assert (found.camera_to_worlds == align(images, start).camera_to_worlds).all()


def test_progress_is_told_once_per_frame_and_pass(images):
    calls = []
    align(images, perturb(POSES), advance=lambda: calls.append(1))
    assert len(calls) == alignment_passes() * len(POSES)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips(images, count):
    start = perturb(POSES)[:count]
    found = align(images, start, ALL[:count])
    assert np.isfinite(found.camera_to_worlds).all()


def test_nothing_to_align(images):
    with pytest.raises(ValueError, match="needs a frame"):
        align(images, perturb(POSES), ~ALL)
    with pytest.raises(ValueError, match="needs a frame"):
        align_poses(lambda frame: images[frame], POINTS, 0 * WEIGHTS, POSES, CAMERA, ALL)
