from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.metrics.functional.sharpness import detail_ratio, sharpness_error


def stripes(amplitude: int) -> np.ndarray:
    """Vertical stripes, one pixel wide."""
    levels = np.where(np.arange(32) % 2, 128 + amplitude, 128 - amplitude).astype(np.uint8)
    return np.broadcast_to(levels[None, :, None], (32, 32, 3)).copy()


def test_half_the_amplitude_is_a_quarter_of_the_detail() -> None:
    assert detail_ratio(stripes(20), stripes(40)) == pytest.approx(0.25)
    assert sharpness_error(stripes(20), stripes(40)) == pytest.approx(2) == sharpness_error(stripes(40), stripes(20))
    assert sharpness_error(stripes(40), stripes(40)) == 0
    assert detail_ratio(stripes(0), stripes(40)) == 0 and np.isfinite(sharpness_error(stripes(0), stripes(40)))
