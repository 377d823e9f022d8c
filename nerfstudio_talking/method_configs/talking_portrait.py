"""`ns-train talking-portrait` and its preset for CPUs."""

from __future__ import annotations

from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.method_configs.trainer import portrait_trainer, ray_data
from nerfstudio_talking.models.talking_portrait import TalkingPortraitModelConfig

talking_portrait = MethodSpecification(
    config=portrait_trainer("talking-portrait", 60_000, TalkingPortraitModelConfig(num_samples=96), ray_data(32_768)),
    description="Audio-driven portrait: regional saliency head and reference-image torso (Wang et al. 2025).",
)

talking_portrait_small = MethodSpecification(
    config=portrait_trainer(
        "talking-portrait-small",
        10_000,
        TalkingPortraitModelConfig(num_samples=40, eval_num_rays_per_chunk=1 << 13),
        ray_data(2048),
    ),
    description="talking-portrait for CPUs: small images, fewer rays.",
)
