"""The first guess of a head's shape, from the landmark network's own depth, and the part of it that is rigid.

Head frame: x right in the image of a frontal face, y up from chin to forehead, z out of the face, metres. The origin
lies inside the head, 27 mm below and 32 mm behind the middle of the outer eye corners, about where a canonical face
model has it. Life size comes from one figure: outer eye corners lie 89 mm apart in the average adult.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

OUTER_EYE_CORNERS = (33, 263)
EYE_CORNER_DISTANCE = 0.089
"""Distance of the outer eye corners in the average adult, metres."""
_ORIGIN_BELOW, _ORIGIN_BEHIND = 0.027, 0.032
# Left and right partners, spread over the face: their mean direction is the x axis.
_MIRROR_PAIRS = ((33, 263), (133, 362), (127, 356), (234, 454), (54, 284), (103, 332), (61, 291), (48, 278), (50, 280))
_FOREHEAD, _CHIN = 10, 152
_EYE_RINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_BROWS = (46, 52, 53, 55, 63, 65, 66, 70, 105, 107, 276, 282, 283, 285, 293, 295, 296, 300, 334, 336)
_NUM_MESH_POINTS = 468


def mean_shape(
    landmarks: Float[np.ndarray, "frames points 3"], rounds: int = 4, max_frames: int = 400
) -> Float[np.ndarray, "points 3"]:
    """Mean of the faces of a clip after similarity alignment (generalised Procrustes, Gower 1975), in the head frame.

    Args:
        landmarks: FaceMesh points, x right and y down in pixels, z away from the camera at the scale of x; no NaN.
        rounds: alignments to the running mean.
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
        u, s, vt = np.linalg.svd(np.einsum("fpi,pj->fij", faces, mean))
        flip = np.ones_like(s)
        flip[:, 2] = np.sign(np.linalg.det(u @ vt))
        rotation = (u * flip[:, None]) @ vt
        aligned = np.einsum("fpi,fij->fpj", faces, rotation)
        mean = np.median(aligned, axis=0)
        mean -= mean.mean(axis=0)
        mean /= np.sqrt((mean**2).sum())
    return to_head_frame(mean)


def to_head_frame(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Turn, shift and scale 468 or 478 mesh points (OpenGL axes, any unit) into the head frame, in metres."""
    right, left = (np.array(side) for side in zip(*_MIRROR_PAIRS))
    x = (points[left] - points[right]).mean(axis=0)
    x /= np.linalg.norm(x)
    y = points[_FOREHEAD] - points[_CHIN]
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    corners = points[list(OUTER_EYE_CORNERS)]
    scale = EYE_CORNER_DISTANCE / np.linalg.norm(corners[1] - corners[0])
    return (points - corners.mean(axis=0)) @ axes * scale + (0.0, _ORIGIN_BELOW, _ORIGIN_BEHIND)


def rigid_points(shape: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " rigid"]:
    """Indices of the points that move with the skull alone: no mouth, jaw, lower cheek, lid, iris or brow.

    Chosen by place on the given head-frame shape (metres): above the lower edge of the nose, outside an ellipse
    around each eye, off the brows.
    """
    mesh = shape[:_NUM_MESH_POINTS]
    floor = mesh[[2, 98, 327]].mean(axis=0)[1]
    keep = mesh[:, 1] > floor
    # The muscles of the upper lip pull at the cheek beside the nose.
    nose_half_width = np.abs(mesh[[48, 278], 0]).mean()
    cheek_floor = 0.5 * (floor + mesh[[133, 362], 1].mean())
    keep &= (mesh[:, 1] > cheek_floor) | (np.abs(mesh[:, 0]) < 1.1 * nose_half_width)
    for ring in _EYE_RINGS:
        eye = mesh[list(ring)]
        centre, half_width = eye.mean(axis=0), 0.5 * np.ptp(eye[:, 0])
        keep &= np.hypot((mesh[:, 0] - centre[0]) / (1.2 * half_width), (mesh[:, 1] - centre[1]) / half_width) > 1.0
    keep[list(_BROWS)] = False
    return np.flatnonzero(keep)


def _yaw_cue(faces: Float[np.ndarray, "frames points 3"]) -> Float[np.ndarray, " frames"]:
    """Depth difference of the outer eye corners: near 0 in a frontal face."""
    right, left = OUTER_EYE_CORNERS
    return faces[:, right, 2] - faces[:, left, 2]
