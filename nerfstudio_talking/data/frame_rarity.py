"""How often a frame's lip and eye opening occur in a clip, and weights that draw rare frames more often."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

_TAILS = (0.01, 0.99)
"""Quantiles between which the bins lie; what is beyond belongs to the outermost bins, so that one wrong measurement
does not crowd all others into one bin."""


def rarity_weights(
    eyes: Float[np.ndarray, "frames eyes"],
    lips: Float[np.ndarray, " frames"] | None,
    bins: int = 16,
    smoothing: float = 1.0,
    most: float = 4.0,
) -> Float[np.ndarray, " frames"]:
    """Weight with which each frame is drawn: blinks and open mouths fill few frames and would be learned last.

    The square root of how many times more often the most frequent pair of openings occurs, up to `most`. Without the
    root all pairs would be drawn equally often, and the few frames of a rare pair be learned by heart.

    Args:
        eyes: eye opening of each frame; the more closed eye counts.
        lips: lip opening of each frame, NaN where no face is seen; without, eyes alone count.
        bins: number of bins of either opening.
        smoothing: standard deviation of the blur of the histogram, bins.
        most: greatest weight.

    Returns:
        Weights from 1 to `most`; 1 for frames without a face. All 1 where every opening is the same.
    """
    openings = [eyes.min(axis=1)] if lips is None else [eyes.min(axis=1), lips]
    values = np.stack(openings, 1).astype(np.float64)
    weights = np.ones(len(values))
    seen = np.asarray(np.isfinite(values).all(axis=1))
    if seen.any():
        density = occurrence(values, seen, bins, smoothing)[seen]
        weights[seen] = np.sqrt(density.max() / density).clip(1.0, most)
    return weights


def occurrence(
    values: Float[np.ndarray, "frames quantities"], seen: Bool[np.ndarray, " frames"], bins: int, smoothing: float
) -> Float[np.ndarray, " frames"]:
    """The number of frames that share each frame's bin in a smoothed joint histogram; 0 for frames that do not count.

    Args:
        values: quantities measured in each frame.
        seen: the frames that count; at least one.
        bins: number of bins of a quantity, equally wide between its outer quantiles.
        smoothing: standard deviation of the blur of the histogram, bins; its sum stays the number of frames.
    """
    low, high = np.quantile(values[seen], _TAILS, axis=0)
    width = np.where(high > low, high - low, 1.0)
    cell = ((values[seen] - low) / width * bins).astype(int).clip(0, bins - 1)
    at = tuple(cell.T)
    histogram = np.zeros((bins,) * values.shape[1])
    np.add.at(histogram, at, 1.0)
    counted = np.zeros(len(values))
    counted[seen] = gaussian_filter(histogram, smoothing)[at]
    return counted
