"""Flicker: what changes from a frame to the next and should not."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from nerfstudio_talking.media.optical_flow import flow_field, warp


def temporal_error(
    rendered: tuple[np.ndarray, np.ndarray],
    gt: tuple[np.ndarray, np.ndarray],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """Mean |change of the rendering - change of the ground truth| from a frame to the next, over a mask, in levels of
    255.

    A constant error, however large, does not count; what comes and goes does. 0 for identical videos.

    Args:
        rendered: two successive uint8 frames.
        gt: the same two of the ground truth.
        mask: where; NaN where it is empty.
    """
    import cv2

    if not mask.any():
        return float("nan")
    changes = [np.subtract(after, before, dtype=np.int16) for before, after in (rendered, gt)]
    return float(np.mean(cv2.mean(cv2.absdiff(*changes), mask.astype(np.uint8))[:3]))


def warping_error(
    before: UInt8[np.ndarray, "height width 3"],
    after: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """Mean |frame - the one before, warped by the motion between them| over a mask, in levels of 255.

    What changes without moving: a sharp image that moves has next to none, and noise has all of its own. After Lai
    et al. 2018 (Learning Blind Video Temporal Consistency), without their mask of what was covered: read it beside the
    ground truth's.

    Args:
        before: a frame.
        after: the next one.
        mask: where in it; NaN where it is empty.
    """
    import cv2

    if not mask.any():
        return float("nan")
    back = flow_field(after, before)
    return float(np.mean(cv2.mean(cv2.absdiff(warp(before, back), after), mask.astype(np.uint8))[:3]))


def flicker(frames: tuple[np.ndarray, np.ndarray], mask: Bool[np.ndarray, "height width"]) -> float:
    """Mean change of a video from a frame to the next over a mask, in levels of 255: of a background, its flicker."""
    still = (frames[0], frames[0])
    return temporal_error(frames, still, mask)
