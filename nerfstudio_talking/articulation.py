"""The mouth's shape as a few numbers, and its prediction from sound.

Landmarks of lips and chin are carried into the head's frame, so that head motion drops out, and reduced to their
principal components: the *articulation* of a frame. It is what a short clip can teach about sound: a regression with
one equation per frame and a known target, instead of a network that learns four hundred frames by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""FaceMesh points of the outer lip line, a closed outline."""
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""FaceMesh points of the inner lip line, a closed outline."""
LIPS_478 = OUTER_LIPS + INNER_LIPS
CHIN_478 = (152, 148, 377, 176, 400, 18, 200, 199, 175)
MOUTH_68 = (*range(48, 68), *range(6, 11))
_LIP_DEPTH = 0.05
"""Depth of the lips in front of the head's origin, metres. Only parallax, a second-order effect, depends on it."""


def mouth_points(num_points: int) -> tuple[int, ...]:
    """Landmarks of the mouth and chin in a set of 478 (FaceMesh) or 68 points.

    Raises:
        ValueError: for another set.
    """
    if num_points in (468, 478):
        return LIPS_478 + CHIN_478
    if num_points == 68:
        return MOUTH_68
    raise ValueError(f"landmarks come as 478 or 68 points, not {num_points}")


def unproject_landmarks(
    landmarks: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    focal: float,
    width: int,
    height: int,
    depth: float = _LIP_DEPTH,
) -> Float[np.ndarray, "frames points 2"]:
    """Where the landmarks' rays meet the plane z = `depth` of the head's frame: x and y in metres."""
    local = np.stack(
        [
            (landmarks[..., 0] - width / 2) / focal,
            -(landmarks[..., 1] - height / 2) / focal,
            -np.ones(landmarks.shape[:2]),
        ],
        axis=-1,
    )
    rotation, translation = camera_to_worlds[:, :, :3], camera_to_worlds[:, :, 3]
    directions = np.einsum("fij,fpj->fpi", rotation, local)
    distance = (depth - translation[:, None, 2]) / directions[..., 2]
    return translation[:, None, :2] + distance[..., None] * directions[..., :2]


def inner_lip_gap(shapes: Float[np.ndarray, "frames coordinates"], num_points: int) -> Float[np.ndarray, " frames"]:
    """Distance of the inner lips' middles in mouth shapes made from sets of 478 or 68 landmarks, metres."""
    points = mouth_points(num_points)
    upper, lower = (points.index(13), points.index(14)) if num_points != 68 else (points.index(62), points.index(66))
    xy = shapes.reshape(len(shapes), -1, 2)
    return np.linalg.norm(xy[:, upper] - xy[:, lower], axis=-1)


@dataclass(frozen=True)
class ArticulationBasis:
    """Coefficients of mouth shapes: the lip gap first, then principal components of what the gap does not explain."""

    mean: Float[np.ndarray, " coordinates"]
    gap_mean: float
    gap_scale: float
    slope: Float[np.ndarray, " coordinates"]
    """What one unit of the scaled gap adds to a shape."""
    components: Float[np.ndarray, "rest coordinates"]
    scale: Float[np.ndarray, " rest"]

    def encode(
        self, shapes: Float[np.ndarray, "frames coordinates"], gap: Float[np.ndarray, " frames"]
    ) -> Float[np.ndarray, "frames count"]:
        """Coefficients of unit variance over the frames the basis was made from."""
        opening = (gap - self.gap_mean) / self.gap_scale
        rest = shapes - self.mean - opening[:, None] * self.slope
        return np.concatenate([opening[:, None], rest @ self.components.T / self.scale], axis=1)


def articulation_basis(
    shapes: Float[np.ndarray, "frames coordinates"], gap: Float[np.ndarray, " frames"], count: int
) -> ArticulationBasis:
    """The basis of `count` coefficients from tracked shapes and their lip gaps (rows with NaN are left out).

    The gap comes first because it is what viewers judge, and because the components of largest variance are often
    leftovers of head motion that no sound predicts.
    """
    seen = ~(np.isnan(shapes).any(1) | np.isnan(gap))
    shapes, gap = shapes[seen], gap[seen]
    mean, gap_mean, gap_scale = shapes.mean(0), float(gap.mean()), float(max(gap.std(), 1e-9))
    opening = (gap - gap_mean) / gap_scale
    slope = opening @ (shapes - mean) / max(opening @ opening, 1e-9)
    rest = shapes - mean - opening[:, None] * slope
    _, singular, components = np.linalg.svd(rest, full_matrices=False)
    kept = min(count - 1, len(components))
    scale = np.maximum(singular[:kept] / np.sqrt(len(rest)), 1e-9)
    return ArticulationBasis(mean, gap_mean, gap_scale, slope, components[:kept], scale)


@dataclass(frozen=True)
class AudioRegression:
    """Kernel ridge regression of articulation on sound: kernel((x - mean) / std, support) @ dual + bias."""

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
        """Articulation of frames from their sound."""
        x = torch.from_numpy((inputs - self.mean) / self.std)
        return sound_kernel(x, torch.from_numpy(self.support)).numpy() @ self.dual + self.bias


def sound_kernel(
    a: Float[Tensor, "frames inputs"], b: Float[Tensor, "support inputs"]
) -> Float[Tensor, "frames support"]:
    """Likeness of standardised sound windows: a Gaussian, which follows the bends, plus a share of the linear kernel,
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
    coefficient that sound does predict is stretched back, by at most `max_gain`.

    Args:
        inputs: sound features of each frame, flattened.
        targets: articulation of each frame.
        folds: contiguous blocks held out in turn (neighbouring frames are too alike for random ones).
        guard: frames left out on both sides of a held-out block, since windows overlap.
        max_gain: upper bound of the stretch.
        stretched: how many coefficients, the first ones, are stretched at all; all of them by default.
        most: frames fitted to; a longer clip is thinned evenly.

    Returns:
        The regression, and what is told of every frame by one fitted without the frame's block.
    """
    keep = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), most)).round().astype(int))
    mean, std = inputs.mean(0), inputs.std(0) + 1e-3
    x = (inputs - mean) / std
    bias = targets[keep].mean(0)
    y = targets - bias
    gram = sound_kernel(torch.from_numpy(x), torch.from_numpy(x[keep])).numpy()
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
    dual, told = np.zeros_like(y[keep]), np.zeros_like(y)
    correlation, error = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for column, row in enumerate(best):
        predicted = held_out[row, :, column] - held_out[row, :, column].mean()
        spread, true_spread = predicted.std() + 1e-9, y[:, column].std() + 1e-9
        correlation[column] = (predicted * y[:, column]).mean() / (spread * true_spread)
        # noise is never turned up: where nothing is predicted the least-squares shrinkage stays
        stretch = correlation[column] > 0.2 and (stretched is None or column < stretched)
        gain = np.clip(true_spread / spread, 1.0, max_gain) if stretch else 1.0
        error[column] = (gain * predicted - y[:, column]).std()
        told[:, column] = bias[column] + gain * held_out[row, :, column]
        dual[:, column] = gain * np.linalg.solve(square + penalties[row] * np.eye(len(keep)), y[keep, column])
    return AudioRegression(mean, std, x[keep], dual, bias, correlation, error), told
