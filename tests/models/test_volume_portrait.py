"""What the portraits that are volumes share: parameter groups and their rates, losses, phases."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

METHODS = ("talking-portrait-small", "ssp-nerf-small", "er-nerf-small")


def small_config(method: str, data: Any) -> Any:
    from nerfstudio_talking.method_configs import er_nerf, ssp_nerf, talking_portrait

    modules = {"talking": talking_portrait.talking_portrait_small, "ssp": ssp_nerf.ssp_nerf_small}
    specification = modules.get(method.split("-")[0], er_nerf.er_nerf_small)
    config: Any = copy.deepcopy(specification.config)
    assert config.method_name == method
    config.pipeline.datamanager.data = data
    config.pipeline.datamanager.train_num_rays_per_batch = 256
    config.pipeline.datamanager.lips_phase_start = 10
    config.pipeline.datamanager.lips_patch_size = 16
    config.pipeline.model.num_samples = 8
    return config


@pytest.fixture(scope="module", params=METHODS)
def built(request, talking_dataset):
    torch.manual_seed(0)
    config = small_config(request.param, talking_dataset)
    pipeline = config.pipeline.setup(device="cpu", test_mode="val")
    pipeline.train()
    return config, pipeline


def test_every_parameter_is_in_one_group_with_a_rate(built):
    config, pipeline = built
    groups = pipeline.get_param_groups()
    rates = config.pipeline.model.learning_rates()
    assert rates.keys() == config.optimizers.keys()
    # a mouth prior leaves nothing of the audio condition to train
    assert groups.keys() == rates.keys() - ({"audio"} if pipeline.model.mouth_shape_predictor else set())
    for name, group in config.optimizers.items():
        assert group["optimizer"].lr == rates[name]
    numbers = [id(p) for group in groups.values() for p in group]
    model = pipeline.model
    expected = {id(p) for p in model.parameters()} - {id(model.device_indicator_param)}
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == expected


def test_losses_of_rays_and_of_patches(built):
    _, pipeline = built
    _, rays, _ = pipeline.get_train_loss_dict(0)
    _, patches, _ = pipeline.get_train_loss_dict(11)
    assert {"rgb_loss", "entropy_loss", "depth_variance_loss", "mask_loss", "semantic_loss"} <= rays.keys()
    assert patches.keys() - rays.keys() == {"patch_loss"}
    assert "mouth_shape_loss" not in rays  # the clip's features have a mouth prior
    assert all(torch.isfinite(loss) for loss in [*rays.values(), *patches.values()])


def test_the_occupancy_grid_is_refreshed_at_its_interval(built):
    config, pipeline = built
    (callback,) = pipeline.model.get_training_callbacks(None)
    occupancy, before = pipeline.model.occupancy, int(pipeline.model.occupancy.refreshes)
    interval = config.pipeline.model.occupancy_interval
    for step in range(2 * interval + 1):
        callback.run_callback(step)
    assert int(occupancy.refreshes) == before + 2


def test_evaluation_renders_every_output_of_a_camera(built, talking_dataset):
    _, pipeline = built
    model = pipeline.model.eval()
    track = model.sequence.track
    view = track.camera.resize(20, 24)
    camera = view.to_nerfstudio(track.camera_to_worlds[4:5], track.times[4:5])
    outputs = model.get_outputs_for_camera(camera)
    model.train()
    channels = {"rgb": 3, "depth": 1, "accumulation": 1, "parsing": 3, "saliency_audio": 1, "saliency_eyes": 1}
    assert {name: outputs[name].shape for name in channels} == {name: (24, 20, n) for name, n in channels.items()}
    assert next(iter(outputs)) == "rgb"  # the viewer shows the first one
    assert not {"color", "semantics", "depth_variance", "squared_offset"} & outputs.keys()
