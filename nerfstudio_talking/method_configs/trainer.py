"""What the methods' trainer configurations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nerfstudio.configs.base_config import ViewerConfig

from nerfstudio_talking.data.cached_datamanager import CachedDataManagerConfig
from nerfstudio_talking.data.pixel_samplers import FramePixelSamplerConfig, RegionPixelSamplerConfig
from nerfstudio_talking.data.ray_datamanager import RayDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.optimizers import FusedAdamConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.models.portrait_model import PortraitModelConfig
from nerfstudio_talking.pipelines.portrait_pipeline import PortraitPipelineConfig


def adam_group(group: str, rate: float) -> dict[str, Any]:
    """Optimizer and schedule of a parameter group: Adam, warmed up, decaying to a tenth; the same for every group."""
    return {
        "optimizer": FusedAdamConfig(lr=rate, eps=1e-8),
        "scheduler": DecaySchedulerConfig(final_ratio=0.1, warmup_steps=100),
    }


def ray_data(rays: int, sampler: FramePixelSamplerConfig | None = None) -> RayDataManagerConfig:
    """Datamanager that draws rays of our own dataset layout; by region where no sampler is given."""
    return RayDataManagerConfig(
        dataparser=TalkingPortraitDataParserConfig(),
        train_num_rays_per_batch=rays,
        pixel_sampler=sampler or RegionPixelSamplerConfig(),
    )


def portrait_trainer(
    name: str,
    steps: int,
    model: PortraitModelConfig,
    datamanager: CachedDataManagerConfig,
    make_group: Callable[[str, float], dict[str, Any]] = adam_group,
) -> TalkingTrainerConfig:
    """The trainer configuration of a portrait.

    Args:
        name: name of the method on the command line.
        steps: number of training steps.
        model: the model, which names its parameter groups and their learning rates.
        datamanager: the datamanager.
        make_group: makes optimizer and schedule of a parameter group from its name and learning rate.
    """
    return TalkingTrainerConfig(
        method_name=name,
        steps_per_eval_batch=500,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=2000,
        max_num_iterations=steps,
        mixed_precision=False,  # positions on the image plane do not fit half precision
        pipeline=PortraitPipelineConfig(datamanager=datamanager, model=model),
        optimizers={group: make_group(group, rate) for group, rate in model.learning_rates().items()},
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, quit_on_train_completion=True),
        vis="viewer+tensorboard",
    )
