"""Blinks of a clip: the one detector of motion models and scores."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_CLOSED_BELOW, _OPEN_ABOVE = 0.5, 0.75
"""Openings, relative to the usual one, below which lids are closed and above which they are open."""


def find_blinks(opening: Float[np.ndarray, " frames"], fps: float) -> Int[np.ndarray, " blinks"]:
    """Frames in which the lids are closed most, one per blink.

    A blink is an opening under half of the usual one (80th percentile), with open eyes within 0.4 s before and after.

    Args:
        opening: mean eye opening of each frame (`measurements.mean_eye_opening`); no NaN.
        fps: frames per second.
    """
    from scipy.signal import find_peaks

    usual = float(np.percentile(opening, 80))
    closure = 1.0 - opening / max(usual, 1e-6)
    width = max(round(0.4 * fps), 2)
    peaks, _ = find_peaks(closure, height=1.0 - _CLOSED_BELOW, distance=max(round(0.25 * fps), 1), prominence=0.3)
    blinks = [
        peak
        for peak in peaks
        if closure[max(peak - width, 0) : peak].min(initial=1.0) < 1.0 - _OPEN_ABOVE + 0.1
        and closure[peak + 1 : peak + 1 + width].min(initial=1.0) < 1.0 - _OPEN_ABOVE + 0.1
    ]
    return np.array(blinks, dtype=np.int64)
