"""What the pipeline connects: viewer, sampler and bake."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.portraits import small_pipeline_config

from nerfstudio_talking.baking.renderer import DeferredBakeRenderer
from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.viewer.opening_view import OpeningView
from nerfstudio_talking.viewer.studio import Studio


def ssp_config(data) -> Any:
    from nerfstudio_talking.method_configs.ssp_nerf import ssp_nerf_small

    config: Any = copy.deepcopy(ssp_nerf_small.config.pipeline)
    config.datamanager.data = data
    config.datamanager.train_num_rays_per_batch = 256
    config.model.num_samples = 8
    return config


def test_the_viewer_finds_its_opening_view_and_the_studio(talking_dataset):
    from nerfstudio.viewer.utils import parse_object
    from nerfstudio.viewer.viewer_elements import ViewerControl

    pipeline = small_pipeline_config(talking_dataset).setup(device="cpu", test_mode="inference")
    found = [control for _, control in parse_object(pipeline, ViewerControl, "Custom Elements")]
    assert found == [pipeline.opening_view, pipeline.studio]
    assert [type(control) for control in found] == [OpeningView, Studio]


def test_rays_follow_the_losses_of_the_classes(talking_dataset):
    """A step's errors reach the running losses, and the next rays are drawn by them."""
    torch.manual_seed(0)
    pipeline = ssp_config(talking_dataset).setup(device="cpu", test_mode="val")
    pipeline.train()
    model, sampler = pipeline.model, pipeline.datamanager.sampler
    before = model.class_loss.clone()
    _, _, metrics = pipeline.get_train_loss_dict(0)
    shown = torch.stack([metrics[f"rays_{name}"] for name in PARSING_CLASSES]) > 0
    assert shown.sum() > 3
    assert torch.equal(model.class_loss != before, shown)
    with torch.no_grad():
        model.class_loss.fill_(1e-6)
        model.class_loss[PARSING_CLASSES.index("eyes")] = 1.0
    _, _, after = pipeline.get_train_loss_dict(0)
    assert sampler.loss is model.class_loss
    assert after["rays_eyes"] > 2 * metrics["rays_eyes"]


def test_loaded_weights_reach_the_sampler(talking_dataset):
    pipeline = ssp_config(talking_dataset).setup(device="cpu", test_mode="val")
    state = pipeline.state_dict()
    state["_model.class_loss"] = torch.linspace(0, 1, len(PARSING_CLASSES))
    pipeline.load_pipeline(state, step=3)
    assert torch.equal(pipeline.datamanager.sampler.loss, state["_model.class_loss"])


def test_a_bake_is_taken_outside_training_alone(talking_dataset, tmp_path):
    config = small_pipeline_config(talking_dataset)
    config.baked = tmp_path / "baked.pt"
    for mode, expected in (("val", False), ("test", True), ("inference", True)):
        renderer = config.setup(device="cpu", test_mode=mode).model.frame_renderer
        assert isinstance(renderer, DeferredBakeRenderer) == expected


def test_a_bake_of_a_method_that_cannot_be_baked_is_refused(talking_dataset, tmp_path):
    config = ssp_config(talking_dataset)
    config.baked = tmp_path / "baked.pt"
    with pytest.raises(TalkingError, match="cannot be baked"):
        config.setup(device="cpu", test_mode="test")
