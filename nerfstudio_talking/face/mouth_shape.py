"""Mouth shape: PCA coefficients of the tracked lips and chin in the head's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class MouthShapeBasis:
    """A basis of mouth shapes: the lip distance first, then principal components of what it does not explain."""

    mean: Float[np.ndarray, " coordinates"]
    """Mean shape, metres."""
    distance_mean: float
    """Mean lip distance, metres."""
    distance_scale: float
    """Standard deviation of the lip distance, metres."""
    slope: Float[np.ndarray, " coordinates"]
    """Change of a shape per unit of the scaled lip distance, metres."""
    components: Float[np.ndarray, "rest coordinates"]
    """Orthonormal directions of the other coefficients."""
    scale: Float[np.ndarray, " rest"]
    """Standard deviation of the other coefficients, metres."""

    def encode(
        self, shapes: Float[np.ndarray, "frames coordinates"], distance: Float[np.ndarray, " frames"]
    ) -> Float[np.ndarray, "frames count"]:
        """Coefficients of shapes with their lip distances, of unit variance over the frames the basis was fitted to."""
        opening = (distance - self.distance_mean) / self.distance_scale
        rest = shapes - self.mean - opening[:, None] * self.slope
        return np.concatenate([opening[:, None], rest @ self.components.T / self.scale], axis=1)


def fit_mouth_shape_basis(
    shapes: Float[np.ndarray, "frames coordinates"], distance: Float[np.ndarray, " frames"], count: int
) -> MouthShapeBasis:
    """Fit a basis of `count` coefficients to tracked shapes.

    The lip distance comes first because it is what viewers judge, and because the components of largest variance are
    often residues of head motion that no audio predicts.

    Args:
        shapes: x and y of the `landmark_sets.mouth_points` in the head's frame, metres; rows with NaN are left out.
        distance: `measurements.middle_lip_distance` of the shapes.
        count: number of coefficients; fewer where there are fewer frames.
    """
    seen = ~(np.isnan(shapes).any(1) | np.isnan(distance))
    shapes, distance = shapes[seen], distance[seen]
    mean, distance_mean, distance_scale = shapes.mean(0), float(distance.mean()), float(max(distance.std(), 1e-9))
    opening = (distance - distance_mean) / distance_scale
    slope = opening @ (shapes - mean) / max(opening @ opening, 1e-9)
    rest = shapes - mean - opening[:, None] * slope
    _, singular, components = np.linalg.svd(rest, full_matrices=False)
    num_components = min(count - 1, len(components))
    scale = np.maximum(singular[:num_components] / np.sqrt(len(rest)), 1e-9)
    return MouthShapeBasis(mean, distance_mean, distance_scale, slope, components[:num_components], scale)
