"""`ns-train talking-portrait` and its preset for CPUs."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.talking_datamanager import TalkingDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModelConfig


def _optimizers() -> dict:
    """One entry per parameter group of the model; betas and rates after ER-NeRF's."""

    def group(rate: float) -> dict:
        return {
            "optimizer": AdamOptimizerConfig(lr=rate, eps=1e-8),
            "scheduler": DecaySchedulerConfig(final_ratio=0.1, warmup_steps=100),
        }

    return {"tables": group(1e-2), "networks": group(2e-3), "audio": group(1e-3)}


def _trainer(name: str, steps: int, rays: int, model: TalkingPortraitModelConfig) -> TalkingTrainerConfig:
    return TalkingTrainerConfig(
        method_name=name,
        steps_per_eval_batch=500,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=2000,
        max_num_iterations=steps,
        mixed_precision=True,
        pipeline=VanillaPipelineConfig(
            datamanager=TalkingDataManagerConfig(
                dataparser=TalkingPortraitDataParserConfig(),
                train_num_rays_per_batch=rays,
            ),
            model=model,
        ),
        optimizers=_optimizers(),
        # a clip has thousands of nearly equal cameras: a few frusta are enough
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, max_num_display_images=16, quit_on_train_completion=True),
        vis="viewer+tensorboard",
    )


talking_portrait = MethodSpecification(
    config=_trainer("talking-portrait", 60_000, 32_768, TalkingPortraitModelConfig(num_samples=96)),
    description="Audio-driven portrait: regional saliency head and reference-image torso (Wang et al. 2025).",
)

talking_portrait_small = MethodSpecification(
    config=_trainer("talking-portrait-small", 10_000, 2048, TalkingPortraitModelConfig(num_samples=40)),
    description="talking-portrait for CPUs: small pictures, fewer rays.",
)
