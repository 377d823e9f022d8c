from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import smooth_image
from scipy.ndimage import shift

from nerfstudio_talking.metrics.functional.flicker import flicker, temporal_error, warping_error


def test_warping_leaves_what_comes_and_goes() -> None:
    before = (smooth_image(128, 128) * 255).numpy()
    after = shift(before, (1, 2, 0), order=3, mode="nearest").clip(0, 255).astype(np.uint8)
    before = before.astype(np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    noise = np.random.default_rng(0).integers(-6, 7, after.shape)
    noisy = (after.astype(int) + noise).clip(0, 255).astype(np.uint8)
    moved = warping_error(before, after, mask)
    assert moved < 0.25 * flicker((before, after), mask)
    assert warping_error(before, noisy, mask) == pytest.approx(np.abs(noise).mean(), rel=0.15)
    assert warping_error(after, after, mask) == 0
    assert np.isnan(warping_error(before, after, np.zeros_like(mask)))


def test_flicker_by_hand() -> None:
    mask = np.ones((2, 2), bool)
    level = [np.full((2, 2, 3), value, np.uint8) for value in (10, 14, 200, 206)]
    assert flicker((level[0], level[1]), mask) == 4
    assert temporal_error((level[2], level[3]), (level[0], level[1]), mask) == 2  # 6 instead of 4
    assert temporal_error((level[1], level[0]), (level[0], level[1]), mask) == 8
    assert np.isnan(flicker((level[0], level[1]), ~mask))
