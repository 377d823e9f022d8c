"""Blinks as a point process: when a person blinks and how the lids close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import find_peaks

USUAL_RATE = 20.0
"""Blinks per minute of somebody who speaks: Bentivoglio et al. 1997 found 17 at rest and 26 in conversation."""
_USUAL_SECONDS = 20.0
"""How much of a recording the usual rate weighs against: short clips say little about rare events."""
_LEAST_RATE, _MOST_RATE = 6.0, 40.0
_SHORTEST = 0.5
"""Seconds from one blink to the next, at least."""
_REGULARITY = 2.0
"""Shape of the gamma distribution of the time beyond the shortest: 1 is a Poisson process."""
_DEEP, _OPEN = 0.5, 0.75
_USUAL_SHAPE = (0.25, 0.8, 1.0, 0.75, 0.45, 0.2, 0.05)
_REACH_BEFORE, _REACH_AFTER = 3, 6
"""Frames of a blink's shape before and after the lids are closed most, at 25 per second."""


@dataclass(frozen=True)
class Blinking:
    """How a person blinks."""

    rate: float
    """Blinks per minute."""
    shape: Float[np.ndarray, " shape"]
    """Closure of the lids, frame by frame at 25 per second, the deepest at position 3."""
    opening: float
    """Eye opening between blinks, as in `TalkingTrack.eyes`."""
    unrest: float
    """Standard deviation of the slow changes of that opening."""


def find_blinks(opening: Float[np.ndarray, " frames"], fps: float) -> Int[np.ndarray, " blinks"]:
    """Frames in which lids are closed most: openings under a half that come from and go to open eyes within 0.4 s."""
    usual = float(np.percentile(opening, 80))
    closure = 1.0 - opening / max(usual, 1e-6)
    width = max(round(0.4 * fps), 2)
    peaks, properties = find_peaks(closure, height=1.0 - _DEEP, distance=max(round(0.25 * fps), 1), prominence=0.3)
    del properties
    kept = [
        peak
        for peak in peaks
        if closure[max(peak - width, 0) : peak].min(initial=1.0) < 1.0 - _OPEN + 0.1
        and closure[peak + 1 : peak + 1 + width].min(initial=1.0) < 1.0 - _OPEN + 0.1
    ]
    return np.array(kept, dtype=np.int64)


def fit_blinking(opening: Float[np.ndarray, " frames"], fps: float) -> Blinking:
    """Rate, shape and resting opening of a person's eyes, from the mean opening of both at 25 frames per second.

    The rate is the posterior mean under a gamma prior around the usual one, since a few seconds hold few blinks.
    """
    peaks = find_blinks(opening, fps)
    minutes, prior = len(opening) / fps / 60.0, _USUAL_SECONDS / 60.0
    rate = float(np.clip((len(peaks) + USUAL_RATE * prior) / (minutes + prior), _LEAST_RATE, _MOST_RATE))
    closed = np.zeros(len(opening), dtype=bool)
    for peak in peaks:
        closed[max(peak - _REACH_BEFORE, 0) : peak + _REACH_AFTER + 1] = True
    awake = opening[~closed] if (~closed).any() else opening
    rest = float(np.median(awake))
    shape = np.zeros(_REACH_BEFORE + _REACH_AFTER + 1)
    shape[1 : 1 + len(_USUAL_SHAPE)] = _USUAL_SHAPE
    whole = [p for p in peaks if p >= _REACH_BEFORE and p + _REACH_AFTER < len(opening)]
    if len(whole) >= 2:
        cuts = np.array([opening[p - _REACH_BEFORE : p + _REACH_AFTER + 1] for p in whole])
        seen = np.clip(1.0 - cuts.mean(0) / max(rest, 1e-6), 0.0, 1.0)
        seen[[0, -1]] *= 0.25  # a shape ends with open lids
        shape = seen / max(float(seen.max()), 1e-6)
    return Blinking(rate, shape, rest, float(min(awake.std(), 0.15)))


def blink_times(rate: float, seconds: float, rng: np.random.Generator) -> Float[np.ndarray, " blinks"]:
    """A renewal process: seconds of blinks in [0, seconds), gamma distributed apart, half a second at the least."""
    mean = 60.0 / rate - _SHORTEST
    count = int(seconds / _SHORTEST) + 2
    gaps = _SHORTEST + rng.gamma(_REGULARITY, mean / _REGULARITY, count)
    gaps[0] *= rng.random()  # a clip starts anywhere between two blinks
    times = np.cumsum(gaps)
    return times[times < seconds]


def sample_eyes(
    blinking: Blinking, num_frames: int, fps: float, rng: np.random.Generator
) -> Float[np.ndarray, " frames"]:
    """Eye opening of each frame, from 0: slow changes around the person's own opening, and blinks."""
    decay = np.exp(-1.0 / (1.5 * fps))
    noise = rng.standard_normal(num_frames) * np.sqrt(1.0 - decay**2)
    slow = np.empty(num_frames)
    value = float(rng.standard_normal())
    for frame in range(num_frames):
        value = decay * value + noise[frame]
        slow[frame] = value
    rest = np.maximum(blinking.opening + blinking.unrest * np.clip(0.5 * slow, -1.0, 1.0), 0.3 * blinking.opening)
    closure = np.zeros(num_frames)
    now = (np.arange(num_frames) + 0.5) / fps
    offsets = (np.arange(len(blinking.shape)) - _REACH_BEFORE) / 25.0
    for time in blink_times(blinking.rate, num_frames / fps, rng):
        near = slice(np.searchsorted(now, time - 0.2), np.searchsorted(now, time + 0.4))
        depth = rng.uniform(0.85, 1.0)
        closure[near] = np.maximum(
            closure[near], depth * np.interp(now[near] - time, offsets, blinking.shape, 0.0, 0.0)
        )
    return rest * (1.0 - closure)
