"""Statistics of head motion, and the distance between two motion statistics."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.signal import welch

from nerfstudio_talking.motion.audio_features import smooth_loudness

BAND_EDGES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Edges of the octaves of the spectrum, Hz."""
_FLOOR = 1e-6
"""Lower bound of speeds (per second) and ranges in ratios, radians or metres."""


@dataclass(frozen=True)
class MotionStatistics:
    """Statistics of poses as six parameters (radians, metres): rotation about x, y, z, then translation."""

    speed: Float[np.ndarray, " axes"]
    """Root mean square speed, per second."""
    range: Float[np.ndarray, " axes"]
    """Range from the 5th to the 95th percentile."""
    spectrum: Float[np.ndarray, "6 bands"]
    """Root mean square speed within each octave of `BAND_EDGES`, per second."""


def motion_statistics(pose: Float[np.ndarray, "frames 6"], fps: float) -> MotionStatistics:
    """Statistics of the poses of a clip, which should last 4 s at least for the slowest octave."""
    velocity = np.diff(pose, axis=0) * fps
    frequency, power = welch(velocity, fps, nperseg=min(round(4 * fps), len(velocity)), axis=0, detrend="constant")
    spacing = frequency[1] - frequency[0]
    bands = [
        np.sqrt(power[(frequency >= low) & (frequency < high)].sum(0) * spacing) for low, high in pairwise(BAND_EDGES)
    ]
    low, high = np.percentile(pose, (5, 95), axis=0)
    return MotionStatistics(np.sqrt((velocity**2).mean(0)), high - low, np.stack(bands, axis=1))


def statistics_distance(a: MotionStatistics, b: MotionStatistics) -> dict[str, float]:
    """Distance of two motion statistics: mean absolute logarithm of the ratios of speeds, of ranges and of octaves.

    0 for the same motion, ln 2 = 0.69 where one moves twice as far or as fast in everything. Symmetric, and independent
    of time, sign and mean pose.

    Returns:
        The three parts by name, and their mean as `distance`.
    """

    def log_ratio(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.abs(np.log(np.maximum(x, _FLOOR) / np.maximum(y, _FLOOR))).mean())

    parts = {name: log_ratio(getattr(a, name), getattr(b, name)) for name in ("speed", "range", "spectrum")}
    return {**parts, "distance": float(np.mean(list(parts.values())))}


def loudness_coupling(
    pose: Float[np.ndarray, "frames 6"], level: Float[np.ndarray, " frames"], fps: float, seconds: float = 0.2
) -> float:
    """Correlation of the head's rotation speed with loudness, both smoothed over time by `seconds`."""
    speed = np.linalg.norm(np.gradient(pose[:, :3], axis=0), axis=1)
    a, b = smooth_loudness(speed, fps, seconds), smooth_loudness(level, fps, seconds)
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-12))
