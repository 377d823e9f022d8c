"""How alike two images are: PSNR, SSIM and LPIPS."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

HIGHEST_PSNR = 100.0
"""PSNR of identical images in dB: a mean over frames stays finite."""
_SMALLEST_LPIPS = 64
"""AlexNet strides by 16 in all; smaller images are enlarged."""


def quantize(image: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs 3"]:
    """An image in [0, 1], clamped and rounded to the 256 levels of a file.

    Every image score is one of 8-bit images, so that a frame in memory and the same frame read from a lossless file
    score alike.
    """
    return (image.clamp(0, 1) * 255).round() / 255


def to_levels(image: Float[Tensor, "*bs 3"]) -> UInt8[np.ndarray, "*bs 3"]:
    """The 256 levels of an image in [0, 1]."""
    return (quantize(image) * 255).round().to(torch.uint8).cpu().numpy()


def psnr(rendered: Float[Tensor, "*pixels 3"], gt: Float[Tensor, "*pixels 3"]) -> float:
    """Peak signal-to-noise ratio of images in [0, 1], in dB; 100 where they are the same."""
    value = peak_signal_noise_ratio(rendered.double(), gt.double(), data_range=1.0)
    return min(float(value), HIGHEST_PSNR)


def ssim(rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
    """Structural similarity (Wang et al. 2004) of images in [0, 1], mean over pixels and channels, by torchmetrics.

    Gaussian windows of 11 pixels, sigma 1.5; beyond the border the image is mirrored. Implementations that look through
    whole windows only (pytorch_msssim, scikit-image) differ in the third digit.
    """
    pair = [image.permute(2, 0, 1)[None].float() for image in (rendered, gt)]
    similarity: Any = structural_similarity_index_measure(pair[0], pair[1], data_range=1.0)
    return float(similarity)


def lpips_distance(
    rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"], network: nn.Module
) -> float:
    """LPIPS (Zhang et al. 2018) of images in [0, 1]; those under 64 pixels on a side are enlarged bilinearly first.

    Args:
        rendered: an image.
        gt: another of the same size.
        network: from `networks.lpips_network`.
    """
    pair = [image.permute(2, 0, 1)[None] for image in (rendered, gt)]
    with torch.no_grad():
        return float(lpips_loss(pair[0], pair[1], network))


def lpips_loss(
    rendered: Float[Tensor, "images 3 height width"],
    gt: Float[Tensor, "images 3 height width"],
    network: nn.Module,
) -> Float[Tensor, ""]:
    """Mean LPIPS of images in [0, 1], with gradients; small ones are enlarged as in `lpips_distance`."""
    pair = torch.cat([rendered, gt]).float()
    height, width = pair.shape[-2:]
    if min(height, width) < _SMALLEST_LPIPS:
        grow = _SMALLEST_LPIPS / min(height, width)
        size = (round(height * grow), round(width * grow))
        pair = F.interpolate(pair, size, mode="bilinear", align_corners=False)
    return network(*pair.chunk(2), normalize=True).mean()
