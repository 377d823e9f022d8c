"""Pixel samplers: what they draw, how often, and that a step repeats itself."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.data.pixel_samplers import (
    FramePixelSamplerConfig,
    SemanticPixelSampler,
    SemanticPixelSamplerConfig,
)
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, PARSING_CLASSES

CLASSES = len(PARSING_CLASSES)


def _sampled(config, weights: torch.Tensor, parsing: torch.Tensor | None) -> torch.Tensor:
    sampler = config.setup(num_rays_per_batch=512)
    sampler.prepare(parsing, weights)
    draws = []
    for step in range(60):
        sampler.step = step
        draws.append(sampler.sample_method(512, len(weights), 32, 32))
    return torch.cat(draws)


def test_rays_are_uniform_over_frames_and_pixels():
    weights = torch.tensor([1.0, 1.0, 1.0, 30.0])
    config = FramePixelSamplerConfig(frames_per_batch=1, favour_blinks=False)
    rays = _sampled(config, weights, None)
    frames = torch.bincount(rays[:, 0], minlength=4) / len(rays)
    assert frames.min() > 0.1  # 15 of 60 steps each; with the weights, two of 60
    cells = torch.bincount(rays[:, 1] // 8 * 4 + rays[:, 2] // 8, minlength=16) / len(rays)
    assert cells.min() > 0.055
    assert cells.max() < 0.07


def test_semantic_sampler_can_be_uniform():
    parsing = torch.zeros(4, 32, 32, dtype=torch.uint8)
    parsing[:, :2, :8] = CLASS_ID["lips"]  # a sixty-fourth of the image
    share = {}
    for uniform in (False, True):
        config = SemanticPixelSamplerConfig(frames_per_batch=1, uniform=uniform)
        frame, row, column = _sampled(config, torch.ones(4), parsing).unbind(-1)
        share[uniform] = (parsing[frame, row, column] == CLASS_ID["lips"]).float().mean().item()
    assert share[True] == pytest.approx(1 / 64, abs=0.003)
    # two classes: half of the rays by class are lips, and of the others as many as of the pixels
    assert share[False] == pytest.approx(0.5 / 2 + 0.5 / 64, abs=0.01)


def test_the_sampler_repeats_itself_and_follows_the_losses():
    parsing = torch.zeros(5, 20, 20, dtype=torch.uint8)
    parsing[:, 5:8, 5:8], parsing[:, 15:, :] = 7, 9

    def sampler(step: int, loss: torch.Tensor) -> SemanticPixelSampler:
        made = SemanticPixelSamplerConfig(num_rays_per_batch=64, frames_per_batch=2).setup()
        made.prepare(parsing, torch.ones(5))
        made.follow(loss)
        made.step = step
        return made

    even = torch.full((CLASSES,), 0.01)
    one = sampler(7, even).sample_method(64, 5, 20, 20)
    torch.testing.assert_close(one, sampler(7, even).sample_method(64, 5, 20, 20))
    assert not torch.equal(one, sampler(8, even).sample_method(64, 5, 20, 20))
    lips = even.clone()
    lips[7] = 1.0
    share = [
        (parsing[tuple(sampler(7, loss).sample_method(64, 5, 20, 20).T)] == 7).float().mean() for loss in (even, lips)
    ]
    assert 0.1 < share[0] < 0.25 < share[1] < 0.5
    # an evaluation batch: nothing is prepared, nerfstudio's own way
    plain = SemanticPixelSamplerConfig(num_rays_per_batch=64).setup()
    batch = {"image": torch.rand(3, 20, 20, 3), "parsing": parsing[:3, ..., None], "image_idx": torch.arange(3)}
    assert plain.sample(batch)["image"].shape == (64, 3)


def test_batches_say_how_often_each_class_was_drawn():
    parsing = torch.zeros(4, 32, 32, dtype=torch.uint8)
    parsing[:, :2, :8] = CLASS_ID["lips"]
    sampler = SemanticPixelSamplerConfig(num_rays_per_batch=512, frames_per_batch=2).setup()
    sampler.prepare(parsing, torch.ones(4))
    frame, row, column = sampler.sample_method(512, 4, 32, 32).unbind(-1)
    statistics = sampler.batch_statistics()
    share = (parsing[frame, row, column] == CLASS_ID["lips"]).float().mean()
    torch.testing.assert_close(statistics["class_shares"][CLASS_ID["lips"]], share)
    torch.testing.assert_close(statistics["class_oversampling"][CLASS_ID["lips"]], share * 64)
    assert statistics["class_oversampling"][CLASS_ID["hair"]] == 1
    sampler.config.uniform = True
    sampler.sample_method(512, 4, 32, 32)
    assert sampler.batch_statistics() == {}
