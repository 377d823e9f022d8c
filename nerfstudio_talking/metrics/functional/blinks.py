"""Blinks of a video, counted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.face.measurements import fill_gaps


def count_blinks(eyes: Float[np.ndarray, "frames eyes"], closed: float = 0.4, opened: float = 0.7) -> int:
    """Blinks in a video: the eyes' mean opening falls below `closed` and is seen above `opened` before the next one.

    Args:
        eyes: opening of each eye, 0 closed, 1 as open as usual (`face.measurements.eye_opening`); NaN is bridged.
        closed: opening below which eyes are shut.
        opened: opening above which they are open again.
    """
    opening = fill_gaps(np.asarray(eyes, np.float64).reshape(len(eyes), -1)).mean(axis=1)
    count, shut = 0, bool(len(opening)) and bool(opening[0] < closed)
    for value in opening:
        if not shut and value < closed:
            count, shut = count + 1, True
        elif shut and value > opened:
            shut = False
    return count
