"""Inpainting: fill the unknown part of an image smoothly from the known part."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

_RELAXATIONS = 10


def fill_smoothly(
    image: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"],
    known: Bool[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width 3"]:
    """The image with unknown pixels replaced by a membrane stretched between the known ones; levels as given.

    Pull-push: averages of the known pixels are computed down a pyramid and propagated back up, each level relaxed
    towards the mean of its neighbours. Known pixels stay unchanged. Without a known pixel the result is 0 everywhere.
    """
    values = np.where(known[..., None], image, 0).astype(np.float32)
    return _fill(values, known.astype(np.float32))


def _fill(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill `values` where `weight` is 0; values are 0 there."""
    import cv2

    height, width = weight.shape
    unknown = weight == 0
    if not unknown.any() or max(height, width) == 1:
        return values
    size = ((width + 1) // 2, (height + 1) // 2)
    # averages over whole 2x2 blocks: pad an odd side with unknown pixels
    padding = (0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT)
    total = cv2.resize(
        cv2.copyMakeBorder(values * weight[..., None], *padding, value=(0,)), size, interpolation=cv2.INTER_AREA
    )
    share = cv2.resize(cv2.copyMakeBorder(weight, *padding, value=(0,)), size, interpolation=cv2.INTER_AREA)
    some = share > 0
    coarse = np.zeros_like(total)
    coarse[some] = total[some] / share[some, None]
    coarse = _fill(coarse, some.astype(np.float32))
    whole = (2 * size[0], 2 * size[1])
    filled = values.copy()
    filled[unknown] = cv2.resize(coarse, whole, interpolation=cv2.INTER_LINEAR)[:height, :width][unknown]
    for _ in range(_RELAXATIONS):
        filled[unknown] = cv2.blur(filled, (3, 3), borderType=cv2.BORDER_REPLICATE)[unknown]
    return filled


def center_map(matrix: np.ndarray) -> np.ndarray:
    """An affine map (2, 3) of coordinates whose origin is the image's corner, as a map of pixel centres for OpenCV."""
    shifted = matrix.astype(np.float64).copy()
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - 0.5
    return shifted
