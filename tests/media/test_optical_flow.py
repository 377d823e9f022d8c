"""Optical flow of known shifts, and warping along it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import texture
from scipy.ndimage import map_coordinates, shift

from nerfstudio_talking.media.optical_flow import flow_field, warp


@pytest.mark.parametrize("size", [(128, 128), (128, 700)])  # one that is shrunk for the flow, too
def test_flow_of_a_known_shift(size):
    before = texture(*size)
    after = shift(before, (1, 2, 0), order=3, mode="nearest")  # one down, two to the right
    flow = flow_field(before.clip(0, 255).astype(np.uint8), after.clip(0, 255).astype(np.uint8))
    assert flow.shape == (*size, 2)
    pixel = max(size[1] / 512, 1)  # in units of a pixel of the shrunk image
    np.testing.assert_allclose(np.median(flow[16:-16, 16:-16], axis=(0, 1)), (2, 1), atol=0.15 * pixel)


def test_the_flow_of_tiny_images_is_zero():
    for size in ((1, 1), (3, 50), (50, 11)):
        images = np.random.default_rng(0).integers(0, 255, (2, *size, 3), dtype=np.uint8)
        assert (flow_field(*images) == np.zeros((*size, 2))).all()


@pytest.mark.parametrize("channels", [None, 1, 3, 4, 6])
def test_warping_is_scipys_linear_interpolation_of_any_number_of_channels(channels):
    rng = np.random.default_rng(1)
    image = rng.random((20, 30) if channels is None else (20, 30, channels)).astype(np.float32)
    flow = rng.uniform(-3, 3, (20, 30, 2)).astype(np.float32)
    result = warp(image, flow)
    rows, columns = np.indices((20, 30))
    where = rows + flow[..., 1], columns + flow[..., 0]
    layers = image.reshape(20, 30, -1)
    expected = np.stack(
        [map_coordinates(layers[..., i], where, order=1, mode="nearest") for i in range(layers.shape[2])], axis=2
    )
    # OpenCV interpolates at positions rounded to a 32nd of a pixel
    np.testing.assert_allclose(result.reshape(layers.shape), expected, atol=0.05)


def test_warping_undoes_a_shift():
    before = texture(96, 96)
    after = shift(before, (1.5, 0.5, 0), order=3, mode="nearest")
    flow = np.broadcast_to(np.float32([0.5, 1.5]), (96, 96, 2))
    error = np.abs(warp(after, flow) - before)[8:-8, 8:-8].mean()
    assert error < 0.2 * np.abs(after - before)[8:-8, 8:-8].mean()
