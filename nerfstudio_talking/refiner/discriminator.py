"""Patch discriminator (PatchGAN, Isola et al. 2017), conditioned on the rendered window."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.refiner.frame_window import WINDOW


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches, of 70 x 70 pixels with the published three halvings.

    Args:
        width: channels of the first layer, 64 as published; doubled from layer to layer, up to eightfold.
        layers: number of times that the image is halved.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(3 * WINDOW + 3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        before = width
        for layer in range(1, layers + 1):
            channels = width * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            modules += [nn.Conv2d(before, channels, 4, stride, 1), nn.InstanceNorm2d(channels), nn.LeakyReLU(0.2)]
            before = channels
        self.network = nn.Sequential(*modules, nn.Conv2d(before, 1, 4, 1, 1))
        for module in self.network:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(
        self, window: Float[Tensor, "batch 9 height width"], frame: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 1 rows columns"]:
        """A logit per patch: whether `frame` is the ground truth of the rendered window's last frame."""
        return self.network(torch.cat([window, frame], dim=1))
