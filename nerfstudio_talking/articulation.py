"""The mouth's shape as a few numbers, and its prediction from sound.

Landmarks of lips and chin are carried into the head's frame, so that head motion drops out, and reduced to their
principal components: the *articulation* of a frame. It is what a short clip can teach about sound: a regression with
one equation per frame and a known target, instead of a network that learns four hundred frames by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

LIPS_478 = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""FaceMesh points of the outer, then the inner lip line."""
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


@dataclass(frozen=True)
class ArticulationBasis:
    """Principal components of mouth shapes: coefficient k of a shape is (shape - mean) . components[k] / scale[k]."""

    mean: Float[np.ndarray, " coordinates"]
    components: Float[np.ndarray, "count coordinates"]
    scale: Float[np.ndarray, " count"]

    def encode(self, shapes: Float[np.ndarray, "frames coordinates"]) -> Float[np.ndarray, "frames count"]:
        """Coefficients of shapes, of unit variance over the frames the basis was made from."""
        return (shapes - self.mean) @ self.components.T / self.scale


def articulation_basis(shapes: Float[np.ndarray, "frames coordinates"], count: int) -> ArticulationBasis:
    """The leading principal components of mouth shapes (rows with NaN are left out)."""
    seen = shapes[~np.isnan(shapes).any(1)]
    mean = seen.mean(0)
    _, singular, components = np.linalg.svd(seen - mean, full_matrices=False)
    scale = np.maximum(singular[:count] / np.sqrt(len(seen)), 1e-9)
    return ArticulationBasis(mean, components[:count], scale)


@dataclass(frozen=True)
class AudioRegression:
    """Ridge regression of articulation on sound: prediction = (x - mean) / std @ weights + bias."""

    mean: Float[np.ndarray, " inputs"]
    std: Float[np.ndarray, " inputs"]
    weights: Float[np.ndarray, "inputs count"]
    bias: Float[np.ndarray, " count"]
    correlation: Float[np.ndarray, " count"]
    """Cross-validated correlation of each coefficient with its prediction."""


def fit_audio_regression(
    inputs: Float[np.ndarray, "frames inputs"],
    targets: Float[np.ndarray, "frames count"],
    folds: int = 5,
    penalties: tuple[float, ...] = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5),
    max_gain: float = 1.6,
) -> AudioRegression:
    """Ridge regression whose penalty is chosen by contiguous folds and whose spread is matched to the targets'.

    A least-squares prediction of correlation r has r times the spread of its target: lips that barely move. Each
    coefficient is stretched back, by at most `max_gain`.

    Args:
        inputs: sound features of each frame, flattened.
        targets: articulation of each frame.
        folds: contiguous blocks held out in turn (neighbouring frames are too alike for random ones).
        penalties: ridge penalties to choose from, on standardised inputs.
        max_gain: upper bound of the stretch.
    """
    mean, std = inputs.mean(0), inputs.std(0) + 1e-3
    x = (inputs - mean) / std
    bias = targets.mean(0)
    y = targets - bias
    gram = x @ x.T
    blocks = np.array_split(np.arange(len(x)), folds)
    held_out = np.zeros((len(penalties), *y.shape))
    for block in blocks:
        rest: Int64[np.ndarray, " train"] = np.setdiff1d(np.arange(len(x)), block)
        values, vectors = np.linalg.eigh(gram[np.ix_(rest, rest)])
        projected = vectors.T @ y[rest]
        for row, penalty in enumerate(penalties):
            dual = vectors @ (projected / (values + penalty)[:, None])
            held_out[row, block] = gram[np.ix_(block, rest)] @ dual
    error = ((held_out - y) ** 2).mean(1)  # (penalties, count)
    best = error.sum(1).argmin()
    dual = np.linalg.solve(gram + penalties[best] * np.eye(len(x)), y)
    predicted = held_out[best]
    centred = predicted - predicted.mean(0)
    spread = centred.std(0) + 1e-9
    correlation = (centred * y).mean(0) / (spread * (y.std(0) + 1e-9))
    # the gain never turns noise up: where nothing is predicted the least-squares shrinkage stays
    gain = np.clip(y.std(0) / spread, 1.0, max_gain) * (correlation > 0.2) + (correlation <= 0.2)
    return AudioRegression(mean, std, x.T @ dual * gain, bias, correlation)
