"""Blinks as a point process: the times of a person's blinks, and the closure of the lids during one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.face.blinks import find_blinks

PRIOR_RATE = 20.0
"""Prior mean of the blinks per minute in speech: Bentivoglio et al. 1997 found 17 at rest and 26 in conversation."""
_PRIOR_SECONDS = 20.0
"""Weight of the prior, in seconds of a clip: short clips show few blinks."""
_LEAST_RATE, _MOST_RATE = 6.0, 40.0
_LEAST_INTERVAL = 0.5
"""Least time from one blink to the next, seconds."""
_REGULARITY = 2.0
"""Shape of the gamma distribution of the time beyond the least interval; 1 gives a Poisson process."""
_DEFAULT_SHAPE = (0.25, 0.8, 1.0, 0.75, 0.45, 0.2, 0.05)
_FRAMES_BEFORE, _FRAMES_AFTER = 3, 6
"""Frames of a blink's shape before and after the lids are closed most, at 25 per second."""


@dataclass(frozen=True)
class Blinking:
    """Blink statistics of a person."""

    rate: float
    """Blinks per minute."""
    shape: Float[np.ndarray, " shape"]
    """Closure of the lids in a blink, frame by frame at 25 per second, 0 to 1; the greatest is at index 3."""
    opening: float
    """Eye opening between blinks, as in `TalkingTrack.eyes`."""
    opening_std: float
    """Standard deviation of the slow changes of that opening."""


def fit_blinking(opening: Float[np.ndarray, " frames"], fps: float) -> Blinking:
    """Fit rate, shape and resting opening of a person's eyes to their mean opening at 25 frames per second.

    The rate is the posterior mean under a gamma prior around `PRIOR_RATE`, since a few seconds show few blinks.
    """
    peaks = find_blinks(opening, fps)
    minutes, prior = len(opening) / fps / 60.0, _PRIOR_SECONDS / 60.0
    rate = float(np.clip((len(peaks) + PRIOR_RATE * prior) / (minutes + prior), _LEAST_RATE, _MOST_RATE))
    closed = np.zeros(len(opening), dtype=bool)
    for peak in peaks:
        closed[max(peak - _FRAMES_BEFORE, 0) : peak + _FRAMES_AFTER + 1] = True
    awake = opening[~closed] if (~closed).any() else opening
    rest = float(np.median(awake))
    shape = np.zeros(_FRAMES_BEFORE + _FRAMES_AFTER + 1)
    shape[1 : 1 + len(_DEFAULT_SHAPE)] = _DEFAULT_SHAPE
    whole = [p for p in peaks if p >= _FRAMES_BEFORE and p + _FRAMES_AFTER < len(opening)]
    if len(whole) >= 2:
        cuts = np.array([opening[p - _FRAMES_BEFORE : p + _FRAMES_AFTER + 1] for p in whole])
        seen = np.clip(1.0 - cuts.mean(0) / max(rest, 1e-6), 0.0, 1.0)
        seen[[0, -1]] *= 0.25  # a shape ends with open lids
        shape = seen / max(float(seen.max()), 1e-6)
    return Blinking(rate, shape, rest, float(min(awake.std(), 0.15)))


def blink_shape(seconds: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """Closure of the lids in an average blink, 0 to 1, at times relative to where it is closed most."""
    offsets = (np.arange(-1, len(_DEFAULT_SHAPE) + 1) - int(np.argmax(_DEFAULT_SHAPE))) / 25.0
    return np.interp(seconds, offsets, (0.0, *_DEFAULT_SHAPE, 0.0))


def sample_blink_times(rate: float, seconds: float, rng: np.random.Generator) -> Float[np.ndarray, " blinks"]:
    """Draw the times of blinks in [0, seconds) from a renewal process: gamma intervals on top of the least one."""
    mean = 60.0 / rate - _LEAST_INTERVAL
    count = int(seconds / _LEAST_INTERVAL) + 2
    gaps = _LEAST_INTERVAL + rng.gamma(_REGULARITY, mean / _REGULARITY, count)
    gaps[0] *= rng.random()  # a clip starts anywhere between two blinks
    times = np.cumsum(gaps)
    return times[times < seconds]


def sample_eyes(
    blinking: Blinking, num_frames: int, fps: float, rng: np.random.Generator
) -> Float[np.ndarray, " frames"]:
    """Draw the eye opening of each frame, from 0: slow changes around the person's own opening, and blinks."""
    decay = np.exp(-1.0 / (1.5 * fps))
    noise = rng.standard_normal(num_frames) * np.sqrt(1.0 - decay**2)
    slow = np.empty(num_frames)
    value = float(rng.standard_normal())
    for frame in range(num_frames):
        value = decay * value + noise[frame]
        slow[frame] = value
    rest = np.maximum(blinking.opening + blinking.opening_std * np.clip(0.5 * slow, -1.0, 1.0), 0.3 * blinking.opening)
    closure = np.zeros(num_frames)
    now = (np.arange(num_frames) + 0.5) / fps
    offsets = (np.arange(len(blinking.shape)) - _FRAMES_BEFORE) / 25.0
    for time in sample_blink_times(blinking.rate, num_frames / fps, rng):
        near = slice(np.searchsorted(now, time - 0.2), np.searchsorted(now, time + 0.4))
        depth = rng.uniform(0.85, 1.0)
        closure[near] = np.maximum(
            closure[near], depth * np.interp(now[near] - time, offsets, blinking.shape, 0.0, 0.0)
        )
    return rest * (1.0 - closure)
