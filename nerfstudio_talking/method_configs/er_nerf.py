"""`ns-train er-nerf` and its preset for CPUs."""

from __future__ import annotations

from typing import Any

from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.pixel_samplers import FramePixelSamplerConfig
from nerfstudio_talking.engine.optimizers import AdamWOptimizerConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.method_configs.trainer import portrait_trainer, ray_data
from nerfstudio_talking.models.er_nerf import ERNeRFModelConfig

_LIPS = 0.8
"""Share of the run after which the lips phase begins: 100 of 125 thousand steps."""


def _adamw_group(group: str, rate: float) -> dict[str, Any]:
    """AdamW as published: rates halve until the lips phase, then continue on the decay to a twentieth."""
    weight_decay = 1e-4 if group == "audio" else 0.0
    return {
        "optimizer": AdamWOptimizerConfig(lr=rate, eps=1e-8, betas=(0.0, 0.99), weight_decay=weight_decay),
        "scheduler": DecaySchedulerConfig(final_ratio=0.5 ** (1 / _LIPS), finetune_fraction=_LIPS, finetune_ratio=0.05),
    }


def _trainer(name: str, steps: int, rays: int, frames: int, model: ERNeRFModelConfig) -> TalkingTrainerConfig:
    sampler = FramePixelSamplerConfig(frames_per_batch=frames, favour_blinks=False)
    config = portrait_trainer(name, steps, model, ray_data(rays, sampler), _adamw_group)
    config.lips_phase_fraction = _LIPS
    return config


er_nerf = MethodSpecification(
    config=_trainer("er-nerf", 125_000, 65_536, 1, ERNeRFModelConfig(num_samples=48)),
    description="ER-NeRF (ICCV 2023) on shared parts: the baseline of talking-portrait.",
)

er_nerf_small = MethodSpecification(
    config=_trainer(
        "er-nerf-small", 10_000, 2048, 8, ERNeRFModelConfig(num_samples=40, eval_num_rays_per_chunk=1 << 13)
    ),
    description="er-nerf for CPUs: small images, fewer rays.",
)
