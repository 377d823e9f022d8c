"""Boxes about face and mouth, from landmarks or from masks: one definition for processing, ray sampling and metrics.

A box is left, top, right, bottom in pixels (x right, y down); pixel (0, 0) covers 0 to 1. A margin is counted in widths
of the box and added on every side, so that a mouth keeps its box's shape when it opens.

The mouth box of a parsing map is `mask_box(class_mask(parsing, MOUTH_CLASSES), margin)`, with the classes of
`dataset_io.parsing_labels`. `MOUTH_MARGIN` is the margin of everything that is measured; rays are drawn from narrower
boxes (`data.ray_sampling`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from nerfstudio_talking.face.landmark_sets import NUM_MESH_POINTS, OUTER_LIP_OUTLINE

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

MOUTH_MARGIN = 0.4
"""Margin of a mouth box about the lips, in widths of the mouth."""
STRAY_SHARE = 0.005
"""Share of a mask's pixels that is left out at each end where maps may hold stray pixels."""


def face_boxes(landmarks: Float[np.ndarray, "frames points xy"]) -> Float32[np.ndarray, "frames 4"]:
    """Box of the FaceMesh points (without irises) in each frame; NaN where no face is seen."""
    return _bound_points(landmarks[:, :NUM_MESH_POINTS])


def mouth_boxes(
    landmarks: Float[np.ndarray, "frames points xy"], margin: float = MOUTH_MARGIN
) -> Float32[np.ndarray, "frames 4"]:
    """Box of the outer lip outline in each frame, wider on every side by `margin`; NaN where no face is seen."""
    bounds = _bound_points(landmarks[:, OUTER_LIP_OUTLINE])
    grow = margin * (bounds[:, 2] - bounds[:, 0])
    return bounds + np.stack([-grow, -grow, grow, grow], axis=-1)


def mask_box(mask: Bool[np.ndarray, "height width"], margin: float = 0.0, stray: float = 0.0) -> Box | None:
    """Box of the true pixels of a mask, wider on every side by `margin`; it may leave the image.

    Args:
        mask: true where the region is.
        margin: in widths of the box.
        stray: share of the true pixels that is left out at each end of each axis, such as `STRAY_SHARE`.

    Returns:
        None where the mask is empty.
    """
    if stray > 0:
        rows, columns = np.nonzero(mask)
    else:  # only the ends count: no need to list every pixel
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    ends = (100 * stray, 100 - 100 * stray)
    (left, right), (top, bottom) = (np.percentile(values, ends) for values in (columns, rows))
    return widen_box((float(left), float(top), float(right) + 1, float(bottom) + 1), margin)


def widen_box(box: Box, margin: float) -> Box:
    """The box grown on every side by `margin` of its width."""
    left, top, right, bottom = box
    grow = margin * (right - left)
    return left - grow, top - grow, right + grow, bottom + grow


def clip_box(box: Box, height: int, width: int) -> Box:
    """The part of a box inside the image."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def enclose_boxes(boxes: Float[np.ndarray, "frames 4"]) -> Float[np.ndarray, " 4"]:
    """The smallest box about all boxes; rows of NaN (frames without a face) are left out."""
    return np.concatenate([np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)])


def _bound_points(points: Float[np.ndarray, "frames points xy"]) -> Float32[np.ndarray, "frames 4"]:
    xy = points[..., :2]
    return np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=-1).astype(np.float32)
