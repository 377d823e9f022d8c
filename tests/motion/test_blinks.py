from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.face.blinks import find_blinks
from nerfstudio_talking.motion.blinks import Blinking, fit_blinking, sample_blink_times, sample_eyes


def test_blinks_are_found():
    opening = np.full(250, 0.95)
    for frame in (40, 120, 200):
        opening[frame - 1 : frame + 3] = (0.5, 0.05, 0.3, 0.7)
    opening[150:190] = 0.3  # a look down, no blink
    np.testing.assert_array_equal(find_blinks(opening, 25.0), [40, 120, 200])
    fitted = fit_blinking(opening, 25.0)
    # 3 in 10 s, 20 per minute over 20 s
    assert fitted.rate == pytest.approx((3 + 20 / 3) / 0.5)
    assert fitted.opening == pytest.approx(0.95)
    assert fitted.shape.argmax() == 3
    assert fitted.shape[2] == pytest.approx((0.45 / 0.9), abs=1e-6)


def test_blinks_come_at_their_rate():
    times = np.concatenate(
        [sample_blink_times(18.0, 300.0, np.random.default_rng(seed)) + 1000 * seed for seed in range(10)]
    )
    assert len(times) / 50 == pytest.approx(18, rel=0.08)
    gaps = np.diff(times)
    gaps = gaps[gaps < 500]
    assert gaps.min() >= 0.5
    assert gaps.std() > 0.4 * gaps.mean()  # not regular
    blinking = Blinking(18.0, np.array([0, 0.25, 0.8, 1, 0.7, 0.4, 0.2, 0.1, 0, 0]), 0.95, 0.05)
    eyes = sample_eyes(blinking, 7500, 25.0, np.random.default_rng(0))
    assert eyes.min() >= 0 and eyes.max() < 1.1
    assert len(find_blinks(eyes, 25.0)) / 5 == pytest.approx(18, rel=0.25)
