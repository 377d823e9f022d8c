"""The image plane of torso and background: fixed in the recording camera's frame, parallel to its image.

A ray of any camera meets the plane at a point; the recording camera's projection of that point is the position in the
recorded image that the ray shows. For the recording camera itself that is the ray's own pixel, at any distance of the
plane.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera


def plane_positions(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    recorded_to_worlds: Float[Tensor, "rays 3 4"],
    distance: float,
    camera: PinholeCamera,
) -> Float[Tensor, "rays 2"]:
    """Positions in the recorded image where rays meet the plane.

    Args:
        origins: ray origins in the head's frame, metres.
        directions: ray directions in the head's frame, any length.
        recorded_to_worlds: camera-to-world of the recording camera at each ray's time (OpenGL axes).
        distance: distance of the plane from the recording camera, metres.
        camera: the recording camera.

    Returns:
        Positions with x right and y down; -1 and 1 are the image's edges. Rays that never meet the
        plane get positions far outside (absolute value 10), which sample the image's border.
    """
    rotation, translation = recorded_to_worlds[:, :, :3], recorded_to_worlds[:, :, 3]
    o = torch.einsum("nij,ni->nj", rotation, origins - translation)
    d = torch.einsum("nij,ni->nj", rotation, directions)
    depth = d[:, 2:]
    safe = torch.where(depth < -1e-6, depth, torch.full_like(depth, -1e-6))
    point = o + d * ((-distance - o[:, 2:]) / safe)  # (R, 3), z = -distance
    across, down = camera.uv_per_metre
    return torch.stack([point[:, 0] * (across / distance), point[:, 1] * (down / distance)], dim=-1).clamp(-10.0, 10.0)


def apply_affine(
    positions: Float[Tensor, "*#bs 2"], motions: Float[Tensor, "*#bs 2 3"], inverse: bool = False
) -> Float[Tensor, "*#bs 2"]:
    """Positions moved by affine maps, or by their inverses."""
    # written out: batched products and solves of 2x2 matrices cost many times their arithmetic
    (a, b, dx), (c, d, dy) = (motions[..., row, :].unbind(-1) for row in (0, 1))
    x, y = positions.unbind(-1)
    if not inverse:
        return torch.stack([a * x + b * y + dx, c * x + d * y + dy], -1)
    x, y, scale = x - dx, y - dy, 1 / (a * d - b * c)
    return torch.stack([(d * x - b * y) * scale, (a * y - c * x) * scale], -1)
