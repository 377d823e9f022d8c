"""Face meshes written as files and drawn over an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.landmark_sets import NUM_MESH_POINTS
from nerfstudio_talking.face.linear_face_model import canonical_face, landmarks_of_shapes
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import make_folder, new_file


def write_mesh(shape: Float[np.ndarray, "478 3"], path: Path) -> None:
    """Write a face in the head's frame, metres, as .ply or .obj by the path's suffix, atomically.

    Raises:
        TalkingError: another suffix.
    """
    import trimesh

    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("ply", "obj"):
        raise TalkingError(path, expected="a name ending in .ply or .obj", found=path.suffix, hint="Rename the output.")
    mesh = trimesh.Trimesh(shape[:NUM_MESH_POINTS], canonical_face()[1], process=False)  # no triangle has an iris point
    content: Any = mesh.export(file_type=kind)
    make_folder(path.parent)
    with new_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def draw_mesh(
    image: UInt8[np.ndarray, "height width 3"],
    shape: Float[np.ndarray, "478 3"],
    camera_to_world: Float[np.ndarray, "3 4"],
    camera: PinholeCamera,
    colour: tuple[int, int, int] = (60, 220, 120),
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the edges of a face's visible triangles over a copy of an image.

    Args:
        image: RGB.
        shape: points in the head's frame, metres.
        camera_to_world: head pose.
        camera: of this image's size.
        colour: RGB.
    """
    import cv2

    points = landmarks_of_shapes(shape[None], camera_to_world[None], camera)[0]
    corners = points[canonical_face()[1]]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0] < 0  # counter-clockwise, with y down
    sixteenths = np.round((corners[front] - 0.5) * 16).astype(np.int32)
    drawn = np.ascontiguousarray(image)
    if drawn is image:
        drawn = image.copy()
    cv2.polylines(drawn, list(sixteenths), True, colour, 1, cv2.LINE_AA, shift=4)
    return drawn
