"""One process of a training by several: nerfstudio's trainer over gloo. In a module that a spawned process can
import."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from helpers.refiners import trainer_config

METHODS = {
    "talking-portrait-small": ("field.",),
    "er-nerf-small": ("field.", "audio_encoder."),
    "ssp-nerf-small": ("field.", "deformation."),
    "splat-portrait-small": ("groups.head.", "groups.mouth.", "groups.torso.", "backdrop", "frames."),
    "memory-gan-small": ("refiner.generator.", "refiner.discriminator."),
}
"""What must learn in each."""


STEPS = 4


class OnCPU(DistributedDataParallel):
    """Without the device that nerfstudio names: a process has no number on a CPU."""

    def __init__(self, module: torch.nn.Module, device_ids: object, **options: Any) -> None:
        super().__init__(module, **options)


def train(rank: int, data: Path, rendered: Path, folder: Path) -> None:
    """One of two processes: train every method, leave behind weights and what they were trained on."""
    import torch.distributed as dist
    from nerfstudio.pipelines import base_pipeline
    from nerfstudio.scripts.train import _set_random_seed
    from nerfstudio.utils import writer

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", world_size=2, rank=rank)
    base_pipeline.DDP = OnCPU  # type: ignore[misc]
    for method in METHODS:
        config = small(method, data, rendered, folder)
        writer.EVENT_WRITERS.clear()
        writer.EVENT_STORAGE.clear()
        if rank == 0:
            config.save_config()
        _set_random_seed(config.machine.seed + rank)
        trainer = config.setup(local_rank=rank, world_size=2)
        trainer.setup()
        model = trainer.pipeline.model
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        seen, reached = follow(trainer.pipeline.datamanager), watch_gradients(model)
        trainer.train()
        moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
        weights = dict(model.named_parameters())
        left = {"weights": weights, "moved": moved, "seen": torch.stack(seen), "reached": sorted(reached)}
        torch.save(left, folder / f"{method} {rank}.pt")
    dist.destroy_process_group()


def follow(datamanager: Any) -> list[torch.Tensor]:
    """The means of the colours of every batch to come, in order."""
    seen: list[torch.Tensor] = []
    draw = datamanager.next_train

    def next_train(step: int) -> Any:
        rays, batch = draw(step)
        image = batch["image"] if "image" in batch else batch["batch"].gt
        seen.append(image.float().mean())
        return rays, batch

    datamanager.next_train = next_train
    return seen


def watch_gradients(model: torch.nn.Module) -> set[str]:
    """The names of the parameters that get a gradient of this process, before it is averaged, other than zero."""
    reached: set[str] = set()

    def watch(name: str) -> Any:
        return lambda gradient: reached.add(name) if gradient.any() else None

    for name, parameter in model.named_parameters():
        parameter.register_hook(watch(name))
    return reached


def small(method: str, data: Path, rendered: Path, folder: Path) -> Any:
    """A configuration for a few steps on a tiny clip."""
    from nerfstudio_talking.method_configs import er_nerf, splat_portrait, ssp_nerf, talking_portrait

    if method == "memory-gan-small":
        return trainer_config(data, rendered, folder, STEPS)
    methods = {
        "talking-portrait-small": talking_portrait.talking_portrait_small,
        "er-nerf-small": er_nerf.er_nerf_small,
        "ssp-nerf-small": ssp_nerf.ssp_nerf_small,
        "splat-portrait-small": splat_portrait.splat_portrait_small,
    }
    config: Any = copy.deepcopy(methods[method].config)
    config.data = config.pipeline.datamanager.data = data
    config.output_dir, config.experiment_name, config.timestamp, config.vis = folder, "x", "t", "tensorboard"
    config.machine.device_type, config.max_num_iterations = "cpu", STEPS
    if method == "splat-portrait-small":
        config.pipeline.model.max_gaussians = 600
        return config
    datamanager = config.pipeline.datamanager
    datamanager.train_num_rays_per_batch = 512
    datamanager.lips_phase_start, datamanager.lips_patch_size = 2, 16
    config.pipeline.model.num_samples = 16
    return config
