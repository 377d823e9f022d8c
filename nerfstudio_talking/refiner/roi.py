"""The part of the image that a refiner works in: about the face, wherever the clip shows it.

The published images are faces. A portrait has shoulders and a background, too, which the portrait renders; there an
adversary only does harm, and the mouth, small among so many pixels, is learned last.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.refiner.generator import RefinedFrames

Roi = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the image's width and height."""
WHOLE: Roi = (0.0, 0.0, 1.0, 1.0)
_MARGIN = 0.15
"""Of the box about the faces, on every side: heads go a little farther than they were seen."""
_RIM = 1 / 16
"""Of the area's shorter side: width of the rim in which the refined part fades into what surrounds it."""


def face_roi(boxes: Float[Tensor, "frames 4"], height: int, width: int) -> Roi:
    """The area about the faces of all frames.

    Args:
        boxes: left, top, right, bottom of the face in each frame, pixels.
        height: of the image.
        width: of the image.
    """
    low, high = boxes[:, :2].min(0).values, boxes[:, 2:].max(0).values
    grow = _MARGIN * (high - low)
    size = torch.tensor([width, height])
    left, top = ((low - grow) / size).clamp(0, 1).tolist()
    right, bottom = ((high + grow) / size).clamp(0, 1).tolist()
    return left, top, right, bottom


def as_roi(row: Float[Tensor, " 4"]) -> Roi:
    """The area that a row of a checkpoint holds."""
    left, top, right, bottom = row.tolist()
    return left, top, right, bottom


def roi_pixels(roi: Roi, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of an area, at least one of each."""
    sides = []
    for low, high, size in ((roi[1], roi[3], height), (roi[0], roi[2], width)):
        first = min(max(round(low * size), 0), size - 1)
        sides.append(slice(first, max(min(round(high * size), size), first + 1)))
    return sides[0], sides[1]


def paste_back(part: RefinedFrames, rendered: Float[Tensor, "batch 3 height width"], roi: Roi) -> RefinedFrames:
    """What was refined of an area, in the whole image; it fades out towards the area's rim, but not where that is
    the image's own."""
    height, width = rendered.shape[-2:]
    rows, columns = roi_pixels(roi, height, width)
    fade = _fade(rows, height, part.mask)[:, None] * _fade(columns, width, part.mask)
    mask = torch.zeros_like(rendered[:, :1])
    mask[..., rows, columns] = part.mask * fade
    painted, output = rendered.clone(), rendered.clone()
    painted[..., rows, columns] = part.painted
    given = rendered[..., rows, columns]
    output[..., rows, columns] = given + fade * (part.output - given)
    return RefinedFrames(output, painted, mask)


def _fade(side: slice, size: int, like: Tensor) -> Float[Tensor, " pixels"]:
    """Weights along a side of an area: 1 inside, falling to 0 at its ends."""
    rim = max(_RIM * min(like.shape[-2:]), 1.0)
    at = torch.arange(side.start, side.stop, device=like.device) + 0.5
    begin = (at - side.start) / rim if side.start > 0 else torch.ones_like(at)
    end = (side.stop - at) / rim if side.stop < size else torch.ones_like(at)
    return torch.minimum(begin, end).clamp(0, 1)
