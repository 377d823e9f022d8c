"""Learning-rate schedules whose state is plain Python, so that checkpoints load with `weights_only=True`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class DecaySchedulerConfig(SchedulerConfig):
    """Exponential or cosine decay after a linear warm-up."""

    _target: type = field(default_factory=lambda: DecayScheduler)
    """Target class to instantiate."""
    kind: Literal["exponential", "cosine"] = "exponential"
    """Shape of the decay."""
    final_ratio: float = 0.1
    """Learning rate at the end, as a share of the one at the start."""
    max_steps: int | None = None
    """Step at which the decay ends; the end of the run where not given (see TalkingTrainerConfig)."""
    warmup_steps: int = 0
    """Steps over which the rate rises from nothing."""
    start_step: int = 0
    """Step before which the rate stays as it is: for parts that join the training late."""
    finetune_fraction: float = 1.0
    """Share of the decay after which the rate is the one on the way to `finetune_ratio`: a jump, as in ER-NeRF."""
    finetune_ratio: float = 0.05
    """Learning rate at the end of a run that fine-tunes, as a share of the one at the start."""


def decay_factor(step: int, config: DecaySchedulerConfig) -> float:
    """The learning rate at a step, as a share of the configured one. A Python float, never numpy's."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.max_steps is None:
        raise ValueError("max_steps was never filled in: train with a TalkingTrainerConfig")
    begin = max(config.start_step, config.warmup_steps)
    t = min(max(step - begin, 0) / max(config.max_steps - begin, 1), 1.0)
    ratio = config.finetune_ratio if t > config.finetune_fraction else config.final_ratio
    if config.kind == "cosine":
        return ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * t))
    return float(ratio**t)


class DecayScheduler(Scheduler):
    """A LambdaLR over `decay_factor`."""

    config: DecaySchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The torch scheduler. nerfstudio's own multiplies numpy scalars into the checkpoint."""
        return LambdaLR(optimizer, lr_lambda=lambda step: decay_factor(step, self.config))
