from __future__ import annotations

import numpy as np
import pytest
from helpers.voices import FPS

from nerfstudio_talking.metrics.functional.silence import closed_in_silence, silent_frames


def test_lips_closed_in_silence() -> None:
    rate, samples = 16000, np.zeros(16000 * 2, np.float32)
    samples[:16000] = 0.3 * np.sin(np.arange(16000) * 0.3)
    silent = silent_frames(samples, FPS, 50, rate)
    assert not silent[:27].any() and silent[27:].all()  # two frames after the audio are left to the closing lips
    lips = np.full(50, 0.2)
    lips[30:40] = 0.0
    assert closed_in_silence(lips, silent, 0.2) == pytest.approx(10 / 23)
    assert np.isnan(closed_in_silence(lips, ~silent & False, 0.2))
