"""Body tracking: known motions of a drawn person are found, whatever the head does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.process.body import track_body

SIZE = 128


def person(motion: np.ndarray, head_x: float) -> tuple[np.ndarray, np.ndarray]:
    """A patterned jacket warped by an affine map of pixels, before a fainter wall; a head that moves independently."""
    rng = np.random.default_rng(0)
    wall, jacket = (cv2.resize(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8), (SIZE, SIZE)) for _ in range(2))
    wall = 96 + wall // 4
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shape = ((np.abs(columns - 64) < 20 + (rows - 80) * 0.7) & (rows > 80)).astype(np.uint8)
    cloth = cv2.warpAffine(shape, motion, (SIZE, SIZE), flags=cv2.INTER_NEAREST) > 0
    image = np.where(cloth[..., None], cv2.warpAffine(jacket, motion, (SIZE, SIZE)), wall)
    ids = np.where(cloth, CLASS_ID["cloth"], CLASS_ID["background"]).astype(np.uint8)
    head = (columns - head_x) ** 2 + (rows - 50) ** 2 < 30**2
    image[head], ids[head] = (200, 150, 120), CLASS_ID["skin"]
    return image.astype(np.uint8), ids


def pixel_motion(shift: tuple[float, float], angle: float, scale: float) -> np.ndarray:
    return cv2.getRotationMatrix2D((64, 110), angle, scale) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])


@pytest.fixture(scope="module")
def clip():
    swing = np.sin(np.arange(12) / 2)
    motions = [pixel_motion((4 * s, 2 * s), 2 * s, 1 + 0.02 * s) for s in swing]
    frames = [person(m, 64 + 12 * np.cos(i)) for i, m in enumerate(motions)]
    return np.stack(motions), [f for f, _ in frames], [ids for _, ids in frames]


def test_known_motions_are_found(clip):
    gt, frames, maps = clip
    found, correlation = track_body(lambda: iter(frames), lambda: iter(maps), len(frames))
    assert np.nanmin(correlation) > 0.9
    # relative to the frame at rest, which is one of the clip's
    points = np.array([[64.0, 100, 1], [40, 120, 1], [90, 120, 1]])
    to_pixels = np.array([[SIZE / 2, 0, (SIZE - 1) / 2], [0, SIZE / 2, (SIZE - 1) / 2], [0, 0, 1]])
    whole = np.concatenate([found, np.tile([[[0.0, 0, 1]]], (len(found), 1, 1))], axis=1)
    pixels = (to_pixels @ whole @ np.linalg.inv(to_pixels))[:, :2]
    rest = int(np.abs(pixels - np.eye(2, 3)).sum((1, 2)).argmin())
    np.testing.assert_allclose(pixels[rest], np.eye(2, 3), atol=0.3)
    back = np.linalg.inv(np.vstack([gt[rest], [0, 0, 1]]))
    for motion, mine in zip(gt, pixels):
        np.testing.assert_allclose(points @ mine.T, points @ (motion @ back).T, atol=0.8)


def test_bodies_in_small_images_are_tracked_too(clip):
    _, frames, maps = clip
    small = [cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in frames]
    small_maps = [cv2.resize(ids, (64, 64), interpolation=cv2.INTER_NEAREST) for ids in maps]
    whole, _ = track_body(lambda: iter(frames), lambda: iter(maps), len(frames))
    found, correlation = track_body(lambda: iter(small), lambda: iter(small_maps), len(frames))
    assert not np.isnan(correlation).any()
    # positions do not depend on the size; a fiftieth is two thirds of a small pixel
    points = np.array([[0.0, 0.6, 1], [-0.4, 0.9, 1], [0.4, 0.9, 1]])
    np.testing.assert_allclose(points @ found.transpose(0, 2, 1), points @ whole.transpose(0, 2, 1), atol=0.02)


def test_a_frame_without_the_body_is_interpolated(clip):
    _, frames, maps = clip
    frames = [frame.copy() for frame in frames]
    frames[5][:] = np.random.default_rng(1).integers(0, 255, frames[5].shape)
    found, correlation = track_body(lambda: iter(frames), lambda: iter(maps), len(frames))
    assert np.isnan(correlation[5])
    np.testing.assert_allclose(found[5], (found[4] + found[6]) / 2, atol=1e-5)


def test_no_clothes_in_sight_means_rest(clip):
    _, frames, maps = clip
    bare = [np.where(ids == CLASS_ID["cloth"], CLASS_ID["neck"], ids).astype(np.uint8) for ids in maps]
    found, correlation = track_body(lambda: iter(frames), lambda: iter(bare), len(frames))
    np.testing.assert_array_equal(found, np.tile(np.eye(2, 3), (len(frames), 1, 1)))
    assert np.isnan(correlation).all()
