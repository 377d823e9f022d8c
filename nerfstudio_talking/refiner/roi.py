"""The region of interest (ROI) that a refiner works in: about the face, wherever the sequence shows it.

The published images are crops of faces. Here a portrait renders shoulders and background too; there an adversarial
loss only does harm, and the mouth, small among so many pixels, would be learned last.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.refiner.generator import RefinedFrames

Roi = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the image's width and height."""
WHOLE: Roi = (0.0, 0.0, 1.0, 1.0)
"""The whole image."""
_MARGIN = 0.15
"""Margin on every side of the box about all faces, as a share of the box's side: heads move a little beyond it."""
_FADE = 1 / 16
"""Width of the border in which the refined region fades out, as a share of the region's shorter side."""


def face_roi(boxes: Float[Tensor, "frames 4"], height: int, width: int) -> Roi:
    """The region about the faces of all frames.

    Args:
        boxes: left, top, right, bottom of the face in each frame, pixels.
        height: height of the image, pixels.
        width: width of the image, pixels.
    """
    low, high = boxes[:, :2].min(0).values, boxes[:, 2:].max(0).values
    grow = _MARGIN * (high - low)
    size = torch.tensor([width, height])
    left, top = ((low - grow) / size).clamp(0, 1).tolist()
    right, bottom = ((high + grow) / size).clamp(0, 1).tolist()
    return left, top, right, bottom


def as_roi(row: Float[Tensor, " 4"]) -> Roi:
    """The region that a row of a checkpoint's `rois` holds."""
    left, top, right, bottom = row.tolist()
    return left, top, right, bottom


def roi_slices(roi: Roi, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a region in an image of this size, at least one of each."""
    sides = []
    for low, high, size in ((roi[1], roi[3], height), (roi[0], roi[2], width)):
        first = min(max(round(low * size), 0), size - 1)
        sides.append(slice(first, max(min(round(high * size), size), first + 1)))
    return sides[0], sides[1]


def paste_back(crop: RefinedFrames, rendered: Float[Tensor, "batch 3 height width"], roi: Roi) -> RefinedFrames:
    """Put a refined region back into the whole rendered image.

    The region fades out towards its borders, except where a border is the image's own.

    Args:
        crop: what the generator made of the region.
        rendered: the whole frames, in [-1, 1].
        roi: where the region lies.
    """
    height, width = rendered.shape[-2:]
    rows, columns = roi_slices(roi, height, width)
    fade = _fade_weights(rows, height, crop.mask)[:, None] * _fade_weights(columns, width, crop.mask)
    mask = torch.zeros_like(rendered[:, :1])
    mask[..., rows, columns] = crop.mask * fade
    painted, output = rendered.clone(), rendered.clone()
    painted[..., rows, columns] = crop.painted
    given = rendered[..., rows, columns]
    output[..., rows, columns] = given + fade * (crop.output - given)
    return RefinedFrames(output, painted, mask)


def _fade_weights(side: slice, size: int, like: Tensor) -> Float[Tensor, " pixels"]:
    """Weights along one side of a region: 1 inside, falling linearly to 0 at ends that are not the image's own."""
    border = max(_FADE * min(like.shape[-2:]), 1.0)
    position = torch.arange(side.start, side.stop, device=like.device) + 0.5
    begin = (position - side.start) / border if side.start > 0 else torch.ones_like(position)
    end = (side.stop - position) / border if side.stop < size else torch.ones_like(position)
    return torch.minimum(begin, end).clamp(0, 1)
