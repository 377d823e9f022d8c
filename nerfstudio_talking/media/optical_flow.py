"""Dense motion between two images, and images carried along it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

_FLOW_SIDE = 512
_LEAST_SIDE = 12
"""Of images that OpenCV finds motion in."""
_MOST_CHANNELS = 4
"""That OpenCV resamples at once."""


def flow_field(
    before: UInt8[np.ndarray, "height width 3"], after: UInt8[np.ndarray, "height width 3"]
) -> Float32[np.ndarray, "height width 2"]:
    """Dense motion from one frame to the next in pixels, right and down (DIS, Kroeger et al. 2016).

    Images over 512 pixels on a side are shrunk to that first; the motion returned is in their own pixels. In images
    under 12 pixels none is found.
    """
    import cv2

    height, width = before.shape[:2]
    if min(height, width) < _LEAST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    greys = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (before, after)]
    shrink = min(1.0, _FLOW_SIDE / max(height, width))
    if shrink < 1.0:
        size = (round(width * shrink), round(height * shrink))
        greys = [cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys]
    flow: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(greys[0], greys[1], None)  # type: ignore[call-overload]
    if shrink < 1.0:
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) / shrink
    return flow


def warp(
    image: Shaped[np.ndarray, "rows columns *channels"],
    flow: Float32[np.ndarray, "height width 2"],
    cubic: bool = False,
) -> Shaped[np.ndarray, "height width *channels"]:
    """A frame seen where its pixels have gone: the image at each pixel's place in it.

    Args:
        image: a frame, of any kind that OpenCV resamples and any number of channels.
        flow: from another frame to this one (`flow_field(other, this)`), pixels; beyond the border, the border.
        cubic: interpolate bicubically, which blurs less than bilinearly.
    """
    import cv2

    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    where = columns + flow[..., 0], rows + flow[..., 1]
    kind = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR

    def moved(part: np.ndarray) -> np.ndarray:
        result = cv2.remap(np.ascontiguousarray(part), *where, kind, borderMode=cv2.BORDER_REPLICATE)
        return result.reshape(*flow.shape[:2], *part.shape[2:])  # OpenCV drops the axis of a single channel

    if image.ndim == 2 or image.shape[2] <= _MOST_CHANNELS:
        return moved(image)
    starts = range(0, image.shape[2], _MOST_CHANNELS)
    return np.dstack([moved(image[..., start : start + _MOST_CHANNELS]) for start in starts])
