"""A decoded frame as it is meant to be seen: upright, with square pixels, in BT.709."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from nerfstudio_talking.media.decoding.tone_mapping import name_of_transfer, tone_map

_ACCURATE = 0x40000 | 0x2000 | 4
"""Flags of swscale: accurate rounding, full colour resolution, bicubic. Its fast path is 1 to 1.3 levels too dark."""
_LEAST_STRETCH, _MOST_STRETCH = 1.005, 8.0
"""Pixels that are less elongated count as square; a ratio beyond the second is taken for an error."""


@dataclass(frozen=True)
class DecodedFrame:
    """A frame of a video, and how it is shown."""

    frame: VideoFrame
    """As decoded: with the file's time, display matrix and transfer characteristics."""
    shown: VideoFrame
    """The same, or deinterlaced."""
    aspect: Fraction | None
    """Width over height of a pixel; None or 0 where unknown."""

    @property
    def has_square_pixels(self) -> bool:
        """Whether pixels are square, or so nearly that they count as such."""
        return self._stored_size() == (self.frame.width, self.frame.height)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        width, height = self._stored_size()
        return (height, width) if orientation(self.frame)[0] else (width, height)

    def image(self) -> UInt8[np.ndarray, "height width 3"]:
        """The frame as an RGB image."""
        width, height = self._stored_size()
        transfer = int(self.frame.color_trc)
        layout = "rgb24" if name_of_transfer(transfer) is None else "rgb48le"
        image = self.shown.to_ndarray(format=layout, width=width, height=height, interpolation=_ACCURATE)
        if layout == "rgb48le":
            image = tone_map(image, transfer)
        transpose, mirror, flip = orientation(self.frame)
        if transpose:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: -1 if flip else 1, :: -1 if mirror else 1])

    def _stored_size(self) -> tuple[int, int]:
        """Width and height before the frame is put upright, with square pixels: none is lost."""
        width, height, ratio = self.frame.width, self.frame.height, float(self.aspect or 1)
        if ratio <= 0 or not _LEAST_STRETCH < max(ratio, 1 / ratio) < _MOST_STRETCH:
            return width, height
        return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is put upright, by its display matrix: transpose first, then mirror left and right, then up and down.

    The matrix maps a position (x, y) of the stored frame to (a x + c y, b x + d y) on the display. Angles between
    quarter turns are rounded.
    """
    stored = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return False, False, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(stored), dtype=np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0
