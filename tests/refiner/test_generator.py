"""The generator: its mask, its sizes, and what reaches its output."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nerfstudio_talking.refiner.generator import AttentionUNet, blend, pad_to_multiple


def test_mask_zero_returns_the_rendered_frame_and_one_the_painted():
    rendered, painted = torch.rand(2, 1, 3, 4, 4)
    assert torch.equal(blend(rendered, painted, torch.zeros(1, 1, 4, 4)), rendered)
    assert torch.equal(blend(rendered, painted, torch.ones(1, 1, 4, 4)), painted)
    generator = AttentionUNet(4, 3, 6)
    nn.init.zeros_(generator.attention.weight)
    nn.init.constant_(generator.attention.bias, -200.0)
    window = torch.rand(1, 9, 16, 16) * 2 - 1
    torch.testing.assert_close(generator(window, torch.zeros(1, 6)).output, window[:, -3:])


@pytest.mark.parametrize("size", [(16, 16), (23, 9), (5, 40)])
def test_images_of_any_size(size):
    refined = AttentionUNet(4, 4, 6)(torch.rand(2, 9, *size), torch.randn(2, 6))
    assert refined.output.shape == refined.painted.shape == (2, 3, *size)
    assert refined.mask.shape == (2, 1, *size)
    assert torch.isfinite(refined.output).all()


def test_the_published_generator_halves_256_pixels_to_one():
    generator = AttentionUNet(2, 8, 6)
    refined = generator(torch.rand(1, 9, 256, 256), torch.randn(1, 6))
    assert torch.isfinite(refined.output).all()
    assert [layer.out_channels for layer in AttentionUNet(64, 8).down] == [64, 128, 256, 512, 512, 512, 512, 512]


def test_one_level_is_refused():
    with pytest.raises(ValueError, match="at least two levels"):
        AttentionUNet(4, 1, 6)


def test_padding_keeps_the_image_and_mirrors_it():
    image = torch.rand(1, 2, 5, 9)
    padded = pad_to_multiple(image, 8)
    assert padded.shape == (1, 2, 8, 16)
    assert torch.equal(padded[..., :5, :9], image)
    assert torch.equal(padded[..., 5:, :9], image[..., [3, 2, 1], :])


def test_the_identity_changes_what_is_painted():
    torch.manual_seed(0)
    generator, window = AttentionUNet(4, 3, 6), torch.rand(1, 9, 16, 16)
    painted = [generator(window, identity).painted for identity in torch.randn(2, 1, 6)]
    assert not torch.equal(*painted)
