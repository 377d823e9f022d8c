"""Kernel ridge regression from audio features to mouth-shape coefficients, with cross-validated penalties.

One equation per frame and a known target is what a short clip can teach about audio. A prior that was learned from
other people may stand in front: the regression then learns what this person does otherwise, and a coefficient in which
cross-validation finds nothing of the kind keeps the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

_PENALTIES = np.logspace(-2, 2, 9)
"""Penalties tried."""
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the prior's slope that are tried: from the person's own frames alone to the prior in full."""
_FRAMES_PER_SAMPLE = 10
"""Frames that are worth one independent sample: neighbouring frames are alike."""
_SLOPE_FRAMES = 50
"""Frames that the slope of 1 counts as."""
_SLOPES = (0.0, 3.0)
"""Bounds of the slope."""


@dataclass(frozen=True)
class AudioRegression:
    """Kernel ridge regression of mouth shape on audio, kernel((x - mean) / std, support) @ dual + prior * slope + bias;
    the slope is 0 for coefficients that have no prior."""

    mean: Float[np.ndarray, " inputs"]
    std: Float[np.ndarray, " inputs"]
    support: Float[np.ndarray, "support inputs"]
    """Standardised inputs of the frames it was fitted to."""
    dual: Float[np.ndarray, "support count"]
    slope: Float[np.ndarray, " count"]
    """Change of each coefficient per unit of its prior."""
    bias: Float[np.ndarray, " count"]
    correlation: Float[np.ndarray, " count"]
    """Cross-validated correlation of each coefficient with its prediction."""
    error: Float[np.ndarray, " count"]
    """Cross-validated standard deviation of what the prediction misses."""

    def predict(
        self,
        inputs: Float[np.ndarray, "frames inputs"],
        prior: Float[np.ndarray, "frames first"] | None = None,
    ) -> Float[np.ndarray, "frames count"]:
        """Mouth shape of frames from their audio and, where it was fitted with one, the prior's prediction."""
        x = torch.from_numpy((inputs - self.mean) / self.std)
        return (
            audio_kernel(x, torch.from_numpy(self.support).to(x)).numpy() @ self.dual
            + _padded(prior, len(x), len(self.bias)) * self.slope
            + self.bias
        )


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
    most: int = 2000,
    prior: Float[np.ndarray, "frames first"] | None = None,
) -> tuple[AudioRegression, Float[np.ndarray, "frames count"]]:
    """Kernel ridge regression with a penalty per coefficient, chosen by contiguous folds.

    Args:
        inputs: audio features of each frame, flattened.
        targets: mouth shape of each frame.
        folds: contiguous blocks held out in turn (neighbouring frames are too alike for random ones).
        guard: frames left out on both sides of a held-out block, since windows overlap.
        most: frames fitted to; a longer clip is thinned evenly.
        prior: prediction of the first coefficients by a model that has seen other people, least squares for targets of
            unit variance. How far it is trusted is cross-validated too; the regression learns the rest.

    Returns:
        The regression, and the prediction for every frame by one fitted without the frame's block.
    """
    keep = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), most)).round().astype(int))
    mean, std = inputs.mean(0), inputs.std(0) + 1e-3
    x = (inputs - mean) / std
    given = _padded(prior, *targets.shape)
    gram = audio_kernel(torch.from_numpy(x), torch.from_numpy(x[keep])).numpy()
    square = gram[keep]
    # a penalty of infinity leaves the mean, and the prior where there is one
    candidates = [(share, penalty) for share in _SHARES for penalty in (*_PENALTIES, np.inf)]
    if prior is None:
        candidates = [(0.0, penalty) for penalty in _PENALTIES]
    held_out = np.zeros((len(candidates), *targets.shape))
    blocks = np.array_split(np.arange(len(x)), min(folds, len(x)))
    for block in blocks:
        rest = np.flatnonzero((keep < block[0] - guard) | (keep > block[-1] + guard))
        if len(rest) == 0:
            rest = np.flatnonzero(~np.isin(keep, block))
        slope = _prior_slope(given[keep[rest]], targets[keep[rest]])
        values, vectors = np.linalg.eigh(square[np.ix_(rest, rest)])
        across = gram[np.ix_(block, rest)] @ vectors
        for row, (share, penalty) in enumerate(candidates):
            line = share * slope * given
            bias = (targets - line)[keep if prior is None else keep[rest]].mean(0)
            projected = vectors.T @ (targets - line - bias)[keep[rest]]
            held_out[row, block] = across @ (projected / (values + penalty)[:, None]) + line[block] + bias
    weights = _candidate_weights(held_out, targets, blocks, np.asarray(given.any(0)))
    whole_slope = _prior_slope(given[keep], targets[keep])
    values, vectors = np.linalg.eigh(square)
    dual, predicted = np.zeros((len(keep), targets.shape[1])), np.zeros_like(targets)
    slope, bias, correlation, error = np.zeros((4, targets.shape[1]))
    for column in range(targets.shape[1]):
        for weight, (share, penalty) in zip(weights[:, column], candidates):
            remainder = targets[keep, column] - share * whole_slope[column] * given[keep, column]
            projected = vectors.T @ (remainder - remainder.mean())
            dual[:, column] += weight * (vectors @ (projected / (values + penalty)))
            slope[column] += weight * share * whole_slope[column]
            bias[column] += weight * remainder.mean()
        unseen = weights[:, column] @ held_out[:, :, column]
        demeaned, centred = unseen - unseen.mean(), targets[:, column] - targets[:, column].mean()
        spread, true_spread = demeaned.std() + 1e-9, centred.std() + 1e-9
        correlation[column] = (demeaned * centred).mean() / (spread * true_spread)
        error[column] = (demeaned - centred).std()
        predicted[:, column] = unseen
    return AudioRegression(mean, std, x[keep], dual, slope, bias, correlation, error), predicted


