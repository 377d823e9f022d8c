"""`ns-train ssp-nerf` and its preset for CPUs."""

from __future__ import annotations

from nerfstudio.plugins.types import MethodSpecification

from nerfstudio_talking.data.pixel_samplers import SemanticPixelSamplerConfig
from nerfstudio_talking.method_configs.trainer import portrait_trainer, ray_data
from nerfstudio_talking.models.ssp_nerf import SSPNeRFModelConfig

ssp_nerf = MethodSpecification(
    config=portrait_trainer(
        "ssp-nerf",
        60_000,
        SSPNeRFModelConfig(num_samples=128, log2_table_size=17, max_resolution=1024),
        ray_data(32_768, SemanticPixelSamplerConfig()),
    ),
    description="One semantic-aware field for head and torso, dynamic ray sampling (after SSP-NeRF, ECCV 2022).",
)

ssp_nerf_small = MethodSpecification(
    config=portrait_trainer(
        "ssp-nerf-small",
        10_000,
        SSPNeRFModelConfig(eval_num_rays_per_chunk=1 << 13),
        ray_data(2048, SemanticPixelSamplerConfig()),
    ),
    description="ssp-nerf for CPUs: small images, fewer rays.",
)
