"""`ns-train memory-gan` and its preset for CPUs."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.refiner_datamanager import RefinerDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.engine.optimizers import AdversarialAdamConfig
from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.models.memory_gan import MemoryGanModelConfig
from nerfstudio_talking.pipelines.refiner_pipeline import RefinerPipelineConfig
from nerfstudio_talking.refiner.losses import LossWeights
from nerfstudio_talking.refiner.network import RefinerSettings


def refiner_trainer(name: str, steps: int, rate: float, model: MemoryGanModelConfig) -> TalkingTrainerConfig:
    """The trainer configuration of a refiner.

    Args:
        name: name of the method.
        steps: training steps; a discriminator step and a generator step make one of the authors' iterations.
        rate: learning rate of both sides.
        model: configuration of the model.
    """

    def side() -> dict:
        return {"optimizer": AdversarialAdamConfig(lr=rate, eps=1e-8), "scheduler": DecaySchedulerConfig()}

    return TalkingTrainerConfig(
        method_name=name,
        steps_per_eval_batch=500,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=1000,
        max_num_iterations=steps,
        mixed_precision=False,
        pipeline=RefinerPipelineConfig(
            datamanager=RefinerDataManagerConfig(dataparser=TalkingPortraitDataParserConfig()), model=model
        ),
        optimizers={"generator": side(), "discriminator": side()},
        viewer=ViewerConfig(num_rays_per_chunk=1 << 15, quit_on_train_completion=True),
        vis="viewer+tensorboard",
    )


# the authors' personal training: 60 epochs over 300 frames, one frame per step, at 1e-4
memory_gan = MethodSpecification(
    config=refiner_trainer("memory-gan", 36_000, 1e-4, MemoryGanModelConfig()),
    description="Memory-augmented GAN that refines rendered frames (after Yi et al. 2020).",
)

memory_gan_small = MethodSpecification(
    config=refiner_trainer(
        "memory-gan-small",
        2_500,
        5e-4,
        MemoryGanModelConfig(
            # three levels: deeper networks learn a few hundred frames by heart. The memory does not help at this size
            # and is off; its narrow networks are there for --pipeline.model.network.memory-slots
            network=RefinerSettings(
                width=16, levels=3, identity_dim=128, memory_slots=0, key_dim=128, key_width=16, neighbours=64
            ),
            # in so few steps an adversarial loss of full weight does harm before the discriminator has learned
            losses=LossWeights(gan=0.02, mask=0.1, ssim=30.0),
        ),
    ),
    description="memory-gan for CPUs: narrow networks, no memory.",
)
