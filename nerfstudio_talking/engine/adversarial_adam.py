"""Adam for adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio.engine.optimizers import AdamOptimizerConfig


@dataclass
class AdversarialAdamConfig(AdamOptimizerConfig):
    """Adam as adversarial training takes it: little momentum (Radford et al. 2016)."""

    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of the running means of the gradient and of its square."""
