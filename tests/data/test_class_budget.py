"""Semantic-aware ray sampling: what the budgets must keep, whatever the losses."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfstudio_talking.data.class_budget import (
    background_weights,
    class_shares,
    divide_rays,
    draw_pixels,
    oversampling,
)
from nerfstudio_talking.data.pixel_samplers import SemanticPixelSampler, SemanticPixelSamplerConfig

CLASSES = 11
losses = st.lists(st.floats(0, 1e3, allow_nan=False), min_size=CLASSES, max_size=CLASSES)
counts = st.lists(st.integers(0, 5000), min_size=CLASSES, max_size=CLASSES).filter(lambda c: sum(c) > 0)


@settings(max_examples=80, deadline=None)
@given(losses, st.lists(counts, min_size=1, max_size=4), st.integers(1, 700), st.floats(0, 1))
def test_budgets_sum_to_the_rays_and_nobody_starves(loss, pixels, rays, even):
    shares = class_shares(torch.tensor(loss))
    assert abs(float(shares.sum()) - 1) < 1e-5
    budget = divide_rays(shares, torch.tensor(pixels), rays, even)
    assert (budget.sum(1) == rays).all()
    assert (budget >= 0).all()
    shown = torch.tensor(pixels) > 0
    assert (budget[~shown] == 0).all()
    if int(shown.sum(1).max()) <= rays:
        assert (budget[shown] >= 1).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=CLASSES, max_size=CLASSES), st.integers(0, CLASSES - 1))
def test_a_higher_loss_gets_more(loss, which):
    before = torch.tensor(loss)
    after = before.clone()
    after[which] *= 3
    assert class_shares(after)[which] > class_shares(before)[which]
    pixels = torch.full((1, CLASSES), 100)
    assert (
        divide_rays(class_shares(after), pixels, 5000)[0, which]
        > divide_rays(class_shares(before), pixels, 5000)[0, which] - 1
    )


def test_shares_by_hand():
    loss = torch.tensor([1.0, 3.0, 0.0, 0.0])
    torch.testing.assert_close(class_shares(loss, floor=0.0), torch.tensor([0.25, 0.75, 0, 0]))
    torch.testing.assert_close(class_shares(loss, floor=0.4), torch.tensor([0.25, 0.55, 0.1, 0.1]))
    audio = torch.tensor([0.0, 0.0, 2.0, 0.0])
    torch.testing.assert_close(class_shares(loss, audio, 0.5, 0.0), torch.tensor([0.125, 0.375, 0.5, 0]))
    # no loss and no relevance known yet: class-balanced
    torch.testing.assert_close(class_shares(torch.zeros(4), torch.zeros(4), 0.5, 0.2), torch.full((4,), 0.25))


def test_division_by_hand():
    shares = torch.tensor([0.5, 0.3, 0.2])
    budget = divide_rays(shares, torch.tensor([[10, 10, 10], [10, 0, 10]]), 10)
    assert budget.tolist() == [[5, 3, 2], [7, 0, 3]]
    # half of it by area: 3 of each class and 5 of the first, 3, 2 and 0, 5 of the rest
    budget = divide_rays(shares, torch.tensor([[30, 30, 0], [10, 80, 10]]), 20, 0.5)
    assert budget.tolist() == [[11, 9, 0], [6, 11, 3]]


def test_a_classifier_taught_on_the_rays_learns_the_pixels_frequencies():
    # pixels that look alike: 6 in 100 are lips; among the rays they are half
    pixels, budget = torch.tensor([[940, 60, 0]]), torch.tensor([[50, 50, 0]])
    ratio = oversampling(budget, pixels)
    torch.testing.assert_close(ratio, torch.tensor([0.5 / 0.94, 0.5 / 0.06, 1.0]))
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    gt = torch.repeat_interleave(torch.arange(3), budget[0])
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        adjusted = (logits + ratio.double().log())[:2].expand(len(gt), 2)
        loss = torch.nn.functional.cross_entropy(adjusted, gt)
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(torch.softmax(logits[:2], 0).detach(), [0.94, 0.06], atol=1e-5)


def test_the_background_counts_as_if_it_were_drawn_evenly():
    pixels, budget = torch.tensor([[700, 200, 100], [500, 300, 200]]), torch.tensor([[20, 40, 40], [20, 20, 60]])
    ids = torch.repeat_interleave(torch.arange(3), budget.sum(0))
    weights = background_weights(ids, oversampling(budget, pixels), 0)
    # 60 % of the pixels and a fifth of 200 rays
    np.testing.assert_allclose(weights[ids == 0].sum(), 0.6 * 200, rtol=1e-6)
    assert (weights[ids > 0] == 1).all()


def test_pixels_are_of_their_class_and_evenly_drawn():
    ids = torch.from_numpy(np.random.default_rng(0).choice(3, size=(2, 400), p=[0.9, 0.08, 0.02]))
    budget = torch.tensor([[10, 2000, 5], [1, 1, 3000]])
    frame, pixel = draw_pixels(ids, budget, torch.Generator().manual_seed(0))
    drawn = torch.zeros_like(budget)
    for f, p in zip(frame.tolist(), pixel.tolist()):
        drawn[f, ids[f, p]] += 1
    assert drawn.tolist() == budget.tolist()
    of_class = pixel[(frame == 0) & (ids[0][pixel] == 1)]
    expected = 2000 / int((ids[0] == 1).sum())
    hits = torch.bincount(of_class, minlength=400)[ids[0] == 1]
    assert (hits - expected).abs().max() < 5 * expected**0.5


def test_the_sampler_repeats_itself_and_follows_the_losses():
    parsing = torch.zeros(5, 20, 20, dtype=torch.uint8)
    parsing[:, 5:8, 5:8], parsing[:, 15:, :] = 7, 9

    def sampler(step: int, loss: torch.Tensor) -> SemanticPixelSampler:
        made = SemanticPixelSamplerConfig(num_rays_per_batch=64, frames_per_batch=2).setup()
        made.prepare(parsing, torch.ones(5))
        made.follow(loss, torch.zeros(CLASSES))
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
