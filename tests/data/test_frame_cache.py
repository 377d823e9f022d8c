"""Frames in memory as bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2ycbcr

from nerfstudio_talking.data.frame_cache import FrameCache


@pytest.fixture
def image() -> np.ndarray:
    """Smooth in colour, sharp in brightness; sides are odd."""
    rows, columns = np.mgrid[:37, :51]
    colour = np.stack([rows * 3, columns * 2, 120 + rows - columns], -1).astype(float)
    colour += 40 * ((rows + columns) % 2)[..., None]
    return colour.clip(0, 255).astype(np.uint8)


def read(cache: FrameCache, index: int, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (torch.from_numpy(x.ravel()) for x in np.mgrid[: shape[0], : shape[1]])
    return cache.colours(torch.full_like(rows, index), rows, columns).view(*shape, 3).numpy()


def test_whole_colours_come_back_exactly(image):
    cache = FrameCache(2, 37, 51, budget=2 * 37 * 51 * 3)
    cache.put(1, Image.fromarray(image))
    assert not cache.halved
    assert cache.nbytes == 2 * 37 * 51 * 3
    np.testing.assert_array_equal((read(cache, 1, (37, 51)) * 255).round(), image)


def test_a_long_clip_keeps_its_brightness_and_halves_its_chroma(image):
    cache = FrameCache(3, 37, 51, budget=3 * 37 * 51 * 3 - 1)
    cache.put(2, Image.fromarray(image))
    assert cache.halved
    assert cache.nbytes == 3 * (37 * 51 + 2 * 19 * 26)
    seen = read(cache, 2, (37, 51))
    true = image / 255
    # checked against scikit-image's own YCbCr
    bright = [rgb2ycbcr(x)[..., 0] for x in (seen, true)]
    assert np.abs(bright[0] - bright[1]).max() < 2.5
    assert np.abs(seen - true).mean() < 0.02


@pytest.mark.parametrize("budget", [10**9, 1])
def test_whole_images_are_the_pixels(image, budget):
    cache = FrameCache(3, 37, 51, budget)
    for index in range(3):
        cache.put(index, Image.fromarray(np.roll(image, index, 0)))
    images = cache.images(torch.tensor([2, 0]))
    for row, index in enumerate((2, 0)):
        np.testing.assert_array_equal(images[row], read(cache, index, (37, 51)))
