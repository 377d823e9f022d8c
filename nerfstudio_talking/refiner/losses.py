"""Losses of the refiner, with the weights that were published (Yi et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


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
    """How much more than elsewhere a pixel in the mouth's box counts in the absolute error; alike as published."""
    mask_variation: float = 1e-5
    """Of the sum of squared steps of the mask from pixel to pixel."""
    triplet: float = 1.0
    """Of the memory's threshold triplet loss; it reaches the key encoder alone."""


def adversarial_loss(logits: Float[Tensor, "*patches"], real: bool) -> Float[Tensor, ""]:
    """Cross entropy of patches that ought to be judged real, or false (the "vanilla" loss)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def weighted_error(
    picture: Float[Tensor, "batch 3 height width"],
    truth: Float[Tensor, "batch 3 height width"],
    weight: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """Mean absolute error over pixels that count unlike."""
    return ((picture - truth).abs() * weight).sum() / (weight.sum() * picture.shape[1])


def variation(mask: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, ""]:
    """Sum over pixels of squared steps to the right and down, the mean over the batch."""
    right, down = mask.diff(dim=3).square().sum(), mask.diff(dim=2).square().sum()
    return (right + down) / len(mask)
