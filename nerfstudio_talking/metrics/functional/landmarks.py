"""Mouths compared by landmarks: LMD on FaceMesh points or on a set of 68."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from nerfstudio_talking.face.landmark_sets import CHIN_TIP, FOREHEAD_TOP, MOUTH_68_TO_MESH
from nerfstudio_talking.face.measurements import frames_seen


def mouth_points_68(landmarks: Float[np.ndarray, "*bs points xy"]) -> Float[np.ndarray, "*bs 20 2"]:
    """Points 48 to 67 of a set of 68, or their partners in a set of 468 or 478 (FaceMesh).

    Raises:
        ValueError: for another set.
    """
    count = landmarks.shape[-2]
    if count == 68:
        return landmarks[..., 48:68, :2]
    if count in (468, 478):
        return landmarks[..., MOUTH_68_TO_MESH, :2]
    raise ValueError(f"landmarks come as 68, 468 or 478 points, not {count}")


def landmark_distance(
    rendered: Float[np.ndarray, "*bs points xy"], gt: Float[np.ndarray, "*bs points xy"]
) -> Float64[np.ndarray, "*bs"]:
    """LMD (Chen et al. 2018, as AD-NeRF's successors measure it): mean distance in pixels of the 20 mouth points, each
    set about its own mean. NaN where either face was not found."""
    sets = [mouth_points_68(np.asarray(points, dtype=np.float64)) for points in (rendered, gt)]
    a, b = (points - points.mean(axis=-2, keepdims=True) for points in sets)
    return np.asarray(np.linalg.norm(a - b, axis=-1).mean(axis=-1))


def face_height(landmarks: Float[np.ndarray, "*bs points xy"]) -> Float64[np.ndarray, "*bs"]:
    """Distance in pixels from the top of the forehead to the tip of the chin, FaceMesh points 10 and 152; NaN for a set
    of 68, which has no forehead."""
    if landmarks.shape[-2] == 68:
        return np.full(landmarks.shape[:-2], np.nan)
    points = np.asarray(landmarks[..., :2], dtype=np.float64)
    return np.asarray(np.linalg.norm(points[..., FOREHEAD_TOP, :] - points[..., CHIN_TIP, :], axis=-1))


class LandmarkScore(NamedTuple):
    """LMD of a video."""

    pixels: float
    """Mean over the frames where both faces were found; NaN where there is none."""
    relative: float
    """The same over the median height of the true face, in per cent: videos of other sizes compare."""
    missed_rendered: int
    """Frames in which the true face was found and the rendered one was not: not in the mean, so read them with it."""
    missed_gt: int
    """Frames without a true face; not in the mean either."""


def landmark_score(
    rendered: Float[np.ndarray, "frames points xy"], gt: Float[np.ndarray, "frames points xy"]
) -> LandmarkScore:
    """LMD over the frames of a video, in pixels and in per cent of the face's height, missed faces counted."""
    seen = [frames_seen(points[..., :2]) for points in (rendered, gt)]
    return summarize_distance(landmark_distance(rendered, gt), face_height(gt), seen[0], seen[1])


def summarize_distance(
    distance: Float[np.ndarray, " frames"],
    gt_height: Float[np.ndarray, " frames"],
    seen_rendered: Bool[np.ndarray, " frames"],
    seen_gt: Bool[np.ndarray, " frames"],
) -> LandmarkScore:
    """`landmark_score` from what was measured in each frame.

    Args:
        distance: from `landmark_distance`, in pixels.
        gt_height: from `face_height`, in pixels.
        seen_rendered: whether the rendered face was found.
        seen_gt: whether the true face was found.
    """
    both = seen_rendered & seen_gt
    missed = int((seen_gt & ~seen_rendered).sum()), int((~seen_gt).sum())
    if not both.any():
        return LandmarkScore(np.nan, np.nan, *missed)
    pixels = float(distance[both].mean())
    return LandmarkScore(pixels, 100 * pixels / float(np.median(gt_height[both])), *missed)
