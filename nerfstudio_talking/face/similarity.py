"""Similarity transforms of the plane, as one complex factor and one shift."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex

_MIN_SPREAD = 1e-9
"""Lower bound of the sum of squared distances that the factor is divided by, for points that all coincide."""


def fit_similarity(
    source: Complex[np.ndarray, " points"], target: Complex[np.ndarray, "*batch points"]
) -> tuple[Complex[np.ndarray, "*batch"], Complex[np.ndarray, "*batch"]]:
    """Least-squares similarity transform, target = factor * source + shift.

    Args:
        source: points x + iy.
        target: the same points in one or more other frames.

    Returns:
        The factor (scale times rotation) and the shift of each frame. The factor is 0 where all source points coincide.
    """
    middle, centre = source.mean(), target.mean(axis=-1)
    arms = source - middle
    factor = (target - centre[..., None]) @ arms.conj() / max((np.abs(arms) ** 2).sum(), _MIN_SPREAD)
    return np.asarray(factor), np.asarray(centre - factor * middle)
