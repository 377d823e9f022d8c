"""Every method's training step and evaluation where the device is a GPU: nothing stays on the CPU.

Without a GPU: tensors only claim to be there (helpers/claimed_gpu.py). What this leaves out: kernels for GPUs (all
implementations are torch's, and networks are not tiny-cuda-nn's), mixed precision, and LPIPS, which has no weights
here, so that patches are compared by SSIM.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.claimed_gpu import ClaimedGpu, ClaimsGpu, claim_instead_of_moving
from nerfstudio.plugins.types import MethodSpecification
from torch import Tensor
from torch.utils._pytree import tree_map

import nerfstudio_talking.method_configs as room
from nerfstudio_talking.model_components.image_losses import structural_similarity_torch
from nerfstudio_talking.models import splat_portrait, volume_portrait
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.splatting import projection

STEPS = (0, 3)
"""Training steps: a plain one, and one of the lips phase or of the refiner's generator."""


def all_methods() -> dict[str, Any]:
    """The configuration of every method by its name."""
    modules = [importlib.import_module(f"{room.__name__}.{one.name}") for one in pkgutil.iter_modules(room.__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, MethodSpecification)]
    return {str(one.config.method_name): one.config for one in found}


METHODS = all_methods()


def small(method: str, data: Path, rendered: Path) -> Any:
    """The pipeline of a method, as small as it can be, with torch's implementations."""
    config = copy.deepcopy(METHODS[method].pipeline)
    manager, model = config.datamanager, config.model
    manager.data = data
    if method.startswith("memory-gan"):
        manager.rendered = rendered
        model.network = replace(model.network, width=4, levels=3, key_width=4, identity_dim=8, memory_slots=6)
        return config
    model.implementation = "torch"
    if method.startswith("splat-portrait"):
        model.max_gaussians = 300
        return config
    manager.train_num_rays_per_batch, manager.lips_phase_start, manager.lips_patch_size = 256, 2, 16
    model.num_samples, model.num_levels, model.log2_table_size = 8, 4, 10
    model.max_resolution, model.occupancy_resolution = 64, 12
    return config


def seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def build(config: Any, device: str) -> Any:
    seed()
    return config.setup(device=device, test_mode="val")


def train(pipeline: Any) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The losses of each step, and the sums of all gradients."""
    losses = []
    for step in STEPS:
        _, terms, _ = pipeline.train().get_train_loss_dict(step)
        torch.stack(list(terms.values())).sum().backward()
        losses.append({name: value.detach().cpu() for name, value in terms.items()})
        if isinstance(pipeline.model, volume_portrait.VolumePortraitModel):
            pipeline.model.occupancy.refresh()
    return losses, {name: p.grad.cpu() for name, p in pipeline.model.named_parameters() if p.grad is not None}


def evaluate(pipeline: Any) -> dict[str, Any]:
    """Losses, metrics and outputs in evaluation mode; also of a driven portrait."""
    seed()
    _, losses, _ = pipeline.get_eval_loss_dict(0)
    pipeline.eval()
    camera, _ = pipeline.datamanager.next_eval_image(0)
    metrics, _ = pipeline.get_eval_image_metrics_and_images(0)
    metrics = {name: value for name, value in metrics.items() if not name.endswith(("rays_per_sec", "fps"))}
    pipeline.eval()
    results = {"losses": losses, "metrics": metrics, "outputs": pipeline.model.get_outputs_for_camera(camera)}
    if isinstance(pipeline.model, PortraitModel):
        pipeline.model.drive(pipeline.model.track.first(9))
        results["driven"] = pipeline.model.get_outputs_for_camera(camera)
    return tree_map(lambda x: x.cpu() if isinstance(x, Tensor) else x, results)


@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gets_everything_and_computes_what_a_cpu_does(method, talking_dataset, blurred, monkeypatch):
    monkeypatch.setattr(volume_portrait, "TCNN_EXISTS", False)
    # on a CPU these take kernels of numba by themselves
    monkeypatch.setattr(projection, "_fastest_for", lambda *_: "torch")
    monkeypatch.setattr(splat_portrait, "structural_similarity", structural_similarity_torch)
    pipeline = build(small(method, talking_dataset, blurred), "cpu")
    (losses, gradients), results = train(pipeline), evaluate(pipeline)
    claim_instead_of_moving(monkeypatch)
    with ClaimedGpu():
        pipeline = build(small(method, talking_dataset, blurred), "cuda")
        assert pipeline.model.device.type == "cuda"
        assert all(isinstance(value, ClaimsGpu) for value in pipeline.model.state_dict(keep_vars=True).values())
        (claimed_losses, claimed_gradients), claimed_results = train(pipeline), evaluate(pipeline)
    exactly: Any = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(claimed_losses, losses, **exactly)
    torch.testing.assert_close(claimed_gradients, gradients, **exactly)
    torch.testing.assert_close(claimed_results, results, **exactly)
    assert sum(bool(gradient.any()) for gradient in gradients.values()) > 20
