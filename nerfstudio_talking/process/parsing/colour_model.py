"""Densities of colours in the classes and the background: Lab histograms, and a Gaussian per background pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from scipy.ndimage import gaussian_filter

_BINS = 32
_CHROMA_START, _CHROMA_STEP, _LIGHT_STEP = 80, 3, 8
_CELL = _LIGHT_STEP * _CHROMA_STEP**2
_UNKNOWN = 0.05
"""Share of a class that is spread evenly over all colours, for colours that were not seen."""
_LEAST_VARIANCE = 9.0
"""Least variance of a background pixel, squared levels: sensor noise and compression."""


def colour_cells(lab: UInt8[np.ndarray, "*bs 3"]) -> Int32[np.ndarray, "*bs"]:
    """The histogram cell of each 8-bit Lab colour."""
    return _LIGHT[lab[..., 0]] + _CHROMA[lab[..., 1]] * _BINS + _CHROMA[lab[..., 2]]


_LIGHT = (np.arange(256, dtype=np.int32) // _LIGHT_STEP) * _BINS**2
_CHROMA = np.clip((np.arange(256, dtype=np.int32) - _CHROMA_START) // _CHROMA_STEP, 0, _BINS - 1).astype(np.int32)


def log_density(
    cells: Int32[np.ndarray, " pixels"],
    weights: Float32[np.ndarray, " pixels"] | None = None,
    blur: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Float32[np.ndarray, " cells"]:
    """Log density per cubed Lab level of each cell, finite everywhere.

    Args:
        cells: histogram cells of the samples.
        weights: weights of the samples; 1 where None.
        blur: standard deviations of the smoothing along L, a and b, in cells of 8, 3 and 3 levels.
    """
    counts = np.bincount(cells, weights=weights, minlength=_BINS**3).reshape(_BINS, _BINS, _BINS)
    smooth = gaussian_filter(counts.astype(np.float64), blur, mode="nearest", truncate=3.0)
    share = smooth / max(smooth.sum(), 1e-9) * (1 - _UNKNOWN) + _UNKNOWN / _BINS**3
    return np.log(share / _CELL).astype(np.float32).ravel()


@dataclass(frozen=True)
class BackgroundModel:
    """A Gaussian per pixel where the background was seen, and one histogram for all of it."""

    mean: Float32[np.ndarray, "height width 3"]
    """Mean colour, Lab levels."""
    precision: Float32[np.ndarray, "height width 3"]
    """Inverse variance; 0 where never seen."""
    offset: Float32[np.ndarray, "height width"]
    """Log density at the Gaussian's mean; very low where never seen."""
    table: Float32[np.ndarray, " cells"]
    """Log density of each colour cell over the whole background."""

    def log_density(
        self, lab: UInt8[np.ndarray, "height width 3"], cells: Int32[np.ndarray, "height width"]
    ) -> Float32[np.ndarray, "height width"]:
        """Log density of each pixel's colour under the background model."""
        difference = lab - self.mean
        local = self.offset - 0.5 * np.einsum("hwc,hwc,hwc->hw", difference, difference, self.precision)
        return np.logaddexp(local, self.table[cells] - 2.3)


def fit_background(
    labs: UInt8[np.ndarray, "frames height width 3"], is_background: np.ndarray, cells: np.ndarray
) -> BackgroundModel:
    """Fit the background model to the pixels that are certainly background (`is_background`: frames, height, width)."""
    weight = is_background.astype(np.float32)
    seen = weight.sum(axis=0)
    share = np.maximum(seen, 1e-6)[..., None]
    mean = np.einsum("nhwc,nhw->hwc", labs.astype(np.float32), weight) / share
    spread = np.zeros_like(mean)
    for lab, part in zip(labs, weight[..., None]):
        spread += (lab - mean) ** 2 * part
    variance = spread / share + _LEAST_VARIANCE
    known = seen >= 2
    offset = -0.5 * np.log(2 * np.pi * variance).sum(axis=-1)
    return BackgroundModel(
        mean.astype(np.float32),
        np.where(known[..., None], 1 / variance, 0).astype(np.float32),
        np.where(known, offset, -60.0).astype(np.float32),
        log_density(cells[is_background]),
    )
