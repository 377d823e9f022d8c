from __future__ import annotations

import numpy as np
import pytest
from helpers.voices import speech

from nerfstudio_talking.metrics.functional.lip_motion import agreement, correlation, spread_ratio


@pytest.mark.parametrize("lag", [-5, 0, 4])
def test_lips_behind_by_k_frames(lag: int) -> None:
    lips = speech(8, seed=7)[0]
    agree = agreement(np.roll(lips, lag), lips)
    assert agree.best_lag == lag and agree.best_correlation == pytest.approx(1.0)
    assert (agree.correlation == pytest.approx(1.0)) == (lag == 0)


def test_still_lips_agree_with_nothing() -> None:
    ramp = np.arange(40.0) ** 2  # best at the end of the sweep: no peak, no lag
    assert np.isnan(agreement(ramp, np.exp(ramp / 400)).best_lag)
    assert np.isnan(agreement(np.ones(40), speech(2, seed=7)[0][:40]).best_lag)


def test_correlation_and_spread_by_hand() -> None:
    a = np.array([0.0, 1, 2, 3, 4, np.nan])
    assert correlation(a, 2 * a + 1) == pytest.approx(1) and correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, a**2) == pytest.approx(np.corrcoef(a[:5], a[:5] ** 2)[0, 1])
    assert np.isnan(correlation(a[1:], a[1:]))  # four frames that are seen
    assert np.isnan(correlation(a, np.ones(6)))
    assert spread_ratio(0.5 * a, a) == pytest.approx(0.5)
    assert np.isnan(spread_ratio(a, np.ones(6))) and np.isnan(spread_ratio(a * np.nan, a))
