from __future__ import annotations

import numpy as np

from nerfstudio_talking.metrics.functional.blinks import count_blinks


def test_blinks_are_counted_once() -> None:
    eyes = np.ones((60, 2))
    eyes[10:14] = 0.1
    eyes[12] = 0.5  # half open: the same blink
    eyes[30] = 0.2
    eyes[40:42] = 0.6  # half a wink
    eyes[50] = np.nan
    assert count_blinks(eyes, 25.0) == 2
    assert count_blinks(np.full((10, 2), np.nan), 25.0) == 0
