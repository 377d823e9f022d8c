"""Optimizers for which nerfstudio has no configuration."""

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
    """Decay rates of the running means of the gradient and of its square."""
    weight_decay: float = 0.0
    """Weight decay per step, multiplied by the learning rate (decoupled)."""


@dataclass
class AdversarialAdamConfig(AdamOptimizerConfig):
    """Adam with the low momentum of adversarial training (Radford et al. 2016)."""

    betas: tuple[float, float] = (0.5, 0.999)
    """Decay rates of the running means of the gradient and of its square."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over each parameter."""

    fused: bool = True
    """Whether torch's fused kernel updates the parameters; without, one operation at a time."""
