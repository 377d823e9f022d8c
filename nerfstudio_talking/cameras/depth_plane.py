"""Pixels moved onto a plane of constant depth in the head's frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.cameras.pinhole import PinholeCamera

LIP_DEPTH = 0.05
"""Depth of the lips in front of the head's origin, metres. Only parallax, a second-order effect, depends on it."""


def intersect_depth_plane(
    pixels: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    depth: float = LIP_DEPTH,
) -> Float[np.ndarray, "frames points 2"]:
    """Where the pixels' rays meet the plane z = `depth` (metres) of the head's frame: x and y in metres."""
    rotation, translation = camera_to_worlds[:, :, :3], camera_to_worlds[:, :, 3]
    directions = camera.unproject(pixels) @ rotation.transpose(0, 2, 1)
    distance = (depth - translation[:, None, 2]) / directions[..., 2]
    return translation[:, None, :2] + distance[..., None] * directions[..., :2]
