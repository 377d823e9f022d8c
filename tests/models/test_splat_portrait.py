"""A portrait of Gaussians as a model."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.io.errors import TalkingError


def small_config(data: Any, **changes: Any) -> Any:
    from nerfstudio_talking.method_configs.splat_portrait import splat_portrait_small

    config: Any = copy.deepcopy(splat_portrait_small.config)
    config.pipeline.datamanager.data = data
    model = config.pipeline.model
    model.max_gaussians, model.audio_modes = 900, 6
    for name, value in changes.items():
        setattr(model, name, value)
    return config


def build(config: Any, mode: str = "val") -> Any:
    torch.manual_seed(0)
    np.random.seed(0)
    return config.pipeline.setup(device="cpu", test_mode=mode)


def camera_of(model: Any, frame: int, size: tuple[int, int] | None = None, turn: float = 0.0) -> Any:
    track = model.track
    view = track.camera if size is None else track.camera.resize(*size)
    pose = track.camera_to_worlds[frame : frame + 1].copy()
    pose = Rotation.from_euler("y", turn, degrees=True).as_matrix().astype(np.float32) @ pose
    return view.to_nerfstudio(pose, track.times[frame : frame + 1])


@pytest.fixture(scope="module")
def trained(talking_dataset):
    config = small_config(talking_dataset)
    pipeline = build(config)
    pipeline.train()
    groups, rates = pipeline.get_param_groups(), config.pipeline.model.learning_rates()
    optimizer = torch.optim.Adam([{"params": groups[name], "lr": rates[name]} for name in groups], eps=1e-15)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        _, terms, _ = pipeline.get_train_loss_dict(step)
        loss = sum(terms.values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return config, pipeline, losses


def test_every_parameter_is_in_one_group_with_a_rate(trained):
    config, pipeline, _ = trained
    groups = pipeline.get_param_groups()
    rates = config.pipeline.model.learning_rates()
    assert rates.keys() == config.optimizers.keys()
    assert groups.keys() == rates.keys() - {"audio"}  # with a mouth prior nothing of the audio condition is trained
    numbers = [id(p) for group in groups.values() for p in group]
    model = pipeline.model
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == {id(p) for p in model.parameters()} - {id(model.device_indicator_param)}


def test_training_lowers_the_loss(trained):
    _, _, losses = trained
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_evaluation_gives_every_output_in_its_range(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    outputs = model.get_outputs_for_camera(camera_of(model, 4))
    height, width = model.track.height, model.track.width
    assert {name: value.shape for name, value in outputs.items()} == {
        "rgb": (height, width, 3),
        **{name: (height, width, 1) for name in ("accumulation", "depth", "saliency_audio", "saliency_eyes")},
    }
    for name in ("rgb", "accumulation", "saliency_audio", "saliency_eyes"):
        assert 0 <= outputs[name].min() <= outputs[name].max() <= 1
    face = outputs["accumulation"][..., 0] > 0.99
    assert face.any()
    assert outputs["depth"][face].median() < model.plane_distance + 0.06
    assert torch.equal(outputs["rgb"], model.get_outputs_for_camera(camera_of(model, 4))["rgb"])


def test_the_viewer_sees_other_sizes_and_sides(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    front = model.get_outputs_for_camera(camera_of(model, 4, (40, 40)))
    side = model.get_outputs_for_camera(camera_of(model, 4, (40, 40), turn=25.0))
    assert front["rgb"].shape == side["rgb"].shape == (40, 40, 3)
    # the head turns away but is still there, about as opaque
    head = front["accumulation"][10:30, 10:30].mean()
    assert side["accumulation"][10:30, 10:30].mean() > 0.7 * head
    assert not torch.equal(front["rgb"], side["rgb"])


def test_the_recording_camera_sees_the_background_image_itself(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    camera = camera_of(model, 4)
    pose = model.conditioning.camera_to_worlds[4]
    direct = model._backdrop_behind(camera, model.track.camera, pose, pose)
    assert torch.equal(direct, model.backdrop[0].permute(1, 2, 0))
    # along rays, bilinear between pixel centres: the same up to float32's rounding of positions
    assert torch.allclose(model.background_image(camera, pose), direct, atol=2e-3)


def test_the_code_of_a_frame_is_for_training_alone(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    before = model.get_outputs_for_camera(camera_of(model, 4))["rgb"]
    kept = model.frames.codes.detach().clone(), model.frames.head.detach().clone()
    with torch.no_grad():
        model.frames.codes.add_(1.0)
        model.frames.head.add_(0.01)
    assert torch.equal(model.get_outputs_for_camera(camera_of(model, 4))["rgb"], before)
    with torch.no_grad():
        model.frames.codes.copy_(kept[0])
        model.frames.head.copy_(kept[1])


def test_only_drawn_frames_are_refined(talking_dataset):
    pipeline = build(small_config(talking_dataset, refine_poses=True))
    pipeline.train()
    _, losses, _ = pipeline.get_train_loss_dict(0)
    sum(losses.values()).backward()
    rows = pipeline.model.frames.head.grad.abs().sum(1).nonzero()[:, 0]
    assert len(rows) == 1
    assert int(rows[0]) in pipeline.model.sequence.train_frames
    fixed = build(small_config(talking_dataset, refine_poses=False))
    fixed.train()
    _, losses, _ = fixed.get_train_loss_dict(0)
    sum(losses.values()).backward()
    assert not fixed.model.frames.head.grad.any()


def test_several_frames_in_a_step_are_the_mean_of_single_ones(talking_dataset):
    config = small_config(talking_dataset, predicted_mouth_prob=0.0)
    config.pipeline.datamanager.frames_per_step = 3
    pipeline = build(config)
    model = pipeline.model.train()
    model.mouth_shape_predictor.prediction_std.zero_()
    cameras, batch = pipeline.datamanager.next_train(0)
    together = model(cameras)
    assert together["rgb"].shape == (3, model.track.height, model.track.width, 3)
    losses = model.get_loss_dict(together, batch)
    single = []
    for i in range(3):
        one = {name: batch[name][i] for name in ("image", "parsing")} | {"image_idx": int(batch["image_idx"][i])}
        single.append(model.get_loss_dict(model(cameras[i : i + 1]), one))
    for name in ("rgb_loss", "ssim_loss", "scale_loss"):
        mean = torch.stack([loss[name] for loss in single]).mean()
        assert torch.allclose(losses[name], mean, rtol=1e-5, atol=1e-7)


def test_rasterizers_agree_on_the_portrait(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    images = {}
    for implementation in ("numba", "torch"):
        model.config.implementation = implementation
        images[implementation] = model.get_outputs_for_camera(camera_of(model, 2))["rgb"]
    model.config.implementation = "auto"
    assert torch.allclose(images["numba"], images["torch"], atol=1e-4)


def test_a_checkpoint_renders_the_same_without_the_images(trained):
    config, pipeline, _ = trained
    loaded = build(config, "inference")
    loaded.load_pipeline(pipeline.state_dict(), step=0)
    pipeline.eval()
    loaded.eval()
    images = [p.model.get_outputs_for_camera(camera_of(p.model, 3))["rgb"] for p in (pipeline, loaded)]
    assert torch.equal(*images)


def test_a_loss_that_is_not_finite_names_the_frame(talking_dataset):
    pipeline = build(small_config(talking_dataset))
    pipeline.train()
    with torch.no_grad():
        pipeline.model.backdrop[0, 0, 0, 0] = torch.nan
    cameras, batch = pipeline.datamanager.next_train(0)
    frame = int(pipeline.model.sequence.train_frames[batch["image_idx"]])
    with pytest.raises(TalkingError, match=rf"frame {frame} of the dataset.*rgb_loss"):
        pipeline.model.get_loss_dict(pipeline.model(cameras), batch)


def test_lpips_of_the_lips_is_part_of_the_loss_where_its_weights_are(talking_dataset, alexnet):
    config = small_config(talking_dataset)
    config.pipeline.model.lpips_weights = alexnet[0]
    pipeline = build(config)
    pipeline.train()
    losses = pipeline.get_train_loss_dict(0)[1]
    assert losses["lpips_loss"].requires_grad and float(losses["lpips_loss"]) > 0
    assert not any("lpips" in name for name in pipeline.state_dict())


def test_the_torso_follows_the_body_in_the_image(trained):
    _, pipeline, _ = trained
    model = pipeline.model.eval()
    camera, pose = model.track.camera, model.conditioning.camera_to_worlds[5]
    conditions = {"pose": torch.zeros(6), "residual": torch.zeros(model.config.residual_dim)}
    motion = torch.tensor([[1.1, 0.0, 0.2], [0.0, 0.9, -0.1]])
    with torch.no_grad():
        seen = [
            camera.uv(camera.project(model.torso_in_world(conditions, pose, body).means, pose[None])[0])
            for body in (torch.eye(2, 3), motion)
        ]
    assert torch.allclose(seen[1], seen[0] @ motion[:, :2].T + motion[:, 2], atol=1e-4)
