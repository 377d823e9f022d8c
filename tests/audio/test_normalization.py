"""The running estimates that another voice is normalised with."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.audio.normalization import (
    ActiveLevel,
    AdaptiveNormalizer,
    FeatureNormalization,
    active_level,
    statistics,
)


def rows_of(levels: list[float], repeats: int = 1) -> list[float]:
    return levels * repeats


def test_statistics_leave_pauses_out():
    channels = np.array([[0.0, 5.0], [2.0, 5.0], [100.0, 100.0]])
    mean, std = statistics(channels, np.array([True, True, False]), min_std=0.5)
    np.testing.assert_allclose(mean, [1.0, 5.0])
    np.testing.assert_allclose(std, [1.0, 0.5])
    mean, std = statistics(channels, np.zeros(3, bool), min_std=0.5)
    np.testing.assert_allclose(mean, channels[0])
    np.testing.assert_allclose(std, 0.5)


def test_active_level_is_the_mean_power_of_speech():
    """Half noise at -50 dB, half speech at 0 and -3 dB: 10 log10((1 + 0.501) / 2) = -1.24 dB."""
    rows = rows_of([-50.0] * 10 + [0.0, -3.0] * 5, 20)
    assert active_level(np.array(rows), 0.0) == pytest.approx(10 * np.log10((1 + 10**-0.3) / 2), abs=1e-6)


def test_active_level_starts_from_the_clips_and_follows_the_voice():
    meter = ActiveLevel(0.0, prior=25)
    for row in rows_of([-80.0] * 10):
        assert not meter.update(row)  # 80 dB below the clip: no speech
    assert meter.level_db == 0.0
    for _ in range(25):
        assert meter.update(-20.0)
    assert meter.level_db == pytest.approx(-10.0, abs=1e-9)  # as many rows as the prior counts: half the way
    for _ in range(2475):
        meter.update(-80.0)
        meter.update(-20.0)
    assert meter.level_db == pytest.approx(-20.0 * 1000 / 1025, abs=0.01)


def test_hiss_before_the_first_word_is_not_taken_for_speech():
    rng = np.random.default_rng(0)
    meter = ActiveLevel(0.0)
    for _ in range(3000):
        meter.update(-35.0 + 0.8 * rng.standard_normal())
    assert meter.level_db > -1.0
    before = meter.level_db
    spoken = [meter.update(-20.0 + 5 * rng.standard_normal()) for _ in range(1000)]
    assert np.mean(spoken) > 0.9
    # the mean power of levels with a standard deviation of 5 dB is 0.115 * 25 dB above their mean
    assert meter.level_db == pytest.approx((25 * before + 1000 * (-20 + 2.9)) / 1025, abs=1.0)


def test_digital_silence_counts_nothing():
    meter = ActiveLevel(-5.0)
    assert not any(meter.update(-200.0) for _ in range(1000))
    assert meter.level_db == -5.0
    assert active_level(np.full(10, -200.0), -190.0) == -190.0


def test_a_voice_that_moves_away_is_followed_within_a_minute():
    meter = ActiveLevel(0.0)
    for _ in range(60_000):
        meter.update(-60.0)
        meter.update(0.0)
    for _ in range(6000):
        meter.update(-60.0)
        meter.update(-15.0)
    assert meter.level_db == pytest.approx(-15.0, abs=1.0)


CLIP = FeatureNormalization(0.0, -5.0, np.array([1.0, -2.0, 0.5]), np.array([2.0, 1.0, 4.0]))


def test_the_clips_statistics_are_kept_where_nothing_is_adapted():
    rows = np.random.default_rng(0).standard_normal((500, 3)) + 7
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=False)
    np.testing.assert_allclose([normalize(row, True) for row in rows], (rows - CLIP.mean) / CLIP.std)
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=True)
    np.testing.assert_allclose([normalize(row, False) for row in rows], (rows - CLIP.mean) / CLIP.std)


def test_a_voice_like_the_clip_keeps_the_clips_statistics():
    """Slow rows (alike over 80): the difference of the means is within chance."""
    noise = np.random.default_rng(1).standard_normal((40, 3)).repeat(80, axis=0)
    rows = CLIP.mean + CLIP.std * (noise - noise.mean(0)) / noise.std(0)
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=True)
    adapted = np.array([normalize(row, True) for row in rows])
    fixed = (rows - CLIP.mean) / CLIP.std
    assert np.corrcoef(adapted[400:].ravel(), fixed[400:].ravel())[0, 1] > 0.98


def test_another_voice_comes_out_with_zero_mean_and_unit_variance():
    rows = np.array([-3.0, 0.0, 8.0]) + np.array([3.0, 0.5, 9.0]) * np.random.default_rng(2).standard_normal((4000, 3))
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=True)
    adapted = np.array([normalize(row, True) for row in rows])
    np.testing.assert_allclose(adapted[1000:].mean(0), 0, atol=0.15)
    np.testing.assert_allclose(adapted[1000:].std(0), 1, atol=0.1)


def test_weight_of_the_voices_own_statistics():
    """After 100 rows whose mean is off by one standard deviation of the clip and whose deviation is half the clip's:
    z = 100 / 80, so that the weight is z / (z + 1) * 100 / 150 = 0.37037.
    """
    offsets = np.where(np.arange(100) % 2, 1.5, 0.5)[:, None]
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=True)
    for offset in offsets:
        last = normalize(CLIP.mean + offset * CLIP.std, True)
    weight = 1.25 / 2.25 * 100 / 150
    np.testing.assert_allclose(last, (1.5 - weight) / np.sqrt(1 - weight + 0.25 * weight))


def test_a_constant_channel_stays_finite():
    normalize = AdaptiveNormalizer(CLIP, min_std=0.1, adapt=True)
    adapted = np.array([normalize(np.array([5.0, 5.0, 5.0]), True) for _ in range(3000)])
    assert np.isfinite(adapted).all()
    assert np.abs(adapted[-1]).max() < 1
