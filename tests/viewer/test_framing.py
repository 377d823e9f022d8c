"""Images that fill the browser's canvas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.viewer.framing import affordable_scale, free_view, output_image, pad_to_aspect, scaled_size


@pytest.mark.parametrize(("aspect", "size"), [(1.0, (20, 20)), (2.0, (20, 40)), (0.5, (40, 20))])
def test_borders_are_added_and_nothing_is_lost(aspect, size):
    image = np.full((20, 20, 3), 7, np.uint8)
    padded = pad_to_aspect(image, aspect)
    assert padded.shape == (*size, 3)
    assert (padded == 7).sum() == image.size


def test_colours_are_shown_as_they_are_and_single_channels_in_colours():
    rgb = torch.tensor([0.0, 0.5, 1.2]).expand(2, 2, 3)
    saliency = torch.tensor([[0.0, 0.3], [0.6, 1.0]])[..., None]
    outputs = {"rgb": rgb, "saliency_audio": saliency, "depth": saliency + 1}
    assert output_image(outputs, "rgb")[0, 0].tolist() == [0, 128, 255]
    assert output_image(outputs, "none of this")[0, 0].tolist() == [0, 128, 255]
    for name in ("saliency_audio", "depth"):
        image = output_image(outputs, name)
        assert image.shape == (2, 2, 3) and image.dtype == np.uint8
        assert len({tuple(pixel) for pixel in image.reshape(4, 3).tolist()}) == 4


def test_a_free_view_has_the_browsers_field_of_view():
    view = free_view(PinholeCamera(500.0, 256, 256), 0.8, 1.5, 1.0)
    assert view.size == (384, 256)
    assert view.fov_y == pytest.approx(0.8)
    assert free_view(PinholeCamera(500.0, 256, 256), 0.8, 4.0, 1.0).size == (512, 128)


def test_sizes_are_even():
    assert scaled_size(PinholeCamera(100.0, 50, 38), 0.5) == (24, 20)


def test_slow_portraits_are_shown_smaller():
    found = [affordable_scale(seconds, 1.0, 0.08) for seconds in (0.0, 0.08, 0.1, 0.3, 0.5, 90.0)]
    np.testing.assert_allclose(found, 2.0 ** (-np.array([0, 0, 1, 4, 6, 8]) / 4))


def test_a_size_that_costs_little_is_left_again():
    """A frame of Gaussians takes as long at a quarter of the size; a busy moment made it small."""
    scale, steps = 0.25, 0
    while scale < 1 and steps < 20:
        scale, steps = affordable_scale(0.03, scale, 0.08), steps + 1
    assert scale == 1
    assert affordable_scale(0.07, 0.5, 0.08) == 0.5, "one that costs by its pixels stays"
