"""Weights of rare frames, against histograms counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.data.frame_rarity import occurrence, rarity_weights
from nerfstudio_talking.data.ray_sampling import draw_frames, step_generator


def test_weights_are_square_roots_of_how_much_rarer_a_frame_is():
    """36 frames at rest, 9 with open lips, 4 with closed eyes, 1 with both."""
    counts = [36, 9, 4, 1]
    lips = np.repeat([0.0, 0.2, 0.0, 0.2], counts)
    eyes = np.repeat([1.0, 1.0, 0.1, 0.1], counts)[:, None]
    weights = rarity_weights(eyes, lips, bins=4, smoothing=0.0, most=10.0)
    assert weights == pytest.approx(np.repeat([1.0, 2.0, 3.0, 6.0], counts))
    capped = rarity_weights(eyes, lips, bins=4, smoothing=0.0, most=2.5)
    assert capped == pytest.approx(np.repeat([1.0, 2.0, 2.5, 2.5], counts))


def test_the_more_closed_eye_counts():
    eyes = np.array([[1.0, 1.0]] * 9 + [[1.0, 0.2]])
    assert rarity_weights(eyes, None, smoothing=0.0).tolist() == [1.0] * 9 + [3.0]


def test_without_lips_the_eyes_alone_count():
    rng = np.random.default_rng(0)
    eyes = rng.uniform(size=(200, 2))
    alone = rarity_weights(eyes, None, smoothing=0.0)
    assert np.ptp(alone) > 0.5
    # lips that never move tell nothing either
    np.testing.assert_allclose(rarity_weights(eyes, np.full(200, 0.1), smoothing=0.0), alone)


def test_a_still_face_is_drawn_uniformly():
    assert rarity_weights(np.ones((7, 2)), np.zeros(7)).tolist() == [1.0] * 7
    assert rarity_weights(np.ones((7, 1)), None).tolist() == [1.0] * 7


def test_frames_without_a_face_weigh_least_and_change_no_others():
    lips = np.array([0.0] * 8 + [0.3] * 2)
    weights = rarity_weights(np.ones((10, 1)), lips, smoothing=0.0)
    lost = rarity_weights(np.ones((13, 1)), np.append(lips, [np.nan] * 3), smoothing=0.0)
    assert weights.tolist() == [1.0] * 8 + [2.0] * 2
    assert lost.tolist() == [*weights.tolist(), 1.0, 1.0, 1.0]
    assert rarity_weights(np.ones((2, 1)), np.full(2, np.nan)).tolist() == [1.0, 1.0]


def test_one_wrong_measurement_changes_little():
    rng = np.random.default_rng(0)
    lips, eyes = rng.beta(1, 4, 1000) * 0.3, np.ones((1000, 1))
    wrong = lips.copy()
    wrong[0] = 50.0
    weights, other = rarity_weights(eyes, lips), rarity_weights(eyes, wrong)
    assert np.ptp(weights) > 1.0
    assert np.abs(weights - other)[1:].mean() < 0.05


def test_smoothing_spreads_a_bin_and_keeps_the_sum():
    """Bins 0 and 4 of eight hold 3 and 1 frames; the blur is a Gaussian of one bin, mirrored at the ends."""
    values = np.array([0.0, 0.0, 0.0, 8 * 0.57])[:, None]
    values = np.append(values, [[8.0]], 0)
    counted = occurrence(values, np.array([True] * 5), 8, 1.0)
    taps = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    taps /= taps.sum()
    padded = np.zeros(24)  # the histogram between its mirror images
    low, high = np.quantile(values, (0.01, 0.99))
    at = np.clip(((values[:, 0] - low) / (high - low) * 8).astype(int), 0, 7)
    assert at.tolist() == [0, 0, 0, 4, 7]
    np.add.at(padded, 8 + at, 1.0)
    padded[:8], padded[16:] = padded[15:7:-1].copy(), padded[15:7:-1].copy()
    assert counted == pytest.approx(np.convolve(padded, taps, "same")[8 + at])


def test_frames_that_do_not_count_are_zero():
    values = np.array([[0.0], [np.nan], [1.0], [1.0]])
    seen = np.array([True, False, True, True])
    assert occurrence(values, seen, 2, 0.0).tolist() == [1.0, 0.0, 2.0, 2.0]


def test_draws_have_the_weights_as_their_odds():
    """Eight frames at rest and two with open lips: weights 1 and 2, so a third of 3000 draws has open lips."""
    weights = torch.from_numpy(rarity_weights(np.ones((10, 1)), np.array([0.0] * 8 + [0.3] * 2), smoothing=0.0))
    drawn = [int(draw_frames(weights.float(), 1, True, step_generator(1, step, 0, "cpu"))) for step in range(3000)]
    assert sum(frame >= 8 for frame in drawn) == pytest.approx(1000, abs=4 * (3000 * 2 / 9) ** 0.5)
