from __future__ import annotations

import numpy as np
import pytest
from helpers.voices import FPS

from nerfstudio_talking.metrics.functional.silence import (
    closed_in_silence,
    closed_on_closures,
    lip_closures,
    motion_in_silence,
    speech_activity,
)


def test_lips_closed_in_silence() -> None:
    rate, samples = 16000, np.zeros(16000 * 2, np.float32)
    samples[:16000] = 0.3 * np.sin(np.arange(16000) * 0.3)
    silent = speech_activity(samples, FPS, 50, rate) <= 0
    assert not silent[:27].any() and silent[27:].all()  # two frames after the audio are left to the closing lips
    lips = np.full(50, 0.2)
    lips[30:40] = 0.0
    assert closed_in_silence(lips, silent, 0.2) == pytest.approx(10 / 23)
    assert np.isnan(closed_in_silence(lips, ~silent & False, 0.2))
    # 22 steps, two of them by one wide vowel, 25 steps per second
    assert motion_in_silence(lips, silent, 0.2, FPS) == pytest.approx(2 / 22 * 25)
    assert np.isnan(motion_in_silence(lips, ~silent & False, 0.2, FPS))


def test_a_pause_in_a_noisy_room_is_a_pause() -> None:
    """Noise 20 dB below the voice, at 48 kHz."""
    rng, time = np.random.default_rng(0), np.arange(48000 * 2) / 48000
    voice = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20)) * (time < 1)
    noise = rng.standard_normal(len(time))
    samples = 0.1 * voice / voice.std() + 0.01 * noise
    activity = speech_activity(samples, FPS, 50, 48000)
    assert (activity[2:24] == 1).all() and (activity[28:] == 0).all()


def test_closures_are_those_within_speech() -> None:
    lips, activity = np.full(60, 0.3), np.ones(60, np.float32)
    activity[40:] = 0
    lips[5:7], lips[12], lips[20:22], lips[25:36], lips[39:50] = 0.01, 0.0, 0.02, 0.0, 0.0
    closures = lip_closures(lips, activity, 0.3, FPS)
    assert closures == [(5, 6), (12, 12), (20, 21)]  # not the long one, nor what goes on in the pause
    other = np.full(60, 0.3)
    other[8], other[14], other[20] = 0.0, 0.0, 0.05
    # late by two frames, late by two, never closed; with a frame's more patience the first two are hits
    assert closed_on_closures(other, closures, 0.3) == 0
    assert closed_on_closures(other, closures, 0.3, reach=2) == pytest.approx(2 / 3)
    assert closed_on_closures(lips, closures, 0.3) == 1
    assert np.isnan(closed_on_closures(lips, closures[:2], 0.3))
