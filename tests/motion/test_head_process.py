"""The random process of head motion: autoregression, spectrum, clock and bounds."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.motions import sway_poses

from nerfstudio_talking.motion import head_process
from nerfstudio_talking.motion.statistics import motion_statistics, statistics_distance


def test_autoregression_is_found_and_stable():
    rng = np.random.default_rng(0)
    true = np.array([[[1.2, 0.2], [0.0, 0.9]], [[-0.5, 0.0], [0.1, -0.3]]])
    noise = np.array([[1.0, 0.0], [0.5, 0.7]])
    values = np.zeros((6000, 2))
    for i in range(2, 6000):
        values[i] = true[0] @ values[i - 1] + true[1] @ values[i - 2] + noise @ rng.standard_normal(2)
    matrices, factor = head_process.fit_vector_autoregression(values, 2)
    np.testing.assert_allclose(matrices, true, atol=0.05)
    np.testing.assert_allclose(factor @ factor.T, noise @ noise.T, atol=0.05)
    covariance = head_process.stationary_covariance(true, noise @ noise.T)
    np.testing.assert_allclose(covariance, np.cov(values.T), rtol=0.2)
    one = head_process.stationary_covariance(np.array([[[0.5]]]), np.eye(1))
    assert one[0, 0] == pytest.approx(1 / (1 - 0.25))
    # the poles of a trend and of pure tones lie on the unit circle
    for values in (np.linspace(-1, 1, 200)[:, None] + 0.001 * rng.standard_normal((200, 1)), sway_poses(1500)):
        matrices, _ = head_process.fit_vector_autoregression(values / values.std(0), 6)
        assert np.abs(np.linalg.eigvals(head_process.companion_matrix(matrices))).max() < 0.99501


def test_process_has_the_spread_and_the_spectrum_it_was_fitted_to():
    pose = sway_poses(1500)
    level = np.full(1500, 0.8)
    process = head_process.fit_head_process(pose, pose, level, 25)
    drawn = head_process.sample_head_process(process, np.full(7500, 0.8), 25, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.std(0) / pose.std(0), 1, atol=0.35)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(pose.T), atol=0.45)
    mine, other = motion_statistics(pose, 25), motion_statistics(3 * sway_poses(1500, 5), 25)
    assert statistics_distance(motion_statistics(drawn, 25), mine)["distance"] < 0.6
    assert statistics_distance(motion_statistics(drawn, 25), other)["distance"] > 0.8


def test_soft_clamp_by_hand():
    low, high = np.array([-1.0]), np.array([1.0])
    values = np.array([[0.0], [0.5], [-0.88], [1.2], [50.0], [-50.0]])
    clamped = head_process.soft_clamp(values, low, high)[:, 0]
    np.testing.assert_allclose(clamped[:3], values[:3, 0])
    assert 0.88 < clamped[3] < 1.2
    np.testing.assert_allclose(clamped[4:], [1.2, -1.2])
    ramp = head_process.soft_clamp(np.linspace(-3, 3, 6001)[:, None], low, high)[:, 0]
    assert np.diff(ramp).min() >= 0
    assert np.abs(np.diff(ramp, 2)).max() < 1e-5  # no corner


def test_clock_runs_with_loudness():
    level = np.concatenate([np.full(200, 1.0), np.zeros(200)])
    rate = head_process.clock_rate(np.array([0.6, 0.8]), level, 25)
    assert rate[50] == pytest.approx(1.4)
    assert rate[-20:].max() < 0.13
    assert np.abs(np.diff(rate)).max() < 0.1


def test_speed_is_coupled_to_loudness_as_in_the_clip():
    """The clock's rate depends on loudness only if the speed of the head does."""
    level = np.repeat(np.random.default_rng(0).uniform(0, 1, 60), 25)
    clock = np.cumsum(head_process.clock_rate(np.array([0.2, 1.6]), level, 25))
    steady = sway_poses(3000)
    driven = np.stack([np.interp(clock, np.arange(3000), column) for column in steady.T], axis=1)
    slopes = [head_process.fit_head_process(pose, pose, level, 25).rate[1] for pose in (steady[:1500], driven)]
    assert slopes[0] < 0.5 < slopes[1]
    rate = head_process.fit_head_process(driven, driven, level, 25).rate
    assert head_process.clock_rate(rate, level, 25).mean() == pytest.approx(1, abs=0.02)
