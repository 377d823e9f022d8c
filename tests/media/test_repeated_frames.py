"""Frames that a conversion to a higher frame rate repeats, encoded and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nerfstudio_talking.media.reading import read_frames
from nerfstudio_talking.media.repeated_frames import change, find_conversion, repeated_by_resampling
from nerfstudio_talking.media.writing import VideoWriter

SIDE = 64


def scene(count: int) -> list[np.ndarray]:
    """A texture of which a part moves, at random speed, as a mouth does."""
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.standard_normal((SIDE, SIDE, 3)), (1.5, 1.5, 0), mode="wrap")
    image = (128 + 35 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    frames = []
    for shift in np.round(np.cumsum(random.uniform(0.6, 3, count))).astype(int):
        frame = image.copy()
        frame[20:44, 20:44] = np.roll(image, (shift, -shift), (0, 1))[20:44, 20:44]
        frames.append(frame)
    return frames


def converted(path: Path, rate: float, fps: float, crf: int, count: int) -> np.ndarray:
    source = scene(count)
    with VideoWriter(path, fps, SIDE, SIDE, crf=crf) as writer:
        for index in range(int(count * fps / rate)):
            frame = source[int(index * rate / fps)].astype(int)
            tiny = np.random.default_rng(index).integers(-1, 2, frame.shape)  # no two frames are equal
            writer.write((frame + tiny).clip(0, 255).astype(np.uint8))
    return np.array(list(read_frames(path)))


@pytest.mark.parametrize("fps", [30.0, 50.0, 60.0])
@pytest.mark.parametrize("crf", [16, 28])
def test_conversions_from_25_are_found(tmp_path, fps, crf):
    frames = converted(tmp_path / "c.mp4", 25.0, fps, crf, 60)
    assert find_conversion(change(frames), fps) == 25


@pytest.mark.parametrize("crf", [16, 28])
def test_true_rates_are_no_conversions(tmp_path, crf):
    frames = converted(tmp_path / "c.mp4", 30.0, 30.0, crf, 100)
    assert find_conversion(change(frames), 30.0) is None


def test_short_or_still_videos_are_no_conversions():
    assert find_conversion(np.zeros(10), 60.0) is None
    assert find_conversion(np.zeros(200), 60.0) is None
    assert find_conversion(np.random.default_rng(0).uniform(0.1, 3, 60), 60.0) is None


def test_repetitions_of_the_reader_itself():
    times = np.array([0, 1, 2, 4, 5]) / 25  # frame 3 was dropped: 2 is shown twice
    assert repeated_by_resampling(times, 25.0, 0, 6).tolist() == [False, False, False, True, False, False]
    assert repeated_by_resampling(times, 25.0, 2, 3).tolist() == [False, True, False]
    assert repeated_by_resampling(np.arange(4) / 25, 50.0, 0, 7).sum() == 3
