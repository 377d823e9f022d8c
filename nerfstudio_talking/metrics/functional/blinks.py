"""Blinks of a video, counted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.face.blinks import find_blinks
from nerfstudio_talking.face.measurements import fill_gaps


def count_blinks(eyes: Float[np.ndarray, "frames eyes"], fps: float) -> int:
    """Blinks in a video: `face.blinks.find_blinks` on the mean opening of both eyes.

    Args:
        eyes: opening of each eye, 0 closed, 1 as open as usual (`face.measurements.eye_opening`); NaN is bridged, and
            there is no blink where all is NaN.
        fps: frames per second.
    """
    opening = fill_gaps(np.asarray(eyes, np.float64).reshape(len(eyes), -1)).mean(axis=1)
    return len(find_blinks(opening, fps)) if np.isfinite(opening).any() else 0
