"""ER-NeRF: its schedule, its rays, how its layers learn apart, and that the standard commands train and score it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset
from helpers.commands import command, train

from nerfstudio_talking.data.pixel_samplers import FramePixelSamplerConfig
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.engine.schedulers import decay_factor


def test_published_numbers():
    from nerfstudio_talking.method_configs.er_nerf import er_nerf

    config = er_nerf.config
    model, data = config.pipeline.model, config.pipeline.datamanager
    assert (model.num_levels, 2**model.log2_table_size, model.max_resolution, model.audio_dim) == (12, 16384, 512, 32)
    assert (model.region_module, model.torso, model.audio_condition) == ("mlp", "deformable_grid", "code")
    assert (config.max_num_iterations, data.train_num_rays_per_batch) == (125_000, 65_536)
    assert (data.pixel_sampler.frames_per_batch, data.pixel_sampler.favour_blinks) == (1, False)
    # 163 584 entries in each of three planes
    from nerfstudio_talking.field_components.hash_planes import HashPlanes

    planes = HashPlanes(3, model.num_levels, 1, 64, model.max_resolution, model.log2_table_size)
    assert planes.table.numel() == pytest.approx(490_752, rel=1e-3)


def test_rates_halve_then_jump_to_the_way_to_a_twentieth():
    from nerfstudio_talking.method_configs.er_nerf import er_nerf

    group = er_nerf.config.optimizers["networks"]
    schedule = group["scheduler"]
    schedule.max_steps = 125_000
    assert decay_factor(0, schedule) == 1.0
    assert decay_factor(100_000, schedule) == pytest.approx(0.5)
    assert decay_factor(100_001, schedule) == pytest.approx(0.05**0.8, rel=1e-4)
    assert decay_factor(125_000, schedule) == pytest.approx(0.05)
    schedule.max_steps = None
    optimiser = group["optimizer"].setup(params=[torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimiser, torch.optim.AdamW)
    assert optimiser.defaults["betas"] == (0.0, 0.99)


@pytest.fixture(scope="module")
def model(talking_dataset):
    from nerfstudio_talking.data.ray_datamanager import RayDataManagerConfig
    from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
    from nerfstudio_talking.models.er_nerf import ERNeRFModelConfig

    manager = RayDataManagerConfig(
        dataparser=TalkingPortraitDataParserConfig(data=talking_dataset),
        train_num_rays_per_batch=512,
        pixel_sampler=FramePixelSamplerConfig(favour_blinks=False),
    ).setup(device="cpu")
    dataset = manager.train_dataset
    config = ERNeRFModelConfig(num_samples=12)
    model = config.setup(scene_box=dataset.scene_box, num_train_data=len(dataset), metadata=dataset.metadata)
    return model.train(), manager


def test_head_and_torso_learn_from_their_own_part(model):
    portrait, manager = model
    bundle, batch = manager.next_train(0)
    outputs = portrait(bundle)
    losses = portrait.get_loss_dict(outputs, batch)
    assert {"mask_loss", "patch_loss"}.isdisjoint(name for name, value in losses.items() if value.item() > 0)
    head, torso = next(portrait.field.color_net.parameters()), next(portrait.torso.color_net.parameters())
    by_torso = torch.autograd.grad(losses["torso_loss"], [head, torso], allow_unused=True, retain_graph=True)
    assert by_torso[0] is None
    assert by_torso[1].abs().sum() > 0
    by_head = torch.autograd.grad(losses["rgb_loss"], [head, torso], allow_unused=True)
    assert by_head[0].abs().sum() > 0
    assert by_head[1] is None


def test_losses_by_numpy(model):
    portrait, manager = model
    bundle, batch = manager.next_train(1)
    outputs = portrait(bundle)
    losses = portrait.get_loss_dict(outputs, batch)
    values = {name: value.detach().numpy().astype(np.float64) for name, value in outputs.items()}
    image, parsing = batch["image"].numpy(), batch["parsing"].numpy()
    behind = np.where(np.isin(parsing, [CLASS_ID["neck"], CLASS_ID["cloth"]])[:, None], image, values["background"])
    head = values["color"] + (1 - values["accumulation"]) * behind
    assert float(losses["rgb_loss"]) == pytest.approx(np.mean((head - image) ** 2), rel=1e-4)
    beside = np.isin(parsing, [CLASS_ID[name] for name in ("background", "neck", "cloth")])
    error = np.mean((values["torso"] - image)[beside] ** 2)
    assert float(losses["torso_loss"]) == pytest.approx(error, rel=1e-4)
    alpha = values["accumulation"].clip(1e-4, 1 - 1e-4)
    entropy = -np.mean(alpha * np.log2(alpha) + (1 - alpha) * np.log2(1 - alpha))
    assert float(losses["entropy_loss"]) == pytest.approx(1e-4 * entropy, rel=1e-3)


def test_eyes_are_jittered_in_training_alone(model):
    portrait, _ = model
    frames = torch.arange(4)
    still = portrait.conditioning.eye_condition(frames)
    jittered = portrait.frame_condition(frames).eyes
    assert 0 < (jittered - still).abs().max() <= 0.1
    portrait.eval()
    torch.testing.assert_close(portrait.frame_condition(frames).eyes, still)
    portrait.train()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("er")
    write_talking_dataset(folder / "data")
    return train("er-nerf-small", folder / "data", folder, 10, "--steps-per-eval-image", 4)


@pytest.mark.slow
def test_it_trains_and_is_scored(trained, tmp_path):
    state = torch.load(sorted((trained.parent / "nerfstudio_models").iterdir())[-1], weights_only=True)
    assert state["optimizers"]["tables"]["param_groups"][0]["betas"] == (0.0, 0.99)
    command("ns-eval", "--load-config", trained, "--output-path", tmp_path / "eval.json", cwd=trained.parents[4])
    results = json.loads((tmp_path / "eval.json").read_text())["results"]
    assert {"psnr", "ssim", "video_psnr_mouth", "video_ssim_face"} <= results.keys()
    assert results["psnr"] > 8


@pytest.mark.slow
def test_training_writes_scores_and_images_side_by_side(trained):
    from io import BytesIO

    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained.parent))
    events.Reload()
    scalars = events.Tags()["scalars"]
    for name in ("psnr", "ssim", "psnr_mouth"):
        logged = events.Scalars(next(tag for tag in scalars if tag.endswith(f"Eval Images Metrics/{name}")))
        assert [event.step for event in logged] == [4, 8]
        assert all(np.isfinite(event.value) for event in logged)
    shown = events.Images("Eval Images/img")[-1]
    # ground truth left, rendering right
    image = np.asarray(Image.open(BytesIO(shown.encoded_image_string)).convert("RGB")).astype(float) / 255
    assert image.shape == (48, 96, 3)
    error = np.mean((image[:, :48] - image[:, 48:]) ** 2)
    psnr = next(tag for tag in scalars if tag.endswith("Eval Images Metrics/psnr"))
    assert events.Scalars(psnr)[-1].value == pytest.approx(-10 * np.log10(error), abs=0.1)
