"""Mouths compared by landmarks: LMD on FaceMesh points, and how lip opening follows the ground truth over time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

MOUTH_68_TO_MESH = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
"""FaceMesh points that stand where points 48 to 67 of the 68 do: outer lips from the person's right corner over the
upper lip, then the inner lips the same way round."""
_FOREHEAD, _CHIN = 10, 152


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
) -> Float64[np.ndarray, "*bs"] | np.float64:
    """LMD (Chen et al. 2018, as AD-NeRF's successors measure it): mean distance in pixels of the 20 mouth points, each
    set about its own mean. NaN where either face was not found."""
    sets = [mouth_points_68(np.asarray(points, dtype=np.float64)) for points in (rendered, gt)]
    a, b = (points - points.mean(axis=-2, keepdims=True) for points in sets)
    return np.linalg.norm(a - b, axis=-1).mean(axis=-1)


def face_height(landmarks: Float[np.ndarray, "*bs points xy"]) -> Float64[np.ndarray, "*bs"] | np.float64:
    """Distance in pixels from the top of the forehead to the tip of the chin, FaceMesh points 10 and 152."""
    points = np.asarray(landmarks[..., :2], dtype=np.float64)
    return np.linalg.norm(points[..., _FOREHEAD, :] - points[..., _CHIN, :], axis=-1)


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
    seen_rendered, seen_gt = (np.isfinite(points[..., :2]).all(axis=(1, 2)) for points in (rendered, gt))
    both = seen_rendered & seen_gt
    missed = int((seen_gt & ~seen_rendered).sum()), int((~seen_gt).sum())
    if not both.any():
        return LandmarkScore(np.nan, np.nan, *missed)
    pixels = float(landmark_distance(rendered[both], gt[both]).mean())
    if gt.shape[1] == 68:
        return LandmarkScore(pixels, np.nan, *missed)
    return LandmarkScore(pixels, 100 * pixels / float(np.median(face_height(gt[both]))), *missed)


class Agreement(NamedTuple):
    """How one curve follows another."""

    correlation: float
    """Pearson's, frame by frame; NaN where nothing can be said."""
    best_lag: float
    """Frames by which the first curve is late where they agree best; NaN where nothing can be said, as when that is at
    the end of the lags tried."""
    best_correlation: float
    """At that lag."""


def agreement(rendered: Float[np.ndarray, " frames"], gt: Float[np.ndarray, " frames"], max_lag: int = 12) -> Agreement:
    """Correlation of rendered with true lip opening, and the lag at which it is highest.

    Args:
        rendered: lip opening of each frame, NaN where not seen.
        gt: the same of the ground truth.
        max_lag: lags from minus this to plus this many frames are tried, fewer where the video is short.
    """
    max_lag = max(min(max_lag, len(gt) // 4), 0)
    lags = range(-max_lag, max_lag + 1)
    curve = np.array([_correlation(*_overlap(rendered, gt, lag)) for lag in lags])
    if not np.isfinite(curve).any():
        return Agreement(np.nan, np.nan, np.nan)
    best = int(np.nanargmax(curve))
    inside = max_lag == 0 or 0 < best < len(curve) - 1
    return Agreement(float(curve[max_lag]), float(lags[best]) if inside else np.nan, float(curve[best]))


def _overlap(a: np.ndarray, b: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame i + lag of `a` beside frame i of `b`."""
    length = len(b) - abs(lag)
    return a[max(lag, 0) :][:length], b[max(-lag, 0) :][:length]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    seen = np.isfinite(a) & np.isfinite(b)
    if seen.sum() < 5:
        return np.nan
    a, b = a[seen] - a[seen].mean(), b[seen] - b[seen].mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else np.nan
