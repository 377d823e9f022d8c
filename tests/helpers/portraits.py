"""Portraits that are small enough to be trained within a test, in this process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfstudio_talking.pipelines.portrait_pipeline import PortraitPipeline


def small_pipeline_config(data: Path) -> Any:
    """The pipeline's configuration of a tiny `talking-portrait`."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    config: Any = copy.deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = data
    config.datamanager.train_num_rays_per_batch = 256
    config.model.num_samples = 16
    config.model.num_levels = 6
    config.model.log2_table_size = 12
    config.model.max_resolution = 128
    config.model.occupancy_resolution = 24
    return config


def train_in_process(data: Path, steps: int) -> PortraitPipeline:
    """A tiny portrait trained for some steps without files or a trainer, in evaluation mode."""
    torch.manual_seed(0)
    np.random.seed(0)
    config = small_pipeline_config(data)
    pipeline = config.setup(device="cpu", test_mode="val")
    groups, rates = pipeline.get_param_groups(), config.model.learning_rates()
    optimizer = torch.optim.Adam([{"params": params, "lr": rates[name]} for name, params in groups.items()])
    pipeline.train()
    for step in range(steps):
        optimizer.zero_grad()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values()).backward()
        optimizer.step()
        if step % 30 == 29:
            pipeline.model.occupancy.refresh()
    pipeline.eval()
    return pipeline


def loaded_pipeline(data: Path, trained: PortraitPipeline, baked: Path | None = None) -> PortraitPipeline:
    """The pipeline as ns-eval and ns-viewer load it: built anew for evaluation, with the trained weights."""
    config = small_pipeline_config(data)
    config.baked = baked
    pipeline = config.setup(device="cpu", test_mode="test")
    pipeline.load_pipeline(trained.state_dict(), step=0)
    pipeline.eval()
    return pipeline


def untrained_portrait(data: Path) -> Any:
    """A talking-portrait of a tiny dataset, in evaluation mode on the CPU."""
    return untrained_pipeline(data).model


def untrained_pipeline(data: Path) -> Any:
    """The pipeline of `untrained_portrait`."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    torch.manual_seed(0)
    config = copy.deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = data
    model_config = config.model
    model_config.num_samples, model_config.num_levels, model_config.log2_table_size = 8, 4, 10
    model_config.max_resolution, model_config.occupancy_resolution = 64, 12
    pipeline = config.setup(device="cpu", test_mode="inference").eval()
    pipeline.model.prepare_training()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pipeline.model.field.parameters():
            scale = 1.5 / max(parameter.shape[-1], 1) ** 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return pipeline
