"""Feature maps of the torso's reference images: the encoder of Wang et al.'s spatial feature extraction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def _block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1))


class ReferenceUNet(nn.Module):
    """A small U-Net over RGBA reference images at a quarter of their resolution.

    The full-resolution texture needs no network, since the torso field samples the images themselves. The features
    describe a pixel's surroundings, for which a quarter of the resolution is enough and sixteen times cheaper.

    Args:
        out_dim: number of feature channels.
        width: number of channels of the first level.
        unshuffle: factor by which the resolution is reduced.
    """

    def __init__(self, out_dim: int = 8, width: int = 16, unshuffle: int = 4) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.stem = _block(4 * unshuffle**2, width)
        self.down1 = _block(width, 2 * width, 2)
        self.down2 = _block(2 * width, 2 * width, 2)
        self.up1 = _block(4 * width, width)
        self.up2 = _block(2 * width, width)
        self.out = nn.Conv2d(width, out_dim, 1)

    def fold(self, rgba: Float[Tensor, "references 4 height width"]) -> Float[Tensor, "references blocks h w"]:
        """Images padded to what the strides need, with blocks of pixels as channels; computed once, before any step."""
        step = self.unshuffle * 4
        pad = (-rgba.shape[-1] % step, -rgba.shape[-2] % step)
        return F.pixel_unshuffle(F.pad(rgba, (0, pad[0], 0, pad[1]), mode="replicate"), self.unshuffle)

    def forward(
        self, folded: Float[Tensor, "references blocks h w"], height: int, width: int
    ) -> Float[Tensor, "references out rows columns"]:
        """Feature maps of images in [0, 1] of this height and width, as `fold` gives them."""
        x0 = self.stem(folded)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        y = self.up1(torch.cat([F.interpolate(x2, scale_factor=2, mode="bilinear"), x1], 1))
        y = self.up2(torch.cat([F.interpolate(y, scale_factor=2, mode="bilinear"), x0], 1))
        y = self.out(y)
        # crop the padding, so that [-1, 1] covers the image
        return y[..., : round(height / self.unshuffle), : round(width / self.unshuffle)]


def sample_maps(
    maps: Float[Tensor, "references channels height width"], uv: Float[Tensor, "references points 2"]
) -> Float[Tensor, "references points channels"]:
    """Bilinear samples at positions in [-1, 1] (x right, y down; -1 and 1 are the image's edges)."""
    out = F.grid_sample(maps, uv[:, None], mode="bilinear", padding_mode="border", align_corners=False)
    return out[:, :, 0].transpose(1, 2)
