"""The plane that carries torso and background: fixed in the recording camera's frame, parallel to its image.

A ray of any camera meets the plane at a point; the recording camera's projection of that point says where in the
recorded image to look. For the recording camera itself that is the ray's own pixel, at any distance of the plane.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def plane_positions(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    recorded_to_worlds: Float[Tensor, "rays 3 4"],
    distance: float,
    focal: float,
    width: int,
    height: int,
) -> Float[Tensor, "rays 2"]:
    """Where rays meet the plane, in the recorded image.

    Args:
        origins: ray origins in the head's frame, metres.
        directions: ray directions in the head's frame, any length.
        recorded_to_worlds: camera-to-world of the recording camera at each ray's time (OpenGL axes).
        distance: of the plane from the recording camera, metres.
        focal: focal length in pixels of the recording.
        width: of the recorded image, pixels.
        height: of the recorded image, pixels.

    Returns:
        Positions with x right and y down; -1 and 1 are the image's edges. Rays that run away from the plane or
        along it get positions far outside (absolute value 10), which samples as the image's border.
    """
    rotation, translation = recorded_to_worlds[:, :, :3], recorded_to_worlds[:, :, 3]
    o = torch.einsum("nij,ni->nj", rotation, origins - translation)
    d = torch.einsum("nij,ni->nj", rotation, directions)
    depth = d[:, 2:]
    safe = torch.where(depth < -1e-6, depth, torch.full_like(depth, -1e-6))
    point = o + d * ((-distance - o[:, 2:]) / safe)  # (R, 3), z = -distance
    u = point[:, 0] * (2 * focal / (distance * width))
    v = -point[:, 1] * (2 * focal / (distance * height))
    return torch.stack([u, v], dim=-1).clamp(-10.0, 10.0)


def apply_affine(
    positions: Float[Tensor, "*#bs 2"], motions: Float[Tensor, "*#bs 2 3"], inverse: bool = False
) -> Float[Tensor, "*#bs 2"]:
    """Positions at rest carried by affine motions to where they are seen; `back` from there to rest."""
    # written out: batches of two-by-two products and solutions cost many times their arithmetic
    (a, b, dx), (c, d, dy) = (motions[..., row, :].unbind(-1) for row in (0, 1))
    x, y = positions.unbind(-1)
    if not inverse:
        return torch.stack([a * x + b * y + dx, c * x + d * y + dy], -1)
    x, y, scale = x - dx, y - dy, 1 / (a * d - b * c)
    return torch.stack([(d * x - b * y) * scale, (a * y - c * x) * scale], -1)


def project(
    points: Float[Tensor, "points 3"],
    camera_to_worlds: Float[Tensor, "frames 3 4"],
    focal: float,
    width: int,
    height: int,
) -> Float[Tensor, "frames points 2"]:
    """Points in the head's frame as the recording camera sees them, in the same positions as `plane_positions`."""
    rotation, translation = camera_to_worlds[:, :, :3], camera_to_worlds[:, :, 3]
    local = torch.einsum("fij,fpi->fpj", rotation, points[None] - translation[:, None])
    depth = (-local[..., 2]).clamp_min(1e-6)
    return torch.stack([2 * focal * local[..., 0] / (depth * width), -2 * focal * local[..., 1] / (depth * height)], -1)


_LIP_DEPTH = 0.05
"""Depth of the lips in front of the head's origin, metres. Only parallax, a second-order effect, depends on it."""


def unproject_landmarks(
    landmarks: Float[np.ndarray, "frames points 2"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    focal: float,
    width: int,
    height: int,
    depth: float = _LIP_DEPTH,
) -> Float[np.ndarray, "frames points 2"]:
    """Where the landmarks' rays meet the plane z = `depth` of the head's frame: x and y in metres."""
    local = np.stack(
        [
            (landmarks[..., 0] - width / 2) / focal,
            -(landmarks[..., 1] - height / 2) / focal,
            -np.ones(landmarks.shape[:2]),
        ],
        axis=-1,
    )
    rotation, translation = camera_to_worlds[:, :, :3], camera_to_worlds[:, :, 3]
    directions = np.einsum("fij,fpj->fpi", rotation, local)
    distance = (depth - translation[:, None, 2]) / directions[..., 2]
    return translation[:, None, :2] + distance[..., None] * directions[..., :2]
