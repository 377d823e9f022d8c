"""The discriminator sees patches of the published size."""

from __future__ import annotations

import torch
from torch import nn

from nerfstudio_talking.refiner.discriminator import PatchDiscriminator


def test_the_published_discriminator_sees_seventy_pixels():
    network = PatchDiscriminator(2, 3)
    window, frame = torch.zeros(1, 9, 128, 128), torch.zeros(1, 3, 128, 128, requires_grad=True)
    layers = [m for m in network.network if not isinstance(m, nn.InstanceNorm2d)]  # which sees the whole image
    logits = nn.Sequential(*layers)(torch.cat([window, frame], 1))
    logits[0, 0, 7, 7].backward()
    rows = frame.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70
