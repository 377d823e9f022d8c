"""Frames that repeat the one before, as a conversion to a higher frame rate leaves them."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, UInt8

SOURCE_RATES = tuple(
    Fraction(rate)
    for rate in (8, 10, 12, "25/2", 15, 20, "24000/1001", 24, 25, "30000/1001", 30, 48, 50, "60000/1001", 60)
)
"""Frame rates that videos are converted from, frames per second."""
_PHASES = 24
_SHARE = 0.05
"""Part of the pixels, those that change most, whose change counts: a mouth is small."""
_LEAST_AREA, _LEAST_DEVIATIONS = 0.74, 4.5
"""What the best rate has to reach: area under the ROC curve, and that area in standard deviations from a half."""
_MOST_NOISE = 5.0
"""Median change of repeated frames is below this: it is coding noise alone, 3.5 grey levels in x264 at crf 28."""


def change(thumbnails: UInt8[np.ndarray, "frames height width 3"]) -> Float[np.ndarray, " steps"]:
    """Mean absolute change, in grey levels, of the twentieth of the pixels that change most, frame by frame."""
    steps = []
    for before, after in itertools.pairwise(thumbnails):
        moved = np.abs(after.astype(np.int16) - before).mean(axis=2).ravel()
        count = max(round(_SHARE * moved.size), 1)
        steps.append(np.partition(moved, -count)[-count:].mean())
    return np.array(steps)


def find_conversion(
    steps: Float[np.ndarray, " steps"], fps: float, known: Bool[np.ndarray, " steps"] | None = None
) -> Fraction | None:
    """The frame rate that a video was converted from by repeating frames; None where it was not.

    A conversion repeats frames in a pattern that the two rates give, whatever the encoder makes of the repetitions:
    so each source rate and phase is judged by how well the steps that it would repeat have less change than the others.

    Args:
        steps: from `change`.
        fps: frames per second.
        known: steps whose repetition is accounted for, and which do not count.
    """
    count = len(steps)
    used = np.ones(count, bool) if known is None else ~known
    if used.sum() < 20:
        return None
    ranks = np.empty(count)
    ranks[used] = np.argsort(np.argsort(steps[used], kind="stable"), kind="stable") + 1.0
    best: tuple[float, Fraction, np.ndarray] | None = None
    for rate in SOURCE_RATES:
        if float(rate) > 0.95 * fps:
            continue
        for phase in np.arange(_PHASES) / _PHASES:
            repeats = np.diff(np.floor(np.arange(count + 1) * (float(rate) / fps) + phase)) == 0
            area = _roc_area(ranks[used], repeats[used])
            if best is None or area > best[0]:
                best = area, rate, repeats
    if best is None:
        return None
    area, rate, repeats = best
    low, high = used & repeats, used & ~repeats
    deviation = np.sqrt((used.sum() + 1) / (12 * low.sum() * high.sum())) if low.any() and high.any() else np.inf
    stands_out = area > _LEAST_AREA and area - 0.5 > _LEAST_DEVIATIONS * deviation
    return rate if stands_out and np.median(steps[low]) < _MOST_NOISE else None


def repeated_by_resampling(
    timestamps: Float[np.ndarray, " source_frames"], fps: float, start: int, count: int
) -> Bool[np.ndarray, " frames"]:
    """True where a frame of `media.reading.read_frames` shows the same source frame as the one before.

    Args:
        timestamps: presentation times of the source's frames in seconds, from 0, ascending.
        fps: frames per second that they are read at.
        start: first frame that is read.
        count: number of frames.
    """
    middles = (timestamps[1:] + timestamps[:-1]) / 2
    # nearest source frame, the earlier of two equally near
    nearest = np.searchsorted(middles + 1e-9, np.arange(start, start + count) / fps, side="left")
    return np.concatenate([[False], np.diff(nearest) == 0])[:count]


def _roc_area(ranks: Float[np.ndarray, " steps"], low: Bool[np.ndarray, " steps"]) -> float:
    """Probability that a step of `low` has a lower rank than one of the others."""
    count = int(low.sum())
    if count < 3 or len(low) - count < 3:
        return 0.0
    return 1.0 - (ranks[low].sum() - count * (count + 1) / 2) / (count * (len(low) - count))
