"""The body's rest frame: points of the moving body mapped to their positions when the body is at rest.

World is the head, so shoulders that stand still before the camera move in it as the head rotates. Seen from the
recording camera they stand still but for the body's own motion, which the track holds as an affine map of the image
(dataset_io/track.py).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera


def middle_frame(poses: Float[np.ndarray, "frames 3 4"]) -> int:
    """The frame whose camera is nearest to the mean of all."""
    return int(np.linalg.norm(poses[:, :, 3] - poses[:, :, 3].mean(0), axis=1).argmin())


def to_body(
    points: Float[Tensor, "points 3"],
    poses: Float[Tensor, "points 3 4"],
    motions: Float[Tensor, "points 2 3"],
    rest_pose: Float[Tensor, "3 4"],
    camera: PinholeCamera,
) -> Float[Tensor, "points 3"]:
    """Map points of the body, in the head's frame at some time, to their positions at rest.

    The depth of a point before the camera stays; the inverse of the body's motion is applied to its position in the
    image; the result is seen from the camera at `rest_pose`. With that pose and no motion nothing moves.

    Args:
        points: metres, in the head's frame.
        poses: camera-to-world of the recording camera at each point's time.
        motions: affine motion of the body at each point's time, as in `TalkingTrack.body`.
        rest_pose: camera-to-world of the frame that counts as rest.
        camera: the recording camera.
    """
    local = torch.einsum("nij,ni->nj", poses[:, :, :3], points - poses[:, :, 3])
    depth = (-local[:, 2:]).clamp_min(1e-3)
    per_metre = local.new_tensor(camera.uv_per_metre)
    seen = local[:, :2] / depth * per_metre
    rest = apply_affine(seen, motions, inverse=True) * depth / per_metre
    return torch.cat([rest, -depth], -1) @ rest_pose[:, :3].T + rest_pose[:, 3]


def portrait_box(
    head_box: Float[np.ndarray, "2 3"],
    poses: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    behind: float = 0.05,
) -> Float[np.ndarray, "2 3"]:
    """Corners, metres, of a box about the whole person that the recording shows, torso and head.

    The lower half of the image's border is projected onto the plane through the head's origin, for every pose; the box
    encloses that and the head's box. The body extends farther back than the head by `behind` metres.
    """
    distance = np.linalg.norm(poses[:, :, 3], axis=1)
    corners = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, -1.0], [1.0, -1.0]]) / np.abs(camera.uv_per_metre)
    local = np.concatenate([corners, -np.ones((4, 1))], axis=1)[None] * distance[:, None, None]
    world = np.einsum("fij,fpj->fpi", poses[:, :, :3], local) + poses[:, None, :, 3]
    low, high = np.minimum(head_box[0], world.min((0, 1))), np.maximum(head_box[1], world.max((0, 1)))
    return np.array([[low[0], low[1], head_box[0, 2] - behind], [high[0], high[1], head_box[1, 2]]])


def torso_ellipsoid(
    head_box: Float[np.ndarray, "2 3"], box: Float[np.ndarray, "2 3"]
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Centre and radii, metres, of an ellipsoid about shoulders and neck in a box from `portrait_box`."""
    width, _, depth = box[1] - box[0]
    chin = head_box[0, 1]
    centre = np.array([head_box[:, 0].mean(), box[0, 1], box[0, 2] + 0.4 * depth])
    return centre, np.array([0.5 * width, 0.9 * max(chin - box[0, 1], 0.05), 0.35 * depth])
