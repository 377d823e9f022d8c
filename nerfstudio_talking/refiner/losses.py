"""Losses of the refiner, with the published weights (Yi et al. 2020). The SSIM loss is an addition, off by default."""

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
    """Weight of the generator's adversarial loss."""
    l1: float = 100.0
    """Weight of the mean absolute error of the refined frame, colours in [-1, 1]."""
    mask: float = 2.0
    """Weight of the mean share of the rendered frame that the attention mask keeps: 2 in the authors' personal
    training, 0.1 in their general one. Without this loss the mask learns to keep everything."""
    ssim: float = 0.0
    """Weight of 1 - SSIM of the refined frame; not published, and 0 leaves it out. Unlike the absolute error, SSIM does
    not improve when detail is shown more faintly than in the ground truth."""
    mask_variation: float = 1e-5
    """Weight of the sum of squared differences between neighbouring pixels of the attention mask."""
    triplet: float = 1.0
    """Weight of the memory's threshold triplet loss, whose gradient reaches the key encoder only."""


def adversarial_loss(logits: Float[Tensor, "*patches"], real: bool) -> Float[Tensor, ""]:
    """Mean binary cross entropy of patches that should be judged real, or fake (the "vanilla" GAN loss).

    Args:
        logits: the discriminator's answer for each patch.
        real: the label of all patches.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def ssim_loss(
    image: Float[Tensor, "batch 3 height width"], gt: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, ""]:
    """1 - SSIM (Wang et al. 2004; Gaussian window of standard deviation 1.5), the mean over all pixels.

    Args:
        image: colours in [-1, 1].
        gt: the ground truth, in [-1, 1].
    """
    # the map covers the border too, which torchmetrics' own mean leaves out
    similarity = structural_similarity_index_measure(image, gt, data_range=2.0, return_full_image=True)[1]
    return 1 - similarity.mean()


def mask_variation_loss(mask: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, ""]:
    """Sum of squared differences between horizontal and vertical neighbours, the mean over the batch."""
    right, down = mask.diff(dim=3).square().sum(), mask.diff(dim=2).square().sum()
    return (right + down) / len(mask)
