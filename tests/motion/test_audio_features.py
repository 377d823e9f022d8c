from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.motion.audio_features import cepstral_windows, loudness, silence


def test_patches_lie_around_their_frames():
    """Frame i is centred on second (i + 0.5) / 25; a click is in the patches whose 280 ms hold it."""
    audio = np.zeros(16000, np.float32)
    audio[8000 : 8000 + 40] = 0.5
    patches = cepstral_windows(audio, 25.0, 25)
    assert patches.shape == (25, 28, 12)
    heard = np.flatnonzero(np.abs(patches - patches[0]).max((1, 2)) > 1e-3)
    assert heard.min() == 9 and heard.max() == 15  # middles within 152 ms: half a patch and half an analysis window


def test_loudness_by_hand():
    audio = np.zeros(3200)
    audio[640:1280] = 0.1
    audio[1280:1920] = 0.001  # 40 dB below
    audio[1920:2560] = 0.01
    level = loudness(audio, 25.0, 6)
    np.testing.assert_allclose(level[[0, 4, 5]], 0)
    np.testing.assert_allclose(level[1] - level[3], 0.5, atol=1e-6)
    assert level[1] == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(loudness(np.zeros(3200), 25.0, 5), 0)


def test_silence_is_no_speech_for_half_a_second():
    np.testing.assert_array_equal(silence(np.full(50, 0.5), 25.0), 0)
    np.testing.assert_array_equal(silence(np.zeros(50), 25.0), 1)
    level = np.full(200, 0.5)
    level[90:94] = 0.0  # a pause of 160 ms is no silence
    assert silence(level, 25.0).max() == 0
    level[80:130] = 0.0
    assert silence(level, 25.0)[105] == pytest.approx(1, abs=0.01)
