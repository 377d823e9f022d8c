"""Similarity transforms: of the plane, as one complex factor and one shift; and rotations of space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

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


def fit_rotation(
    source: Float[np.ndarray, "*batch points 3"], target: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "*batch 3 3"]:
    """Least-squares rotation R of space, target = source @ R (Kabsch 1976). Both sets have their mean at the origin.

    The rotation does not depend on the scale of the points.
    """
    u, s, vt = np.linalg.svd(np.einsum("...pi,pj->...ij", source, target))
    flip = np.ones_like(s)
    flip[..., 2] = np.sign(np.linalg.det(u @ vt))  # a rotation, not a reflection
    return (u * flip[..., None, :]) @ vt
