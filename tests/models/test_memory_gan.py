"""memory-gan under nerfstudio's trainer: presets, evaluation, and exact resumption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.refiners import config_path, run, trainer_config

from nerfstudio_talking.refiner.losses import LossWeights
from nerfstudio_talking.refiner.network import RefinerSettings


def test_presets():
    from nerfstudio_talking.method_configs.memory_gan import memory_gan, memory_gan_small

    published = memory_gan.config.pipeline.model
    assert published.network == RefinerSettings()
    assert published.losses == LossWeights(gan=1.0, l1=100.0, mask=2.0, mask_variation=1e-5, triplet=1.0, ssim=0.0)
    small = memory_gan_small.config.pipeline.model
    assert small.network.memory_slots == 0
    assert small.losses == LossWeights(gan=0.02, mask=0.1, ssim=30.0)


def test_rays_are_refused(talking_dataset, blurred, tmp_path):
    pipeline = trainer_config(talking_dataset, blurred, tmp_path, 1).pipeline.setup(device="cpu", test_mode="test")
    with pytest.raises(NotImplementedError, match="get_outputs_for_camera"):
        pipeline.model.get_outputs(None)
    with pytest.raises(NotImplementedError, match="training step"):
        pipeline.model.get_loss_dict({}, {})


@pytest.fixture(scope="module")
def trained(talking_dataset, blurred, tmp_path_factory) -> Path:
    config = trainer_config(talking_dataset, blurred, tmp_path_factory.mktemp("refiner"), 6)
    run(config)
    return config_path(config)


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(trained, talking_dataset, blurred, tmp_path):
    whole = torch.load(next((trained.parent / "nerfstudio_models").iterdir()), weights_only=True)
    half = run(trainer_config(talking_dataset, blurred, tmp_path / "a", 3))
    rest = run(trainer_config(talking_dataset, blurred, tmp_path / "b", 6, half.parent))
    resumed = torch.load(rest, weights_only=True)
    assert resumed["step"] == whole["step"] == 5
    assert resumed["pipeline"].keys() == whole["pipeline"].keys()
    assert any("memory.keys" in name for name in whole["pipeline"])
    assert not any("rendered" in name and "rendered_by" not in name for name in whole["pipeline"])
    for name, value in whole["pipeline"].items():
        assert torch.equal(value, resumed["pipeline"][name]), name


@pytest.mark.slow
def test_evaluation_scores_refined_and_rendered_frames(trained):
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(trained)
    metrics = pipeline.get_average_eval_image_metrics()
    assert {"psnr", "ssim", "rendered_psnr", "rendered_ssim"} <= metrics.keys()
    # after three generator steps the refined frame is still near the rendered one
    assert abs(metrics["psnr"] - metrics["rendered_psnr"]) < 3
    assert metrics["psnr"] != metrics["rendered_psnr"]


@pytest.mark.slow
def test_a_camera_gets_the_frame_of_its_time_in_its_size(trained):
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(trained)
    model = pipeline.model
    camera = pipeline.datamanager.eval_dataset.cameras[1:2]
    frame = pipeline.datamanager.eval_dataset.track_frame(1)
    outputs = model.get_outputs_for_camera(camera)
    torch.testing.assert_close(outputs["rendered"], model.rendered[frame].float() / 255, atol=1e-6, rtol=0)
    camera.rescale_output_resolution(0.5)
    outputs = model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == outputs["painted"].shape == (24, 24, 3)
    assert outputs["mask"].shape == outputs["depth"].shape == (24, 24, 1)
