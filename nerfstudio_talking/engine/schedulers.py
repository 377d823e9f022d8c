"""Learning-rate schedules whose state is plain Python, so that checkpoints load with `weights_only=True`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class DecaySchedulerConfig(SchedulerConfig):
    """Exponential decay after a linear warm-up."""

    _target: type = field(default_factory=lambda: DecayScheduler)
    """Target class to instantiate."""
    final_ratio: float = 0.1
    """Learning rate at the end, as a share of the initial one."""
    max_steps: int | None = None
    """Step at which the decay ends; the end of the run where not given (see TalkingTrainerConfig)."""
    warmup_steps: int = 0
    """Number of steps over which the learning rate rises linearly to the initial one."""
    finetune_fraction: float = 1.0
    """Share of the decay after which the learning rate jumps onto the decay to `finetune_ratio`, as in ER-NeRF."""
    finetune_ratio: float = 0.05
    """Learning rate at the end of a run that fine-tunes, as a share of the initial one."""


def decay_factor(step: int, config: DecaySchedulerConfig) -> float:
    """The learning rate at a step, as a share of the initial one. A Python float, never numpy's.

    Raises:
        ValueError: the step at which the decay ends is not known.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.max_steps is None:
        raise ValueError("max_steps was never filled in: train with a TalkingTrainerConfig")
    begin = config.warmup_steps
    t = min(max(step - begin, 0) / max(config.max_steps - begin, 1), 1.0)
    ratio = config.finetune_ratio if t > config.finetune_fraction else config.final_ratio
    return float(ratio**t)


class DecayScheduler(Scheduler):
    """A LambdaLR over `decay_factor`."""

    config: DecaySchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The torch scheduler. nerfstudio's own writes numpy scalars into the checkpoint."""
        return LambdaLR(optimizer, lr_lambda=lambda step: decay_factor(step, self.config))
