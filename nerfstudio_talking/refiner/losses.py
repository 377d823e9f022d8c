"""Losses of the refiner, with the published weights (Yi et al. 2020); flicker, SSIM and detail are ours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses; the defaults are the published ones."""

    gan: float = 1.0
    """Of the adversarial loss."""
    l1: float = 100.0
    """Of the mean absolute error, colours in [-1, 1]."""
    mask: float = 2.0
    """Of the mean share that is kept as rendered: 2 in the authors' personal training, 0.1 in their general one.
    Without it the mask learns to keep everything."""
    mouth: float = 1.0
    """How much more than elsewhere a pixel in the mouth's box counts in errors, SSIM and detail; alike as published."""
    detail: float = 0.0
    """Of the difference in how much fine detail there is about a pixel (`local_detail`); none as published. Where
    detail cannot be placed exactly, the absolute error alone is least without any."""
    flicker: float = 0.0
    """Of the mean absolute error of the change from a frame to the next; none as published. A step of training then has
    two successive windows."""
    ssim: float = 0.0
    """Of 1 - SSIM; none as published. Unlike the absolute error it does not get better by showing detail more faintly
    than the ground truth does."""
    mask_variation: float = 1e-5
    """Of the sum of squared steps of the mask from pixel to pixel."""
    triplet: float = 1.0
    """Of the memory's threshold triplet loss; it reaches the key encoder alone."""


def adversarial_loss(logits: Float[Tensor, "*patches"], real: bool) -> Float[Tensor, ""]:
    """Cross entropy of patches that ought to be judged real, or false (the "vanilla" loss)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def weighted_error(
    image: Float[Tensor, "batch channels height width"],
    gt: Float[Tensor, "batch channels height width"],
    weight: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """Mean absolute error over pixels that count unlike."""
    return _weighted_mean((image - gt).abs(), weight)


def dissimilarity(
    image: Float[Tensor, "batch 3 height width"],
    gt: Float[Tensor, "batch 3 height width"],
    weight: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """1 - SSIM, the mean over pixels that count unlike; colours in [-1, 1]."""
    similar = structural_similarity_index_measure(image, gt, data_range=2.0, return_full_image=True)[1]
    return 1 - _weighted_mean(similar, weight)


def _weighted_mean(
    values: Float[Tensor, "batch channels height width"], weight: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, ""]:
    return (values * weight).sum() / (weight.sum() * values.shape[1])


_LUMA = (0.299, 0.587, 0.114)
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_FLAT = 1e-3
"""Detail that counts as none, so that its gradient stays finite."""


def local_detail(image: Float[Tensor, "batch 3 height width"], side: int = 9) -> Float[Tensor, "batch 1 height width"]:
    """How much fine detail there is about each pixel, wherever exactly it lies.

    Args:
        image: colours, in the unit of the result.
        side: of the square window, pixels, odd; at the border, what of it lies in the image.

    Returns:
        Root mean square over the window of the Laplacian of the grey levels.
    """
    grey = (image * image.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    fine = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), image.new_tensor(_LAPLACIAN)[None, None])
    power = F.avg_pool2d(fine.square(), side, 1, side // 2, count_include_pad=False)
    return (power + _FLAT**2).sqrt()


def variation(mask: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, ""]:
    """Sum over pixels of squared steps to the right and down, the mean over the batch."""
    right, down = mask.diff(dim=3).square().sum(), mask.diff(dim=2).square().sum()
    return (right + down) / len(mask)
