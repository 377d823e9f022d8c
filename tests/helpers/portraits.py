"""A portrait without training: random weights whose frames depend strongly on audio and pose."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch


def untrained_portrait(data: Path) -> Any:
    """A talking-portrait of a tiny dataset, in evaluation mode on the CPU."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    torch.manual_seed(0)
    config = copy.deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = data
    model_config = config.model
    model_config.num_samples, model_config.num_levels, model_config.log2_table_size = 8, 4, 10
    model_config.max_resolution, model_config.occupancy_resolution = 64, 12
    pipeline = config.setup(device="cpu", test_mode="inference").eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pipeline.model.field.parameters():
            scale = 1.5 / max(parameter.shape[-1], 1) ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return pipeline.model
