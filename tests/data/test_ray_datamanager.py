"""The ray datamanager: its batches, and the patches of the lips phase."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.data.pixel_samplers import SemanticPixelSamplerConfig
from nerfstudio_talking.data.ray_datamanager import RayDataManager, RayDataManagerConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig


@pytest.fixture(scope="module")
def manager(talking_dataset) -> RayDataManager:
    config = RayDataManagerConfig(
        dataparser=TalkingPortraitDataParserConfig(data=talking_dataset),
        train_num_rays_per_batch=512,
        pixel_sampler=SemanticPixelSamplerConfig(),
        lips_phase_start=10,
        lips_patch_size=16,
    )
    return config.setup(device="cpu")


def test_rays_are_those_of_their_pixels(manager):
    rays, batch = manager.next_train(3)
    frame, row, column = batch["indices"].unbind(-1)
    data = [manager.train_dataset[int(i)] for i in frame.unique()]
    image = {entry["image_idx"]: entry for entry in data}
    for k in range(0, len(frame), 37):
        entry = image[int(frame[k])]
        torch.testing.assert_close(batch["image"][k], entry["image"][row[k], column[k], :3], atol=1e-6, rtol=0)
        assert batch["parsing"][k] == entry["parsing"][row[k], column[k], 0]
        torch.testing.assert_close(rays.times[k], manager.train_dataset.cameras.times[frame[k]])
    assert {"class_shares", "class_oversampling"} <= batch.keys()


def test_every_second_step_of_the_lips_phase_is_patches_of_the_mouth(manager):
    for step in (3, 9, 10, 12):
        assert "patch_size" not in manager.next_train(step)[1]
    _, batch = manager.next_train(11)
    assert batch["patch_size"] == 16
    # rays of patches are not drawn by class
    assert "class_oversampling" not in batch
    indices = batch["indices"].view(-1, 16, 16, 3)
    assert len(indices) == 2
    for patch in indices:
        assert (patch[..., 0] == patch[0, 0, 0]).all()
        assert torch.equal(patch[1:, :, 1] - patch[:-1, :, 1], torch.ones(15, 16, dtype=torch.long))
        assert torch.equal(patch[:, 1:, 2] - patch[:, :-1, 2], torch.ones(16, 15, dtype=torch.long))
        box = manager.sampler.boxes["mouth"][patch[0, 0, 0]]
        centre = patch[8, 8, 1:].flip(0).float()
        assert ((centre >= box[:2] - 1) & (centre <= box[2:] + 1)).all()
