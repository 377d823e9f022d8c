"""How far lips and lids are open: the one definition for processing, metrics, motion and mouth shapes.

There are two kinds of quantities.

An *opening* or *gap* is a ratio, measured in the image: the mean distance of the partners in `INNER_LIP_PAIRS` or
`LID_PAIRS` along the face's vertical, over the distance of the outer eye corners. A head pose, where given, undoes
foreshortening: nodding shortens the vertical, turning shortens the horizontal, and neither opens a mouth.

A *distance* is in metres, measured in the head's frame on shapes whose pose is taken out. Over the distance of the
outer eye corners it is the opening of the same face: `lip_opening(camera.project(shape, pose), pose)` is
`max(lip_distance(shape), 0) / eye_corner_distance(shape)` up to perspective.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from nerfstudio_talking.face.landmark_sets import (
    INNER_LIP_PAIRS,
    LID_PAIRS,
    LOWER_LIP_BOTTOM,
    MIDDLE_LIP_PAIR,
    MIDDLE_LIP_PAIR_68,
    MOUTH_CORNERS,
    MOUTH_CORNERS_68,
    OUTER_EYE_CORNERS,
    OUTER_EYE_CORNERS_68,
    OUTER_LIP_PAIR_68,
    UPPER_LIP_TOP,
    mouth_points,
)

_UPPER_LIPS, _LOWER_LIPS = (list(side) for side in zip(*INNER_LIP_PAIRS))


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
    return np.maximum(_gaps(landmarks, INNER_LIP_PAIRS, camera_to_worlds), 0.0).astype(np.float32)


def lip_opening_68(landmarks: Float[np.ndarray, "frames 68 2"]) -> Float32[np.ndarray, " frames"]:
    """Lip opening from sets of 68 points: distance of the middle pair alone, over that of the outer eye corners.

    Close to `lip_opening` without a pose; the pair's distance counts in any direction.
    """
    (upper, lower), (right, left) = MIDDLE_LIP_PAIR_68, OUTER_EYE_CORNERS_68
    gap = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=1)
    return (gap / np.linalg.norm(landmarks[:, right] - landmarks[:, left], axis=1)).astype(np.float32)


def lip_distance(shapes: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, " frames"]:
    """Mean distance of `INNER_LIP_PAIRS` along the face's vertical, metres; negative where tracked lips overlap.

    Args:
        shapes: FaceMesh points in the head's frame, metres. Differences of shapes will do: the distance is linear.
    """
    return shapes[:, _UPPER_LIPS, 1].mean(1) - shapes[:, _LOWER_LIPS, 1].mean(1)


def mouth_measures(shapes: Float[np.ndarray, "frames coordinates"], num_points: int) -> Float[np.ndarray, "frames 3"]:
    """Gap, width and lip thickness of mouth shapes, metres, in any direction and never negative.

    The gap is the distance of the middle inner-lip pair alone; it differs from `lip_distance`, whose three pairs a
    mouth shape made from 68 landmarks does not have. The width is that of the corners. The thickness is that of both
    lips in the middle: with the width it is what a camera in front sees of protrusion, which narrows the mouth and
    shows more of the lips.

    Args:
        shapes: x and y of the `mouth_points` in the head's frame, metres, one point after the other.
        num_points: size of the landmark set that the shapes were made from: 478 (or 468), or 68.
    """
    points = mouth_points(num_points)
    if num_points == 68:
        pairs = (MIDDLE_LIP_PAIR_68, MOUTH_CORNERS_68, OUTER_LIP_PAIR_68)
    else:
        pairs = (MIDDLE_LIP_PAIR, MOUTH_CORNERS, (UPPER_LIP_TOP, LOWER_LIP_BOTTOM))
    xy = shapes.reshape(len(shapes), -1, 2)
    gap, width, height = (np.linalg.norm(xy[:, points.index(a)] - xy[:, points.index(b)], axis=-1) for a, b in pairs)
    return np.stack([gap, width, np.maximum(height - gap, 0)], axis=1)


def eye_corner_distance(shape: Float[np.ndarray, "478 xyz"]) -> float:
    """Distance of the outer eye corners, in the unit of the points."""
    right, left = OUTER_EYE_CORNERS
    return float(np.linalg.norm(shape[left] - shape[right]))


def lid_gap(
    landmarks: Float[np.ndarray, "frames points xy"], camera_to_worlds: Float[np.ndarray, "frames 3 4"] | None = None
) -> Float32[np.ndarray, "frames 2"]:
    """Lid gap of the person's right and left eye over the distance of the outer eye corners; about 0.1 when open.

    Arguments as in `lip_opening`.
    """
    both = [_gaps(landmarks, pairs, camera_to_worlds) for pairs in LID_PAIRS]
    return np.maximum(np.stack(both, axis=-1), 0.0).astype(np.float32)


def eye_opening(
    gaps: Float[np.ndarray, "frames 2"], open_percentile: float = 80.0, most: float = 1.5
) -> Float32[np.ndarray, "frames 2"]:
    """Lid gaps on the person's own scale: 0 closed, 1 as open as the eye usually is, at most `most`.

    One scale per eye. Closed is the least gap seen in the clip, held between 5 % and 30 % of the open one: a clip
    without a blink must not stretch small changes, and lids with lashes never quite meet. NaN stays NaN.

    Args:
        gaps: from `lid_gap`.
        open_percentile: percentile of the gaps in the clip that counts as the eye's usual opening.
        most: upper bound of the result.
    """
    gaps = np.asarray(gaps, dtype=np.float64)
    seen = np.isfinite(gaps).all(axis=1)
    if not seen.any():
        return np.full(gaps.shape, np.nan, dtype=np.float32)
    wide = np.maximum(np.percentile(gaps[seen], open_percentile, axis=0), 1e-6)
    closed = np.clip(gaps[seen].min(axis=0), 0.05 * wide, 0.3 * wide)
    return np.clip((gaps - closed) / (wide - closed), 0.0, most).astype(np.float32)


def mean_eye_opening(eyes: Float[np.ndarray, "frames eyes"]) -> Float[np.ndarray, " frames"]:
    """Mean of both `eye_opening`s of each frame; NaN counts as open, 1."""
    return np.nan_to_num(eyes.mean(1), nan=1.0).astype(np.float64)


def lid_closure(opening: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    """Closure of the lids, from 0 (open, at an opening of 1 or more) to 1 (closed)."""
    return 1.0 - np.clip(opening, 0.0, 1.0)


def frames_seen(points: Float[np.ndarray, "frames points xy"]) -> Bool[np.ndarray, " frames"]:
    """True where a frame's points are all finite: a face was found."""
    return np.asarray(np.isfinite(points).all(axis=(1, 2)))


