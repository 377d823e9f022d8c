"""How much fine detail an image has."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

_FLAT = 1e-6
"""Variance that an image without any detail is given."""


def detail_ratio(rendered: UInt8[np.ndarray, "height width 3"], gt: UInt8[np.ndarray, "height width 3"]) -> float:
    """Fine detail of a rendering over that of the ground truth: variances of the Laplacian of the grey levels; 1 where
    as sharp, less where blurred."""
    variances = [_laplacian_variance(image) for image in (rendered, gt)]
    return variances[0] / max(variances[1], _FLAT)


def sharpness_error(rendered: UInt8[np.ndarray, "height width 3"], gt: UInt8[np.ndarray, "height width 3"]) -> float:
    """|log2| of the ratio of Laplacian variances: 0 where as sharp as the ground truth, 1 for half or twice as much."""
    variances = [max(_laplacian_variance(image), _FLAT) for image in (rendered, gt)]
    return abs(float(np.log2(variances[0] / variances[1])))


def _laplacian_variance(image: np.ndarray) -> float:
    import cv2

    return float(cv2.Laplacian(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
