"""Torso references: images of neck and clothes, continued under the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from scipy.spatial.transform import Rotation

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.mesh_rendering.torso_layer import torso_image

_RADIANS_PER_METRE = 2.0
"""Weight of a metre of translation against a radian of rotation in the distance of poses."""


def torso_references(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    parsings: Callable[[], Iterator[UInt8[np.ndarray, "height width"]]],
    camera_to_worlds: Float32[np.ndarray, "frames 3 4"],
    count: int = 3,
) -> tuple[UInt8[np.ndarray, "references height width 4"], Int64[np.ndarray, " references"]]:
    """Images of the torso from the frames whose head poses differ most.

    Alpha is 255 on neck and clothes with a soft edge, and where they continue under the head. Colours are continued
    beyond that, so that blending and filtering mix in no other colour.

    Args:
        frames: returns an iterator over the RGB frames.
        parsings: returns an iterator over their parsing labels.
        camera_to_worlds: the recording camera in the head's frame.
        count: number of images; fewer where the clip has fewer frames.

    Returns:
        RGBA images, and the frame that each shows, in ascending order.

    Raises:
        TalkingError: fewer frames than poses.
    """
    chosen = spread_poses(camera_to_worlds, count)
    wanted = set(chosen.tolist())
    images = [
        torso_image(frame, ids) for index, (frame, ids) in enumerate(zip(frames(), parsings())) if index in wanted
    ]
    if len(images) != len(chosen):
        raise TalkingError(
            "torso",
            expected=f"frames {chosen.tolist()}",
            found=f"{len(images)} of them",
            hint="Process the clip again.",
        )
    return np.stack(images), chosen


def spread_poses(camera_to_worlds: Float32[np.ndarray, "frames 3 4"], count: int) -> Int64[np.ndarray, " chosen"]:
    """Frames spread over the head's poses, ascending: the most central one, then the farthest from those chosen."""
    rotations = Rotation.from_matrix(camera_to_worlds[:, :, :3].astype(np.float64))
    relative = (rotations.mean().inv() * rotations).as_rotvec()
    points = np.concatenate([relative, _RADIANS_PER_METRE * camera_to_worlds[:, :, 3]], axis=1)
    first = np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()
    chosen = [int(first)]
    distance = np.linalg.norm(points - points[first], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.sort(np.array(chosen, dtype=np.int64))
