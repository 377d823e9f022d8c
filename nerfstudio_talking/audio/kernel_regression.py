"""Kernel ridge regression from audio features to mouth-shape coefficients, with cross-validated penalties.

One equation per frame and a known target is what a short clip can teach about audio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class AudioRegression:
    """Kernel ridge regression of mouth shape on audio: kernel((x - mean) / std, support) @ dual + bias."""

    mean: Float[np.ndarray, " inputs"]
    std: Float[np.ndarray, " inputs"]
    support: Float[np.ndarray, "support inputs"]
    """Standardised inputs of the frames it was fitted to."""
    dual: Float[np.ndarray, "support count"]
    bias: Float[np.ndarray, " count"]
    correlation: Float[np.ndarray, " count"]
    """Cross-validated correlation of each coefficient with its prediction."""
    error: Float[np.ndarray, " count"]
    """Cross-validated standard deviation of what the prediction misses."""

    def predict(self, inputs: Float[np.ndarray, "frames inputs"]) -> Float[np.ndarray, "frames count"]:
        """Mouth shape of frames from their audio."""
        x = torch.from_numpy((inputs - self.mean) / self.std)
        return audio_kernel(x, torch.from_numpy(self.support)).numpy() @ self.dual + self.bias


def audio_kernel(
    a: Float[Tensor, "frames inputs"], b: Float[Tensor, "support inputs"]
) -> Float[Tensor, "frames support"]:
    """Likeness of standardised audio windows: a Gaussian, which follows the bends, plus a share of the linear kernel,
    which keeps a voice moving the lips that is far from all the windows seen.
    """
    dot = a @ b.T / a.shape[1]
    distance = a.square().mean(1)[:, None] + b.square().mean(1) - 2 * dot
    return torch.exp(-0.5 * distance.clamp_min(0.0)) + 0.3 * dot


def fit_audio_regression(
    inputs: Float[np.ndarray, "frames inputs"],
    targets: Float[np.ndarray, "frames count"],
    folds: int = 6,
    guard: int = 8,
    max_gain: float = 1.6,
    stretched: int | None = None,
    most: int = 2000,
) -> tuple[AudioRegression, Float[np.ndarray, "frames count"]]:
    """Kernel ridge regression with a penalty per coefficient, chosen by contiguous folds, and the targets' spread.

    A least-squares prediction of correlation r has r times the spread of its target: lips that barely move. Each
    coefficient that audio does predict is stretched back, by at most `max_gain`.

    Args:
        inputs: audio features of each frame, flattened.
        targets: mouth shape of each frame.
        folds: contiguous blocks held out in turn (neighbouring frames are too alike for random ones).
        guard: frames left out on both sides of a held-out block, since windows overlap.
        max_gain: upper bound of the stretch.
        stretched: how many coefficients, the first ones, are stretched at all; all of them by default.
        most: frames fitted to; a longer clip is thinned evenly.

    Returns:
        The regression, and the prediction for every frame by one fitted without the frame's block.
    """
    keep = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), most)).round().astype(int))
    mean, std = inputs.mean(0), inputs.std(0) + 1e-3
    x = (inputs - mean) / std
    bias = targets[keep].mean(0)
    y = targets - bias
    gram = audio_kernel(torch.from_numpy(x), torch.from_numpy(x[keep])).numpy()
    square = gram[keep]
    penalties = np.logspace(-2, 2, 9)
    held_out = np.zeros((len(penalties), *y.shape))
    for block in np.array_split(np.arange(len(x)), min(folds, len(x))):
        rest = np.flatnonzero((keep < block[0] - guard) | (keep > block[-1] + guard))
        if len(rest) == 0:
            rest = np.flatnonzero(~np.isin(keep, block))
        values, vectors = np.linalg.eigh(square[np.ix_(rest, rest)])
        projected = vectors.T @ y[keep[rest]]
        for row, penalty in enumerate(penalties):
            held_out[row, block] = gram[np.ix_(block, rest)] @ (vectors @ (projected / (values + penalty)[:, None]))
    best = ((held_out - y) ** 2).mean(1).argmin(0)  # (count,)
    dual, predicted = np.zeros_like(y[keep]), np.zeros_like(y)
    correlation, error = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for column, row in enumerate(best):
        demeaned = held_out[row, :, column] - held_out[row, :, column].mean()
        spread, true_spread = demeaned.std() + 1e-9, y[:, column].std() + 1e-9
        correlation[column] = (demeaned * y[:, column]).mean() / (spread * true_spread)
        # noise is never turned up: where nothing is predicted the least-squares shrinkage stays
        stretch = correlation[column] > 0.2 and (stretched is None or column < stretched)
        gain = np.clip(true_spread / spread, 1.0, max_gain) if stretch else 1.0
        error[column] = (gain * demeaned - y[:, column]).std()
        predicted[:, column] = bias[column] + gain * held_out[row, :, column]
        dual[:, column] = gain * np.linalg.solve(square + penalties[row] * np.eye(len(keep)), y[keep, column])
    return AudioRegression(mean, std, x[keep], dual, bias, correlation, error), predicted
