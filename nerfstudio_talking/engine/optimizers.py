"""Optimisers that nerfstudio has no configuration of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig


@dataclass
class AdamWOptimizerConfig(OptimizerConfig):
    """AdamW (Loshchilov and Hutter, ICLR 2019)."""

    _target: type = torch.optim.AdamW
    """Target class to instantiate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: float = 0.0
    """Share of a weight, times the rate, that is taken off it in a step."""


@dataclass
class AdversarialAdamConfig(AdamOptimizerConfig):
    """Adam as adversarial training takes it: little momentum (Radford et al. 2016)."""

    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of the running means of the gradient and of its square."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over each parameter."""

    fused: bool = True
    """Whether torch's fused kernel is taken; without, one operation at a time."""
