"""Mouth shape: measures and PCA coefficients of the tracked lips and chin in the head's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NUM_MEASURES = 3
"""Coefficients that are measures: lip gap, mouth width and lip thickness, as of `measurements.mouth_measures`."""


@dataclass(frozen=True)
class MouthShapeBasis:
    """A basis of mouth shapes: measures first, then principal components of what they do not explain."""

    mean: Float[np.ndarray, " coordinates"]
    """Mean shape, metres."""
    measure_mean: Float[np.ndarray, " measures"]
    """Mean of the measures, metres."""
    measure_scale: Float[np.ndarray, " measures"]
    """Standard deviation of the measures, metres."""
    slope: Float[np.ndarray, "measures coordinates"]
    """Change of a shape per unit of each scaled measure, metres."""
    components: Float[np.ndarray, "rest coordinates"]
    """Orthonormal directions of the other coefficients."""
    scale: Float[np.ndarray, " rest"]
    """Standard deviation of the other coefficients, metres."""

    def encode(
        self, shapes: Float[np.ndarray, "frames coordinates"], measures: Float[np.ndarray, "frames all_measures"]
    ) -> Float[np.ndarray, "frames count"]:
        """Coefficients of shapes with their measures, of unit variance over the frames the basis was fitted to."""
        scaled = (measures[:, : len(self.measure_mean)] - self.measure_mean) / self.measure_scale
        rest = shapes - self.mean - scaled @ self.slope
        return np.concatenate([scaled, rest @ self.components.T / self.scale], axis=1)


def fit_mouth_shape_basis(
    shapes: Float[np.ndarray, "frames coordinates"], measures: Float[np.ndarray, "frames all_measures"], count: int
) -> MouthShapeBasis:
    """Fit a basis of `count` coefficients to tracked shapes.

    Measures come first because audio predicts them and viewers judge them, and because the components of largest
    variance are often residues of head motion that no audio predicts.

    Args:
        shapes: x and y of the `landmark_sets.mouth_points` in the head's frame, metres; rows with NaN are left out.
        measures: `measurements.mouth_measures` of the shapes; the first `count` of them where it is less.
        count: number of coefficients; fewer where there are fewer frames.
    """
    measures = measures[:, :count]
    seen = ~(np.isnan(shapes).any(1) | np.isnan(measures).any(1))
    shapes, measures = shapes[seen], measures[seen]
    mean, measure_mean, measure_scale = shapes.mean(0), measures.mean(0), np.maximum(measures.std(0), 1e-9)
    scaled = (measures - measure_mean) / measure_scale
    slope = np.linalg.lstsq(scaled, shapes - mean, rcond=None)[0]
    rest = shapes - mean - scaled @ slope
    _, singular, components = np.linalg.svd(rest, full_matrices=False)
    num_components = min(count - measures.shape[1], len(components))
    scale = np.maximum(singular[:num_components] / np.sqrt(len(rest)), 1e-9)
    return MouthShapeBasis(mean, measure_mean, measure_scale, slope, components[:num_components], scale)