def _padded(
    prior: Float[np.ndarray, "frames first"] | None, num_frames: int, count: int
) -> Float[np.ndarray, "frames count"]:
    """The prior of every coefficient; 0 for those that have none."""
    padded = np.zeros((num_frames, count))
    if prior is not None:
        first = min(prior.shape[1], count)
        padded[:, :first] = prior[:, :first]
    return padded


def _prior_slope(
    prior: Float[np.ndarray, "frames count"], targets: Float[np.ndarray, "frames count"]
) -> Float[np.ndarray, " count"]:
    """Slope of the targets over their prior, shrunk towards 1."""
    prior, targets = prior - prior.mean(0), targets - targets.mean(0)
    energy = np.maximum((prior**2).sum(0) * (1 + _SLOPE_FRAMES / len(prior)), 1e-9)
    return np.clip(1 + (prior * (targets - prior)).sum(0) / energy, *_SLOPES)


def _candidate_weights(
    held_out: Float[np.ndarray, "candidates frames count"],
    targets: Float[np.ndarray, "frames count"],
    blocks: list[np.ndarray],
    has_prior: Bool[np.ndarray, " count"],
) -> Float[np.ndarray, "candidates count"]:
    """Weights of the candidates in each coefficient; they sum to 1.

    Without a prior all the weight is the least held-out error's. With one, candidates that a short clip cannot tell
    apart are averaged: the weight falls with the held-out error as the likelihood of normal errors does. There the mean
    error of a block does not count: its mean is anticorrelated with that of the other blocks, which favours whatever
    varies least, and posture is not what audio predicts.
    """
    misses = held_out - targets
    varying = misses.copy()
    for block in blocks:
        varying[:, block] -= varying[:, block].mean(1, keepdims=True)
    errors = (varying**2).mean(1)
    samples = len(targets) / _FRAMES_PER_SAMPLE
    likelihood = np.exp(-0.5 * samples * (errors / np.maximum(errors.min(0), 1e-12) - 1))
    best = np.zeros_like(errors)
    best[(misses**2).mean(1).argmin(0), np.arange(errors.shape[1])] = 1.0
    return np.where(has_prior, likelihood / likelihood.sum(0), best)
