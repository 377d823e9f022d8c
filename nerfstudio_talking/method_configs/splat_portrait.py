"""`ns-train splat-portrait` and its preset for CPUs."""

from __future__ import annotations

from typing import Any

from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.full_image_datamanager import FullImageDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.optimizers import FusedAdamConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.method_configs.trainer import portrait_trainer
from nerfstudio_talking.models.splat_portrait import SplatPortraitModelConfig


def _adam_group(group: str, rate: float) -> dict[str, Any]:
    """Adam with an epsilon below the gradients of single Gaussians, warmed up, decaying to a tenth."""
    return {
        "optimizer": FusedAdamConfig(lr=rate, eps=1e-15),
        "scheduler": DecaySchedulerConfig(final_ratio=0.1, warmup_steps=50),
    }


splat_portrait = MethodSpecification(
    config=portrait_trainer(
        "splat-portrait",
        30_000,
        SplatPortraitModelConfig(max_gaussians=100_000, gaussians_per_pixel=0.5),
        FullImageDataManagerConfig(dataparser=TalkingPortraitDataParserConfig()),
        _adam_group,
    ),
    description="Audio-driven portrait of Gaussian splats: head, inner mouth and torso under blend modes.",
)

splat_portrait_small = MethodSpecification(
    config=portrait_trainer(
        "splat-portrait-small",
        2500,
        SplatPortraitModelConfig(),
        FullImageDataManagerConfig(dataparser=TalkingPortraitDataParserConfig()),
        _adam_group,
    ),
    description="splat-portrait for CPUs: fewer Gaussians and steps.",
)
