"""Adam as one kernel per tensor: torch's own, for the parameters of processors and GPUs alike."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio.engine.optimizers import AdamOptimizerConfig


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over each parameter."""

    fused: bool = True
    """Whether torch's fused kernel is taken; without, one operation at a time."""
