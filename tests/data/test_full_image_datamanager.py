"""The whole-image datamanager: its batches, its draws and the evaluation that it shares with the ray datamanager."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from PIL import Image

from nerfstudio_talking.data.frame_rarity import rarity_weights
from nerfstudio_talking.data.full_image_datamanager import FullImageDataManager, FullImageDataManagerConfig
from nerfstudio_talking.data.ray_datamanager import RayDataManagerConfig
from nerfstudio_talking.data.ray_sampling import frame_weights
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig


def make(data, **options) -> FullImageDataManager:
    config = FullImageDataManagerConfig(dataparser=TalkingPortraitDataParserConfig(data=data), **options)
    manager = config.setup(device="cpu", test_mode="val")
    assert isinstance(manager, FullImageDataManager)
    return manager


@pytest.fixture(scope="module")
def manager(talking_dataset) -> FullImageDataManager:
    return make(talking_dataset)


@pytest.fixture(scope="module")
def several(talking_dataset) -> FullImageDataManager:
    return make(talking_dataset, frames_per_step=3)


def test_one_frame_is_the_image_of_its_camera(manager, talking_dataset):
    cameras, batch = manager.next_train(0)
    index = batch["image_idx"]
    assert isinstance(cameras, Cameras) and isinstance(index, int)
    sequence = manager.train_dataset.sequence
    frame = int(sequence.train_frames[index])
    assert cameras.shape == (1,)
    np.testing.assert_allclose(cameras.times, [[sequence.track.times[frame]]])
    np.testing.assert_allclose(cameras.camera_to_worlds[0], sequence.track.camera_to_worlds[frame])
    expected = np.asarray(Image.open(sequence.image_paths[frame])) / 255
    np.testing.assert_allclose(batch["image"], expected, atol=1e-6)
    ids = np.asarray(Image.open(talking_dataset / f"parsing/{frame:06d}.png"))
    np.testing.assert_array_equal(batch["parsing"][..., 0], ids)
    assert manager.get_train_rays_per_batch() == 48 * 48


def test_several_frames_are_different_and_in_one_order(several):
    cameras, batch = several.next_train(4)
    assert batch["image"].shape == (3, 48, 48, 3)
    assert batch["parsing"].shape == (3, 48, 48, 1)
    assert len(batch["image_idx"].unique()) == 3
    for row, index in enumerate(batch["image_idx"].tolist()):
        data = several.train_dataset[index]
        torch.testing.assert_close(batch["image"][row], data["image"][..., :3], atol=1e-6, rtol=0)
        assert torch.equal(batch["parsing"][row], data["parsing"])
        torch.testing.assert_close(cameras.times[row], several.train_dataset.cameras.times[index])
    assert several.get_train_rays_per_batch() == 3 * 48 * 48


def test_draws_depend_on_seed_step_and_rank_alone(several, talking_dataset, monkeypatch):
    drawn = [several.next_train(step)[1]["image_idx"].tolist() for step in range(6)]
    assert several.next_train(2)[1]["image_idx"].tolist() == drawn[2]
    again = make(talking_dataset, frames_per_step=3)
    assert [again.next_train(step)[1]["image_idx"].tolist() for step in range(6)] == drawn
    monkeypatch.setattr("nerfstudio_talking.data.cached_datamanager.comms.get_rank", lambda: 1)
    assert [again.next_train(step)[1]["image_idx"].tolist() for step in range(6)] != drawn
    monkeypatch.undo()
    again.config.seed += 1
    assert [again.next_train(step)[1]["image_idx"].tolist() for step in range(6)] != drawn


@pytest.mark.parametrize("favour", ["rare", "blinks", "none"])
def test_frames_of_more_weight_are_drawn_more_often_where_asked_for(manager, favour, monkeypatch):
    weights = torch.ones(len(manager.train_dataset))
    weights[7] = 5.0
    monkeypatch.setattr(manager, "_frame_weights", weights)
    monkeypatch.setattr(manager, "config", replace(manager.config, favour=favour))
    drawn = [manager.next_train(step)[1]["image_idx"] for step in range(600)]
    expected = 600 * (5 / (len(weights) + 4) if favour != "none" else 1 / len(weights))
    assert drawn.count(7) == pytest.approx(expected, abs=4 * expected**0.5)


def test_weights_are_those_of_the_training_frames(manager, talking_dataset):
    assert manager.train_dataset is not None
    track, frames = manager.train_dataset.sequence.track, manager.train_dataset.sequence.train_frames
    assert track.lips is not None
    rare = rarity_weights(track.eyes[frames], track.lips[frames])
    assert np.ptp(rare) > 0.5
    assert make(talking_dataset, favour="rare")._frame_weights.numpy() == pytest.approx(rare)
    assert manager._frame_weights.numpy() == pytest.approx(frame_weights(track.eyes[frames]))


def test_evaluation_is_that_of_the_ray_datamanager(manager, talking_dataset):
    rays = RayDataManagerConfig(dataparser=TalkingPortraitDataParserConfig(data=talking_dataset)).setup(device="cpu")
    ours, theirs = (list(m.fixed_indices_eval_dataloader) for m in (manager, rays))
    assert len(ours) == len(theirs) == 2
    for (camera, batch), (other_camera, other) in zip(ours, theirs):
        assert torch.equal(camera.times, other_camera.times)
        assert batch.keys() == other.keys() and torch.equal(batch["image"], other["image"])
    camera, batch = manager.next_eval(0)
    assert camera.shape == (1,) and batch["image"].shape == (48, 48, 3)


def test_a_long_clip_gives_whole_images_from_halved_chroma(talking_dataset, manager):
    small = make(talking_dataset, cache_gigabytes=1e-6)
    assert small._frames.halved
    full, halved = (m.next_train(3)[1]["image"] for m in (manager, small))
    assert not torch.equal(full, halved)
    assert (full - halved).abs().mean() < 0.03
