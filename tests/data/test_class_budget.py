"""Division of rays among parsing classes: what must hold whatever the losses."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfstudio_talking.data.class_budget import class_shares, divide_rays, draw_pixels, oversampling

CLASSES = 11
losses = st.lists(st.floats(0, 1e3, allow_nan=False), min_size=CLASSES, max_size=CLASSES)
counts = st.lists(st.integers(0, 5000), min_size=CLASSES, max_size=CLASSES).filter(lambda c: sum(c) > 0)


@settings(max_examples=80, deadline=None)
@given(losses, st.lists(counts, min_size=1, max_size=4), st.integers(1, 700), st.floats(0, 1))
def test_budgets_sum_to_the_rays_and_every_class_gets_one(loss, pixels, rays, uniform):
    shares = class_shares(torch.tensor(loss))
    assert abs(float(shares.sum()) - 1) < 1e-5
    budget = divide_rays(shares, torch.tensor(pixels), rays, uniform)
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
    # no loss is known yet: class-balanced
    torch.testing.assert_close(class_shares(torch.zeros(4), floor=0.2), torch.full((4,), 0.25))


def test_division_by_hand():
    shares = torch.tensor([0.5, 0.3, 0.2])
    budget = divide_rays(shares, torch.tensor([[10, 10, 10], [10, 0, 10]]), 10)
    assert budget.tolist() == [[5, 3, 2], [7, 0, 3]]
    # half of it uniformly: 3 of each class and 5 of the first, 3, 2 and 0, 5 of the rest
    budget = divide_rays(shares, torch.tensor([[30, 30, 0], [10, 80, 10]]), 20, 0.5)
    assert budget.tolist() == [[11, 9, 0], [6, 11, 3]]


def test_oversampling_by_hand():
    # 6 in 100 pixels are lips, and half of the rays
    ratio = oversampling(torch.tensor([[30, 20, 0], [20, 30, 0]]), torch.tensor([[440, 60, 0], [500, 0, 0]]))
    torch.testing.assert_close(ratio, torch.tensor([0.5 / 0.94, 0.5 / 0.06, 1.0]))


def test_pixels_are_of_their_class_and_uniformly_drawn():
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
