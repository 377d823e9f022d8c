"""The part of the source that becomes the dataset's image: one box for the whole clip, as the camera stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_talking.face.regions import enclose_boxes
from nerfstudio_talking.io.errors import TalkingError


@dataclass(frozen=True)
class Crop:
    """A box in source pixels and the size it is resized to."""

    x: int
    """Left edge in the source, pixels."""
    y: int
    """Upper edge in the source, pixels."""
    width: int
    """Width of the box, source pixels."""
    height: int
    """Height of the box, source pixels."""
    out_width: int
    """Width of the dataset's image, pixels."""
    out_height: int
    """Height of the dataset's image, pixels."""

    def apply(self, frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "out_height out_width 3"]:
        """Cut and resize an image, by area averages when it shrinks, by Lanczos interpolation when it grows."""
        import cv2

        part = frame[self.y : self.y + self.height, self.x : self.x + self.width]
        if part.shape[:2] == (self.out_height, self.out_width):
            return np.ascontiguousarray(part)
        method = cv2.INTER_AREA if self.out_width < self.width else cv2.INTER_LANCZOS4
        return cv2.resize(part, (self.out_width, self.out_height), interpolation=method)

    def points(self, points: Float[np.ndarray, "*rows xyz"]) -> Float[np.ndarray, "*rows xyz"]:
        """Source pixels to dataset pixels; a third coordinate, a depth at the scale of x, is scaled only."""
        scale = np.array([self.out_width / self.width, self.out_height / self.height, self.out_width / self.width])
        shift = np.array([self.x, self.y, 0.0])
        count = points.shape[-1]
        return ((points - shift[:count]) * scale[:count]).astype(points.dtype)


def choose_crop(text: str, size: int, width: int, height: int, boxes: Float[np.ndarray, "frames 4"]) -> Crop:
    """Parse the crop option.

    Args:
        text: 'none', 'face' or 'X,Y,W,H' in source pixels.
        size: longer side of the result, pixels.
        width: width of the source, pixels.
        height: height of the source, pixels.
        boxes: face boxes (left, top, right, bottom) in source pixels, NaN where no face is seen.

    Raises:
        TalkingError: the text is not a box inside the image.
    """
    if text == "none":
        return _resize_to(0, 0, width, height, size)
    if text == "face":
        return _resize_to(*_face_square(width, height, boxes), size)
    hint = "Write --crop X,Y,W,H in pixels of the source, or face, or none."
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError as error:
        raise TalkingError(f"--crop {text}", expected="X,Y,W,H", found="something else", hint=hint) from error
    if x < 0 or y < 0 or w < 16 or h < 16 or x + w > width or y + h > height:
        raise TalkingError(f"--crop {text}", expected=f"a box inside {width}x{height}", found="one outside", hint=hint)
    return _resize_to(x, y, w, h, size)


def _face_square(width: int, height: int, boxes: Float[np.ndarray, "frames 4"]) -> tuple[int, int, int, int]:
    """A square about twice the face's height, with hair above, shoulders below and every frame's face inside."""
    left, top, right, bottom = np.nanmedian(boxes, axis=0)
    tall = bottom - top
    union = enclose_boxes(boxes)
    margin = 0.25 * tall
    side = max(2.1 * tall, *(union[2:] - union[:2] + 2 * margin))
    side = int(min(round(side), width, height))
    # a little below the face's middle, so that shoulders get more room than air
    x = int(np.clip(round((left + right) / 2 - side / 2), 0, width - side))
    y = int(np.clip(round((top + bottom) / 2 + 0.08 * side - side / 2), 0, height - side))
    return x, y, side, side


def _resize_to(x: int, y: int, width: int, height: int, size: int) -> Crop:
    """Resize the longer side to `size`, the other to the even number nearest to the same aspect."""
    if width == height:
        return Crop(x, y, width, height, size, size)
    scale = size / max(width, height)
    out = [size if side == max(width, height) else max(2, 2 * round(side * scale / 2)) for side in (width, height)]
    return Crop(x, y, width, height, *out)
