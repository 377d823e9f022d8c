"""First guess of a head's shape, from the landmark network's own depth, and the choice of its rigid points.

Head frame: x right in the image of a frontal face, y up from chin to forehead, z out of the face, metres. The origin
lies inside the head, 27 mm below and 32 mm behind the middle of the outer eye corners, about where a canonical face
model has it. Life size follows from one length: outer eye corners lie 89 mm apart in the average adult.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from nerfstudio_talking.face.landmark_sets import (
    BROW_POINTS,
    CHIN_TIP,
    FOREHEAD_TOP,
    INNER_EYE_CORNERS,
    LEFT_EYE_OUTLINE,
    MIRROR_PAIRS,
    NOSE_FLOOR,
    NOSE_WINGS,
    NUM_MESH_POINTS,
    OUTER_EYE_CORNERS,
    RIGHT_EYE_OUTLINE,
)
from nerfstudio_talking.face.similarity import fit_rotation

EYE_CORNER_DISTANCE = 0.089
"""Distance of the outer eye corners in the average adult, metres."""
_ORIGIN_BELOW, _ORIGIN_BEHIND = 0.027, 0.032


def mean_shape(
    landmarks: Float[np.ndarray, "frames points 3"], rounds: int = 4, max_frames: int = 400
) -> Float[np.ndarray, "points 3"]:
    """Mean of the faces of a clip after similarity alignment (generalised Procrustes, Gower 1975), in the head frame.

    Args:
        landmarks: FaceMesh points, x right and y down in pixels, z away from the camera at the scale of x; no NaN.
        rounds: number of alignments to the running mean.
        max_frames: a longer clip is thinned to this many frames.

    Returns:
        Points in metres, OpenGL axes, origin and scale as the module says.
    """
    picks = np.unique(np.linspace(0, len(landmarks) - 1, min(len(landmarks), max_frames)).round().astype(int))
    faces = np.asarray(landmarks[picks], dtype=np.float64) * (1.0, -1.0, -1.0)
    faces -= faces.mean(axis=1, keepdims=True)
    faces /= np.sqrt((faces**2).sum(axis=(1, 2), keepdims=True))
    mean = faces[np.argmin(np.abs(_yaw_cue(faces)))]
    for _ in range(rounds):
        aligned = np.einsum("fpi,fij->fpj", faces, fit_rotation(faces, mean))
        mean = np.median(aligned, axis=0)
        mean -= mean.mean(axis=0)
        mean /= np.sqrt((mean**2).sum())
    return to_head_frame(mean)


def to_head_frame(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Rotate, shift and scale 468 or 478 mesh points (OpenGL axes, any unit) into the head frame, in metres."""
    right, left = (np.array(side) for side in zip(*MIRROR_PAIRS))
    x = (points[left] - points[right]).mean(axis=0)
    x /= np.linalg.norm(x)
    y = points[FOREHEAD_TOP] - points[CHIN_TIP]
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    corners = points[list(OUTER_EYE_CORNERS)]
    scale = EYE_CORNER_DISTANCE / np.linalg.norm(corners[1] - corners[0])
    return (points - corners.mean(axis=0)) @ axes * scale + (0.0, _ORIGIN_BELOW, _ORIGIN_BEHIND)


def rigid_points(shape: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " rigid"]:
    """Indices of the points that move with the skull alone: no mouth, jaw, lower cheek, lid, iris or brow.

    Chosen by position on the given head-frame shape (metres): above the lower edge of the nose, outside an ellipse
    around each eye, off the brows.
    """
    mesh = shape[:NUM_MESH_POINTS]
    floor = mesh[list(NOSE_FLOOR)].mean(axis=0)[1]
    rigid = mesh[:, 1] > floor
    # The muscles of the upper lip pull at the cheek beside the nose.
    nose_half_width = np.abs(mesh[list(NOSE_WINGS), 0]).mean()
    cheek_floor = 0.5 * (floor + mesh[list(INNER_EYE_CORNERS), 1].mean())
    rigid &= (mesh[:, 1] > cheek_floor) | (np.abs(mesh[:, 0]) < 1.1 * nose_half_width)
    for outline in (RIGHT_EYE_OUTLINE, LEFT_EYE_OUTLINE):
        eye = mesh[list(outline)]
        centre, half_width = eye.mean(axis=0), 0.5 * np.ptp(eye[:, 0])
        rigid &= np.hypot((mesh[:, 0] - centre[0]) / (1.2 * half_width), (mesh[:, 1] - centre[1]) / half_width) > 1.0
    rigid[list(BROW_POINTS)] = False
    return np.flatnonzero(rigid)


def _yaw_cue(faces: Float[np.ndarray, "frames points 3"]) -> Float[np.ndarray, " frames"]:
    """Depth difference of the outer eye corners: near 0 in a frontal face."""
    right, left = OUTER_EYE_CORNERS
    return faces[:, right, 2] - faces[:, left, 2]
