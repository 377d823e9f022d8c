"""How a head moves, in figures, and how far two manners of moving are apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.signal import welch

from nerfstudio_talking.motion.audio_features import activity

BAND_EDGES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Octaves of the spectrum, Hz."""
_FLOOR = 1e-6
"""Speeds (per second) and ranges smaller than that, radians or metres, count as that."""


@dataclass(frozen=True)
class MotionStatistics:
    """Of poses as six numbers (radians, metres): rotation about x, y, z, then translation."""

    speed: Float[np.ndarray, " axes"]
    """Root mean square speed, per second."""
    range: Float[np.ndarray, " axes"]
    """From the 5th to the 95th percentile."""
    spectrum: Float[np.ndarray, "6 bands"]
    """Root mean square speed within each octave of `BAND_EDGES`, per second."""


def motion_statistics(pose: Float[np.ndarray, "frames 6"], fps: float) -> MotionStatistics:
    """Statistics of a clip; at least 4 s, for the slowest octave."""
    velocity = np.diff(pose, axis=0) * fps
    frequency, power = welch(velocity, fps, nperseg=min(round(4 * fps), len(velocity)), axis=0, detrend="constant")
    spacing = frequency[1] - frequency[0]
    bands = [
        np.sqrt(power[(frequency >= low) & (frequency < high)].sum(0) * spacing) for low, high in pairwise(BAND_EDGES)
    ]
    low, high = np.percentile(pose, (5, 95), axis=0)
    return MotionStatistics(np.sqrt((velocity**2).mean(0)), high - low, np.stack(bands, axis=1))


def statistics_distance(a: MotionStatistics, b: MotionStatistics) -> dict[str, float]:
    """How far two manners are apart: mean absolute logarithm of the ratios of speeds, ranges and octaves, and its mean.

    0 for the same manner, ln 2 = 0.69 where one moves twice as far or as fast in everything. Symmetric; time, sign and
    mean pose play no part.
    """

    def apart(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.abs(np.log(np.maximum(x, _FLOOR) / np.maximum(y, _FLOOR))).mean())

    parts = {name: apart(getattr(a, name), getattr(b, name)) for name in ("speed", "range", "spectrum")}
    return {**parts, "distance": float(np.mean(list(parts.values())))}


def loudness_coupling(
    pose: Float[np.ndarray, "frames 6"], level: Float[np.ndarray, " frames"], fps: float, seconds: float = 0.2
) -> float:
    """Correlation of the head's turning speed with loudness, both smoothed over time."""
    speed = np.linalg.norm(np.gradient(pose[:, :3], axis=0), axis=1)
    a, b = activity(speed, fps, seconds), activity(level, fps, seconds)
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-12))
