from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nerfstudio_talking.audio.loudness import frame_loudness, frame_power


def test_power_of_frames_by_hand() -> None:
    samples = np.concatenate([np.full(640, 0.5), np.full(640, -0.1), np.full(320, 0.3)]).astype(np.float32)
    power = frame_power(samples, 25.0, 4)
    assert power == pytest.approx([0.25, 0.01, 0.09, 0.0])  # the third frame is half heard, the fourth is beyond
    assert frame_power(samples, 25.0, 0).shape == (0,)


def test_frames_that_are_no_whole_number_of_samples_share_them() -> None:
    samples = np.arange(1602, dtype=np.float64)
    power = frame_power(samples, 29.97, 3, 16000)
    edges = [0, 534, 1068, 1602]  # round(k / 29.97 * 16000)
    assert power == pytest.approx([np.mean(samples[a:b] ** 2) for a, b in pairwise(edges)])


def test_loudness_is_floored() -> None:
    samples = np.concatenate([np.zeros(3200), np.full(3200, 0.5)])
    loudness = frame_loudness(samples, 25.0, 10)
    full = 20 * np.log10(0.5)
    assert loudness[:5] == pytest.approx(full - 60) and loudness[5:] == pytest.approx(full)
    assert frame_loudness(samples, 25.0, 10, range_db=20.0)[0] == pytest.approx(full - 20)
    assert frame_loudness(np.zeros(6400), 25.0, 10) == pytest.approx(-180)
