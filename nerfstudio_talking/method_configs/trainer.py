"""What the methods' trainer configurations share."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.models.base_model import ModelConfig

from nerfstudio_talking.data.pixel_samplers import FramePixelSamplerConfig
from nerfstudio_talking.data.ray_datamanager import TalkingDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.optimizers import FusedAdamConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.pipelines.portrait_pipeline import PortraitPipelineConfig


def optimizers() -> dict:
    """One entry per parameter group of the models; rates after ER-NeRF's."""

    def group(rate: float) -> dict:
        return {
            "optimizer": FusedAdamConfig(lr=rate, eps=1e-8),
            "scheduler": DecaySchedulerConfig(final_ratio=0.1, warmup_steps=100),
        }

    return {"tables": group(1e-2), "networks": group(2e-3), "audio": group(1e-3)}


def portrait_trainer(
    name: str, steps: int, rays: int, model: ModelConfig, sampler: FramePixelSamplerConfig | None = None
) -> TalkingTrainerConfig:
    """The trainer of a portrait: so many steps of so many rays."""
    datamanager = TalkingDataManagerConfig(dataparser=TalkingPortraitDataParserConfig(), train_num_rays_per_batch=rays)
    if sampler is not None:
        datamanager.pixel_sampler = sampler
    return TalkingTrainerConfig(
        method_name=name,
        steps_per_eval_batch=500,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=2000,
        max_num_iterations=steps,
        mixed_precision=True,
        pipeline=PortraitPipelineConfig(datamanager=datamanager, model=model),
        optimizers=optimizers(),
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, quit_on_train_completion=True),
        vis="viewer+tensorboard",
    )
