"""The head box: the box in space that encloses the head, from masks and poses."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from nerfstudio_talking.cameras.pinhole import PinholeCamera

BEHIND, AHEAD = 0.15, 0.105
"""Extent of a life-size head behind and ahead of the head's origin, metres, for a head 0.2 m wide."""


def head_box(
    masks: Iterable[Bool[np.ndarray, "height width"]],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    margin: float = 0.02,
) -> Float[np.ndarray, "2 3"]:
    """Corners of an axis-aligned box around the head, metres.

    The bounds of the head in each frame are projected onto the plane through the head's origin that faces the camera,
    and the box encloses all of them.

    Args:
        masks: true where the head is, one mask for each of the poses.
        camera_to_worlds: poses of the recording camera.
        camera: the recording camera; masks may have another size.
        margin: metres added on every side.
    """
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for mask, pose in zip(masks, camera_to_worlds):
        height, width = mask.shape
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            continue
        corners = np.array([(x, y) for x in (columns[0], columns[-1] + 1) for y in (rows[0], rows[-1] + 1)], np.float64)
        distance = np.linalg.norm(pose[:, 3])
        for local in camera.resize(width, height).unproject(corners) * distance:
            point = pose[:, :3] @ local + pose[:, 3]
            low, high = np.minimum(low, point[:2]), np.maximum(high, point[:2])
    if not np.isfinite(low).all():
        low, high = np.array([-0.12, -0.15]), np.array([0.12, 0.17])
    low, high = low - margin, high + margin
    depth = np.clip((high[0] - low[0]) / 0.24, 0.8, 1.2)
    return np.array([[*low, -BEHIND * depth], [*high, AHEAD * depth]])


def head_ellipsoid(box: Float[np.ndarray, "2 3"]) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Centre and radii, metres, of an ellipsoid about as large as the head in a box from `head_box`.

    Its front passes through cheeks and forehead, between the tip of the nose and the temples.
    """
    width, height, depth = box[1] - box[0]
    centre = np.array([box[:, 0].mean(), box[:, 1].mean(), box[0, 2] + 0.45 * depth])
    return centre, np.array([0.4 * width, 0.46 * height, 0.41 * depth])
