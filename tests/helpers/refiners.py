"""Refiners and portraits small enough for a test."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F

from nerfstudio_talking.refiner import identity
from nerfstudio_talking.refiner.network import Batch, RefinerSettings

TINY = RefinerSettings(
    width=4, levels=3, patch_layers=2, identity_dim=6, memory_slots=5, key_dim=8, key_width=4, neighbours=4
)


def random_batch(seed: int = 0, size: int = 16) -> Batch:
    """Two windows of noise whose ground truth is a little darker than the last frame."""
    generator = torch.Generator().manual_seed(seed)
    window = torch.rand(2, 9, size, size, generator=generator) * 2 - 1
    identity = F.normalize(torch.randn(2, TINY.identity_dim, generator=generator), dim=1)
    return Batch(window, window[:, -3:] * 0.8, identity)


def trainer_config(
    data: Path, rendered: Path | None, folder: Path, steps: int, load_dir: Path | None = None, end: int = 6
) -> Any:
    """memory-gan-small with tiny networks and a memory; learning rates fall until step `end`."""
    from nerfstudio_talking.method_configs.memory_gan import memory_gan_small

    config = on_cpu(memory_gan_small.config, data, folder, steps)
    config.pipeline.datamanager.rendered = rendered
    config.load_dir = load_dir
    model = config.pipeline.model
    model.network = replace(model.network, width=4, levels=3, key_width=4, identity_dim=8, memory_slots=6)
    for side in config.optimizers.values():
        side["scheduler"].max_steps = end
    return config


def portrait_config(data: Path, folder: Path, steps: int = 2) -> Any:
    """talking-portrait-small for a few steps."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    config = on_cpu(talking_portrait_small.config, data, folder, steps)
    config.pipeline.datamanager.train_num_rays_per_batch = 128
    return config


def run(config: Any) -> Path:
    """Train under nerfstudio's trainer, the identity encoder for a few steps; returns the latest checkpoint."""
    from nerfstudio.utils import writer

    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    few = partial(identity.train_identity_encoder, steps=15)
    with mock.patch.object(identity, "train_identity_encoder", few):
        trainer.train()
    return sorted(config.get_checkpoint_dir().iterdir())[-1]


def config_path(config: Any) -> Path:
    """Where `run` has written config.yml."""
    return config.get_base_dir() / "config.yml"


def on_cpu(preset: Any, data: Path, folder: Path, steps: int) -> Any:
    config = copy.deepcopy(preset)
    config.data = config.pipeline.datamanager.data = data
    config.output_dir, config.experiment_name, config.timestamp, config.vis = folder, "x", "t", "tensorboard"
    config.machine.device_type, config.max_num_iterations = "cpu", steps
    return config
