"""What a face does, measured from FaceMesh landmarks: eye opening, lip opening, boxes of face and mouth.

Gaps are taken along the face's vertical and divided by the distance of the outer eye corners. A head pose, where given,
undoes foreshortening: nodding shortens the vertical, turning shortens the horizontal, and neither opens a mouth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from nerfstudio_talking.face.landmark_sets import OUTER_LIPS

OUTER_EYE_CORNERS = (33, 263)
EYE_LIDS = (((160, 144), (159, 145), (158, 153)), ((387, 373), (386, 374), (385, 380)))
"""Upper and lower lid partners over the middle of each eye: the person's right eye, then the left."""
INNER_LIPS = ((82, 87), (13, 14), (312, 317))
"""Upper and lower partners over the middle of the inner lip contour."""
NUM_MESH_POINTS = 468


def lip_opening(
    landmarks: Float[np.ndarray, "frames points xy"], camera_to_worlds: Float[np.ndarray, "frames 3 4"] | None = None
) -> Float32[np.ndarray, " frames"]:
    """Inner-lip gap over the distance of the outer eye corners, from 0 (closed); about 0.3 in a wide vowel.

    Args:
        landmarks: 478 (or 468) FaceMesh points in pixels; only x and y are read; NaN where no face is seen.
        camera_to_worlds: head poses (world = head) that undo foreshortening.

    Returns:
        One value per frame, NaN where no face is seen.
    """
    return np.maximum(_gaps(landmarks, INNER_LIPS, camera_to_worlds), 0.0).astype(np.float32)


def lid_gap(
    landmarks: Float[np.ndarray, "frames points xy"], camera_to_worlds: Float[np.ndarray, "frames 3 4"] | None = None
) -> Float32[np.ndarray, "frames 2"]:
    """Lid gap of the person's right and left eye over the distance of the outer eye corners; about 0.1 when open.

    Arguments as in `lip_opening`.
    """
    both = [_gaps(landmarks, pairs, camera_to_worlds) for pairs in EYE_LIDS]
    return np.maximum(np.stack(both, axis=-1), 0.0).astype(np.float32)


def eye_opening(
    gaps: Float[np.ndarray, "frames 2"], open_percentile: float = 80.0, most: float = 1.5
) -> Float32[np.ndarray, "frames 2"]:
    """Lid gaps on the person's own scale: 0 closed, 1 as open as the eye usually is, at most `most`.

    One scale per eye. Closed is the least gap seen in the clip, held between 5 % and 30 % of the open one: a clip
    without a blink must not stretch small changes, and lids with lashes never quite meet. NaN stays NaN.

    Args:
        gaps: from `lid_gap`.
        open_percentile: of the gaps in the clip, the eye's usual opening.
        most: upper bound of the result.
    """
    gaps = np.asarray(gaps, dtype=np.float64)
    seen = np.isfinite(gaps).all(axis=1)
    if not seen.any():
        return np.full(gaps.shape, np.nan, dtype=np.float32)
    wide = np.maximum(np.percentile(gaps[seen], open_percentile, axis=0), 1e-6)
    closed = np.clip(gaps[seen].min(axis=0), 0.05 * wide, 0.3 * wide)
    return np.clip((gaps - closed) / (wide - closed), 0.0, most).astype(np.float32)


def face_boxes(landmarks: Float[np.ndarray, "frames points xy"]) -> Float32[np.ndarray, "frames 4"]:
    """Bounds of the mesh points per frame: left, top, right, bottom in pixels; NaN where no face is seen."""
    return _bounds(landmarks[:, :NUM_MESH_POINTS])


def mouth_boxes(
    landmarks: Float[np.ndarray, "frames points xy"], margin: float = 0.4
) -> Float32[np.ndarray, "frames 4"]:
    """Bounds of the lips per frame as in `face_boxes`, wider on every side by `margin` of the mouth's width."""
    bounds = _bounds(landmarks[:, OUTER_LIPS])
    grow = margin * (bounds[:, 2] - bounds[:, 0])
    return bounds + np.stack([-grow, -grow, grow, grow], axis=-1)


def frames_seen(points: Float[np.ndarray, "frames points xy"]) -> Bool[np.ndarray, " frames"]:
    """True where a frame's points are all finite: a face was found."""
    return np.asarray(np.isfinite(points).all(axis=(1, 2)))


def fill_gaps(values: Float[np.ndarray, "frames ..."]) -> Float[np.ndarray, "frames ..."]:
    """Rows with NaN interpolated linearly in time, held beyond the ends; unchanged where no row is whole."""
    flat = values.reshape(len(values), -1).copy()
    seen = np.isfinite(flat).all(axis=1)
    if not seen.any() or seen.all():
        return values
    frames = np.arange(len(flat))
    for column in range(flat.shape[1]):
        flat[~seen, column] = np.interp(frames[~seen], frames[seen], flat[seen, column])
    return flat.reshape(values.shape)


def _gaps(
    landmarks: Float[np.ndarray, "frames points xy"],
    pairs: tuple[tuple[int, int], ...],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"] | None,
) -> Float[np.ndarray, " frames"]:
    """Mean of lower minus upper along the face's vertical, over the eye corner distance, foreshortening undone."""
    points = np.asarray(landmarks[..., :2], dtype=np.float64)
    upper, lower = (points[:, list(side)] for side in zip(*pairs))
    across = points[:, OUTER_EYE_CORNERS[1]] - points[:, OUTER_EYE_CORNERS[0]]
    width = np.linalg.norm(across, axis=-1)
    if camera_to_worlds is None:
        # The vertical is what stands on the line of the eyes, pointing to the chin.
        down = np.stack([-across[:, 1], across[:, 0]], axis=-1) / width[:, None]
        return np.einsum("fpi,fi->fp", lower - upper, down).mean(axis=1) / width
    # The head's own axes in the image (y down): rows of the head-to-camera rotation, transposed camera-to-world.
    head = np.asarray(camera_to_worlds, dtype=np.float64)[:, :, :3].transpose(0, 2, 1)
    horizontal = np.linalg.norm(head[:, :2, 0], axis=-1)
    down = np.stack([-head[:, 0, 1], head[:, 1, 1]], axis=-1)
    vertical = np.maximum(np.linalg.norm(down, axis=-1), 0.3)
    gap = np.einsum("fpi,fi->fp", lower - upper, down / vertical[:, None]).mean(axis=1) / vertical
    return gap * np.maximum(horizontal, 0.3) / width


def _bounds(points: Float[np.ndarray, "frames points xy"]) -> Float32[np.ndarray, "frames 4"]:
    xy = points[..., :2]
    return np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=-1).astype(np.float32)
