"""Optical flow between two images, and warping of images along it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from nerfstudio_talking.media.images import shrink_image

_FLOW_SIDE = 512
_FLOW_LEAST_SIDE = 12
"""Least side of images that OpenCV's optical flow accepts."""
_MOST_CHANNELS = 4
"""Number of channels that OpenCV resamples at once."""


def flow_field(
    before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "height width 3"]
) -> Float32[np.ndarray, "height width 2"]:
    """Optical flow from one frame to the next in pixels, right and down (DIS, Kroeger et al. 2016).

    Images over 512 pixels on a side are shrunk to that first; the flow returned is in their own pixels. The flow of
    images under 12 pixels on a side is 0.
    """
    import cv2

    height, width = before.shape[:2]
    if min(height, width) < _FLOW_LEAST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    greys = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (before, after)]
    greys = [shrink_image(grey, _FLOW_SIDE) for grey in greys]
    flow: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(greys[0], greys[1], None)  # type: ignore[call-overload]
    if max(height, width) > _FLOW_SIDE:
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) / (_FLOW_SIDE / max(height, width))
    return flow


def warp(
    image: Shaped[np.ndarray, "rows columns *channels"], flow: Float32[np.ndarray, "height width 2"]
) -> Shaped[np.ndarray, "height width *channels"]:
    """Warp an image backwards along a flow: each pixel takes the colour at its position plus the flow.

    Args:
        image: a frame, of any kind that OpenCV resamples and any number of channels.
        flow: from another frame to this one (`flow_field(other, this)`), pixels; beyond the border, the border.
    """
    import cv2

    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    positions = columns + flow[..., 0], rows + flow[..., 1]

    def resample(part: np.ndarray) -> np.ndarray:
        part = np.ascontiguousarray(part)
        result = cv2.remap(part, *positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return result.reshape(*flow.shape[:2], *part.shape[2:])  # OpenCV drops the axis of a single channel

    if image.ndim == 2 or image.shape[2] <= _MOST_CHANNELS:
        return resample(image)
    starts = range(0, image.shape[2], _MOST_CHANNELS)
    return np.dstack([resample(image[..., start : start + _MOST_CHANNELS]) for start in starts])
