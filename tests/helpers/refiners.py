"""A refiner small enough for a test."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path


def trainer_config(data: Path, rendered: Path | None, folder: Path, steps: int, load_dir: Path | None = None, end=6):
    from nerfstudio_talking.method_configs.memory_gan import memory_gan_small

    config = copy.deepcopy(memory_gan_small.config)
    config.data = config.pipeline.datamanager.data = data
    config.pipeline.datamanager.rendered = rendered
    model = config.pipeline.model
    model.network = replace(model.network, width=4, levels=3, key_width=4, identity_dim=8, memory_slots=6)
    config.output_dir, config.experiment_name, config.timestamp, config.vis = folder, "x", "t", "tensorboard"
    config.machine.device_type, config.max_num_iterations, config.load_dir = "cpu", steps, load_dir
    for side in config.optimizers.values():
        side["scheduler"].max_steps = end
    return config
