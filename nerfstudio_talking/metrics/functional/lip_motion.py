"""How rendered lips follow the ground truth's over time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_FEWEST_FRAMES = 5
"""Frames below which a correlation says nothing."""


class Agreement(NamedTuple):
    """How one curve follows another."""

    correlation: float
    """Pearson's, frame by frame; NaN where nothing can be said."""
    best_lag: float
    """Frames by which the first curve is late where they agree best; NaN where nothing can be said, as when that is at
    the end of the lags tried."""
    best_correlation: float
    """At that lag."""


def agreement(rendered: Float[np.ndarray, " frames"], gt: Float[np.ndarray, " frames"], max_lag: int = 12) -> Agreement:
    """Correlation of rendered with true lip opening, and the lag at which it is highest.

    Args:
        rendered: lip opening of each frame, NaN where not seen.
        gt: the same of the ground truth.
        max_lag: lags from minus this to plus this many frames are tried, fewer where the video is short.
    """
    max_lag = max(min(max_lag, len(gt) // 4), 0)
    lags = range(-max_lag, max_lag + 1)
    curve = np.array([correlation(*_overlap(rendered, gt, lag)) for lag in lags])
    if not np.isfinite(curve).any():
        return Agreement(np.nan, np.nan, np.nan)
    best = int(np.nanargmax(curve))
    inside = max_lag == 0 or 0 < best < len(curve) - 1
    return Agreement(float(curve[max_lag]), float(lags[best]) if inside else np.nan, float(curve[best]))


def correlation(a: Float[np.ndarray, " frames"], b: Float[np.ndarray, " frames"]) -> float:
    """Pearson correlation over the frames where both are seen; NaN for fewer than five, or where one is constant."""
    seen = np.isfinite(a) & np.isfinite(b)
    if seen.sum() < _FEWEST_FRAMES:
        return np.nan
    a, b = a[seen] - a[seen].mean(), b[seen] - b[seen].mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else np.nan


def spread_ratio(rendered: Float[np.ndarray, " frames"], gt: Float[np.ndarray, " frames"]) -> float:
    """Standard deviation of one curve over that of the other where both are seen: below 1, the rendering moves too
    little; NaN where the ground truth is constant or nothing is seen."""
    seen = np.isfinite(rendered) & np.isfinite(gt)
    if not seen.any() or gt[seen].std() == 0:
        return np.nan
    return float(rendered[seen].std() / gt[seen].std())


def _overlap(a: np.ndarray, b: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame i + lag of `a` beside frame i of `b`."""
    length = len(b) - abs(lag)
    return a[max(lag, 0) :][:length], b[max(-lag, 0) :][:length]
