"""Optimisers that nerfstudio has no configuration of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from nerfstudio.engine.optimizers import OptimizerConfig


@dataclass
class AdamWOptimizerConfig(OptimizerConfig):
    """AdamW (Loshchilov and Hutter, ICLR 2019)."""

    _target: type = torch.optim.AdamW
    """Target class to instantiate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: float = 0.0
    """Share of a weight, times the rate, that is taken off it in a step."""
