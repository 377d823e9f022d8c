"""Mouth shape: PCA coefficients of the tracked lips and chin in the head's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.face.landmark_sets import mouth_points


def inner_lip_gap(shapes: Float[np.ndarray, "frames coordinates"], num_points: int) -> Float[np.ndarray, " frames"]:
    """Distance of the inner lips' middles in mouth shapes made from sets of 478 or 68 landmarks, metres."""
    points = mouth_points(num_points)
    upper, lower = (points.index(13), points.index(14)) if num_points != 68 else (points.index(62), points.index(66))
    xy = shapes.reshape(len(shapes), -1, 2)
    return np.linalg.norm(xy[:, upper] - xy[:, lower], axis=-1)


@dataclass(frozen=True)
class MouthShapeBasis:
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


def mouth_shape_basis(
    shapes: Float[np.ndarray, "frames coordinates"], gap: Float[np.ndarray, " frames"], count: int
) -> MouthShapeBasis:
    """The basis of `count` coefficients from tracked shapes and their lip gaps (rows with NaN are left out).

    The gap comes first because it is what viewers judge, and because the components of largest variance are often
    leftovers of head motion that no audio predicts.
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
    return MouthShapeBasis(mean, gap_mean, gap_scale, slope, components[:kept], scale)
