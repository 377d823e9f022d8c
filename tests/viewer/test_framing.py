"""Images that fill the browser's canvas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.viewer.framing import FrameCost, free_view, output_image, pad_to_aspect, scaled_size


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


def settled(cost: FrameCost, seconds_of, limit: float = 0.08, frames: int = 60) -> float:
    """The scale that is shown after some frames."""
    scale = cost.affordable_scale(limit)
    for _ in range(frames):
        cost.add(seconds_of(scale), scale)
        scale = cost.affordable_scale(limit)
    return scale


def test_slow_portraits_are_shown_smaller():
    found = [FrameCost(seconds).affordable_scale(0.08) for seconds in (0.0, 0.08, 0.1, 0.3, 0.5, 90.0)]
    np.testing.assert_allclose(found, 2.0 ** (-np.array([0, 0, 1, 4, 6, 8]) / 4))
    assert settled(FrameCost(), lambda scale: 0.3 * scale**2) == 0.5
    assert settled(FrameCost(), lambda scale: 9.0 * scale**2) == 0.25


def test_what_shrinking_does_not_help_stays_large():
    """A frame of Gaussians on a busy machine: most of its time does not go by pixels."""
    assert settled(FrameCost(), lambda scale: 0.11 + 0.02 * scale**2) == 1
    assert settled(FrameCost(), lambda scale: 0.05 + 0.2 * scale**2) < 0.5


def test_what_costs_otherwise_later_is_noticed():
    """A bake on a busy machine, then a view that is rendered in full."""
    cost = FrameCost()
    assert settled(cost, lambda scale: 0.11 + 0.02 * scale**2) == 1
    assert settled(cost, lambda scale: 0.4 * scale**2, frames=300) < 0.5


def test_a_busy_moment_passes():
    cost = FrameCost()
    assert settled(cost, lambda scale: 0.4 * (0.1 + 0.9 * scale**2)) < 0.5
    assert settled(cost, lambda scale: 0.03 * (0.1 + 0.9 * scale**2)) == 1
