"""U-Net that repaints a rendered frame under an attention mask (Yi et al. 2020; U-Net of pix2pix, Isola et al. 2017).

    output = (1 - mask) * rendered + mask * painted

The identity feature enters through adaptive instance normalisation (Huang & Belongie 2017) in the decoder.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.refiner.frame_window import WINDOW

_MAX_WIDENING = 8
"""Upper bound of a level's channels, as a multiple of the first level's."""


class RefinedFrames(NamedTuple):
    """What the generator makes of a window."""

    output: Float[Tensor, "batch 3 height width"]
    """The refined frame in [-1, 1]: rendered and painted image, blended by the mask."""
    painted: Float[Tensor, "batch 3 height width"]
    """The painted image, in [-1, 1]."""
    mask: Float[Tensor, "batch 1 height width"]
    """Attention mask in [0, 1]: the share of the painted image. (The authors' mask is its complement, the share that is
    kept.)"""


class AdaptiveInstanceNorm(nn.Module):
    """Instance normalisation whose scale and shift are predicted from a style vector; near 1 and 0 at the start."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.zeros_(self.affine.bias)
        nn.init.normal_(self.affine.weight, std=0.01)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], style: Float[Tensor, "batch style"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalise over the image, then scale by 1 + a and shift by b."""
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        return (1 + scale) * _instance_norm(x) + shift


class AttentionUNet(nn.Module):
    """The generator.

    Args:
        width: channels of the first level; 64 as published, doubled from level to level, up to eightfold.
        levels: number of times that the image is halved; 8 as published, which reduces 256 pixels to one. Images of any
            size are padded by reflection to a multiple of 2^levels, and the result is cropped.
        identity_dim: channels of the identity feature.
        style_dim: channels of the style vector that three linear layers make of the identity feature.

    Raises:
        ValueError: fewer than two levels.
    """

    def __init__(self, width: int = 64, levels: int = 8, identity_dim: int = 512, style_dim: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"a U-Net needs at least two levels, not {levels}")
        self.levels, self.identity_dim = levels, identity_dim
        channels = [width * min(2**level, _MAX_WIDENING) for level in range(levels)]
        self.style = nn.Sequential(
            nn.Linear(identity_dim, style_dim), nn.ReLU(), nn.Linear(style_dim, style_dim), nn.ReLU(),
            nn.Linear(style_dim, style_dim), nn.ReLU(),
        )  # fmt: skip
        inputs = [3 * WINDOW, *channels[:-1]]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, channels))
        up, norms = [], []
        for level in reversed(range(1, levels)):
            joined = channels[level] * (1 if level == levels - 1 else 2)
            # upsampling before a convolution avoids the checkerboard artefacts of a transposed one (Odena et al. 2016)
            up.append(nn.Conv2d(joined, channels[level - 1], 3, 1, 1))
            norms.append(AdaptiveInstanceNorm(channels[level - 1], style_dim))
        self.up, self.norms = nn.ModuleList(up), nn.ModuleList(norms)
        half = max(width // 2, 1)  # this layer works at full size and costs the most
        self.last = nn.Conv2d(2 * channels[0] + 3 * WINDOW, half, 3, 1, 1)
        self.colour = nn.Conv2d(half, 3, 3, 1, 1)
        self.attention = nn.Conv2d(half, 1, 3, 1, 1)
        for module in (*self.down, *self.up, self.last, self.colour, self.attention):
            nn.init.normal_(module.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(
        self, window: Float[Tensor, "batch 9 height width"], identity: Float[Tensor, "batch identity"]
    ) -> RefinedFrames:
        """Refine the last frame of each window, in [-1, 1]."""
        height, width = window.shape[-2:]
        padded = pad_to_multiple(window, 2**self.levels)
        style = self.style(identity)
        x, skips = padded, []
        for level, convolution in enumerate(self.down):
            x = convolution(x if level == 0 else F.leaky_relu(x, 0.2))
            # neither the first level nor the last is normalised: a single pixel has no statistics
            if 0 < level < self.levels - 1:
                x = _instance_norm(x)
            skips.append(x)
        skips.pop()
        for convolution, norm in zip(self.up, self.norms):
            x = norm(convolution(_upsample_2x(x)), style)
            x = torch.cat([x, skips.pop()], dim=1)
        # the image itself is the last skip connection: without it nothing could be painted sharply
        x = _upsample_2x(x)
        # leaky: without normalisation a plain ReLU here could die, and nothing would be painted any more
        x = F.leaky_relu(self.last(torch.cat([x, padded], dim=1)), 0.2)[..., :height, :width]
        rendered = window[:, -3:]
        # the painted image starts as the rendered one, so that only the difference is learned
        painted = torch.tanh(self.colour(x) + torch.atanh(rendered.clamp(-0.99, 0.99)))
        mask = torch.sigmoid(self.attention(x))
        return RefinedFrames(blend(rendered, painted, mask), painted, mask)


def blend(
    rendered: Float[Tensor, "batch 3 height width"],
    painted: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """The rendered frame where the mask is 0, the painted one where it is 1."""
    return (1 - mask) * rendered + mask * painted


def pad_to_multiple(
    image: Float[Tensor, "batch channels height width"], multiple: int
) -> Float[Tensor, "batch channels rows columns"]:
    """Pad by reflection below and to the right until height and width are multiples of `multiple`."""
    height, width = image.shape[-2:]
    while (lack := (-height % multiple, -width % multiple)) != (0, 0):
        step = min(lack[0], height - 1), min(lack[1], width - 1)
        image = F.pad(image, (0, step[1], 0, step[0]), mode="reflect")
        height, width = image.shape[-2:]
    return image


def _upsample_2x(x: Tensor) -> Tensor:
    """ReLU, then bilinear upsampling to twice the size."""
    return F.interpolate(F.relu(x), scale_factor=2.0, mode="bilinear")


def _instance_norm(x: Tensor) -> Tensor:
    if x.shape[-1] * x.shape[-2] == 1:
        return x
    return F.instance_norm(x)
