"""Kernel regression from audio, against scikit-learn."""

import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

from nerfstudio_talking.audio.kernel_regression import _candidate_weights, fit_audio_regression


def test_regression_finds_what_audio_predicts_and_leaves_the_rest():
    rng = np.random.default_rng(2)
    audio = rng.standard_normal((300, 40))
    predicted = audio[:, 0] - audio[:, 1] + 0.1 * rng.standard_normal(300)
    targets = np.stack([predicted, rng.standard_normal(300)], 1)
    fit, _ = fit_audio_regression(audio, targets)
    assert fit.correlation[0] > 0.95
    assert fit.correlation[1] < 0.3
    fresh = rng.standard_normal((200, 40))
    predicted = fit.predict(fresh)
    assert np.corrcoef(predicted[:, 0], fresh[:, 0] - fresh[:, 1])[0, 1] > 0.95
    assert predicted[:, 1].std() < 0.6


def test_regression_is_kernel_ridge():
    rng = np.random.default_rng(3)
    audio, predicted = rng.standard_normal((60, 8)), rng.standard_normal((60, 1))
    predicted[:, 0] += 2 * audio[:, 0]
    fit, _ = fit_audio_regression(audio, predicted)
    x = (audio - audio.mean(0)) / (audio.std(0) + 1e-3)
    kernel = rbf_kernel(x, gamma=0.5 / 8) + 0.3 * linear_kernel(x) / 8
    references = [
        KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel, predicted - predicted.mean(0)).predict(kernel)
        + predicted.mean(0)
        for alpha in np.logspace(-2, 2, 9)
    ]
    assert min(np.abs(fit.predict(audio) - reference).max() for reference in references) < 1e-8


def test_held_out_frames_are_predicted_from_the_others():
    """Each block's prediction is scikit-learn's ridge without the block and its guard, of a thinned clip too."""
    rng = np.random.default_rng(4)
    audio, predicted = rng.standard_normal((90, 6)), rng.standard_normal((90, 1))
    predicted[:, 0] += 2 * audio[:, 0]
    for most in (90, 45):
        _, held_out = fit_audio_regression(audio, predicted, folds=3, guard=4, most=most)
        keep = np.unique(np.linspace(0, 89, most).round().astype(int))
        x, y = (audio - audio.mean(0)) / (audio.std(0) + 1e-3), predicted - predicted[keep].mean(0)
        kernel = rbf_kernel(x, gamma=0.5 / 6) + 0.3 * linear_kernel(x) / 6
        misses = []
        for alpha in np.logspace(-2, 2, 9):
            expected = np.zeros_like(predicted)
            for first in (0, 30, 60):
                rest = keep[(keep < first - 4) | (keep > first + 29 + 4)]
                ridge = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel[np.ix_(rest, rest)], y[rest])
                expected[first : first + 30] = ridge.predict(kernel[first : first + 30][:, rest])
            misses.append(np.abs(held_out - expected - predicted[keep].mean(0)).max())
        assert min(misses) < 1e-8


def test_held_out_error_of_noise_and_of_what_audio_predicts():
    """The error of pure noise is its own standard deviation; of what audio predicts exactly, close to 0."""
    rng = np.random.default_rng(6)
    inputs = rng.standard_normal((300, 4))
    targets = np.stack([inputs[:, 0], rng.standard_normal(300)], 1)
    fit, _ = fit_audio_regression(inputs, targets)
    assert fit.error[0] < 0.3
    assert 0.8 < fit.error[1] < 1.3


def test_a_prior_that_is_right_is_kept_and_noise_adds_nothing():
    """The slope is 1 and the regression, whose inputs say nothing, is left out; a prior of noise has a slope near 0."""
    rng = np.random.default_rng(7)
    inputs, prior = rng.standard_normal((400, 6)), rng.standard_normal((400, 2))
    targets = np.stack([prior[:, 0] + 2.0, rng.standard_normal(400)], 1)
    fit, held_out = fit_audio_regression(inputs, targets, prior=prior)
    np.testing.assert_allclose(fit.slope[0], 1.0, atol=1e-12)
    np.testing.assert_allclose(fit.dual[:, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(held_out[:, 0], targets[:, 0], atol=1e-12)
    assert abs(fit.slope[1]) < 0.25
    fresh, heard = rng.standard_normal((20, 2)), rng.standard_normal((20, 6))
    np.testing.assert_allclose(fit.predict(heard, fresh)[:, 0], fresh[:, 0] + 2.0, atol=1e-12)


def test_a_person_is_learned_on_top_of_the_prior():
    """Half of the target is the prior's and half is in the inputs: either alone correlates with it by 0.7."""
    rng = np.random.default_rng(8)
    inputs, prior = rng.standard_normal((500, 4)), rng.standard_normal((500, 1))
    targets = np.stack([prior[:, 0] + inputs[:, 0], inputs[:, 1]], 1) + 0.05 * rng.standard_normal((500, 2))
    fit, held_out = fit_audio_regression(inputs[:400], targets[:400], prior=prior[:400])
    assert fit.slope[1] == 0.0  # a coefficient beyond the prior's has none
    predicted = fit.predict(inputs[400:], prior[400:])
    for column in range(2):
        assert np.corrcoef(predicted[:, column], targets[400:, column])[0, 1] > 0.97
        assert np.corrcoef(held_out[:, column], targets[:400, column])[0, 1] > 0.97
    np.testing.assert_allclose(fit.predict(inputs, prior + 1.0) - fit.predict(inputs, prior), [fit.slope] * 500)
    assert 0.9 < fit.slope[0] < 1.1


def test_candidates_that_cannot_be_told_apart_are_averaged():
    """The weight of a candidate is the likelihood of its held-out error, a sample for ten frames, block means apart."""
    rng = np.random.default_rng(9)
    targets = rng.standard_normal((60, 1))
    held_out = targets + np.stack([0.5 * rng.standard_normal((60, 1)), 0.55 * rng.standard_normal((60, 1))])
    blocks = [np.arange(30), np.arange(30, 60)]
    held_out[0, :30] += 3.0  # the mean of a block does not count
    errors = [
        np.mean([(miss[block] - miss[block].mean()).var() for block in blocks])
        for miss in (held_out - targets)[:, :, 0]
    ]
    likelihood = np.exp(-0.5 * 6 * (np.array(errors) / min(errors) - 1))
    weights = _candidate_weights(held_out, targets, blocks, np.array([True]))
    np.testing.assert_allclose(weights[:, 0], likelihood / likelihood.sum())
    np.testing.assert_allclose(_candidate_weights(held_out, targets, blocks, np.array([False]))[:, 0], [0.0, 1.0])