def fill_gaps(values: Float[np.ndarray, "frames ..."]) -> Float[np.ndarray, "frames ..."]:
    """Interpolate rows that hold NaN linearly in time, held beyond the ends; unchanged where no row is finite."""
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
    right, left = OUTER_EYE_CORNERS
    across = points[:, left] - points[:, right]
    width = np.linalg.norm(across, axis=-1)
    if camera_to_worlds is None:
        # The vertical is perpendicular to the line through the eye corners, pointing to the chin.
        down = np.stack([-across[:, 1], across[:, 0]], axis=-1) / width[:, None]
        return np.einsum("fpi,fi->fp", lower - upper, down).mean(axis=1) / width
    # The head's own axes in the image (y down): rows of the head-to-camera rotation, transposed camera-to-world.
    head = np.asarray(camera_to_worlds, dtype=np.float64)[:, :, :3].transpose(0, 2, 1)
    horizontal = np.linalg.norm(head[:, :2, 0], axis=-1)
    down = np.stack([-head[:, 0, 1], head[:, 1, 1]], axis=-1)
    vertical = np.maximum(np.linalg.norm(down, axis=-1), 0.3)
    gap = np.einsum("fpi,fi->fp", lower - upper, down / vertical[:, None]).mean(axis=1) / vertical
    return gap * np.maximum(horizontal, 0.3) / width
