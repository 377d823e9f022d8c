"""Body motion in the image: one affine map per frame, tracked on the pixels of the clothes.

Shoulders lean and sway by themselves: the head's pose says little about them. A portrait without this motion blurs
collar and lapels over all their positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, class_mask

_SIDE = 256
"""Longer side in pixels at which motion is tracked; half a pixel there is less than a field resolves. Smaller images
are enlarged: a quarter of 128 pixels is too small to fit six parameters."""
_REST_CANDIDATES = 64
"""Number of frames from which the rest frame is chosen."""
_LEAST_SHARE = 0.005
"""Least share of the image that clothes must cover."""
_LEAST_CORRELATION = 0.8
"""Correlation with the rest frame below which the body counts as lost."""
_MARGIN = 1 / 32
"""Margin about the clothes, as a share of the image's height: their outline is part of the template."""
_STEPS = (25, 20, 12)
"""Iterations at a quarter, half and full size."""


def track_body(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    parsings: Callable[[], Iterator[UInt8[np.ndarray, "height width"]]],
    num_frames: int,
    advance: Callable[[], Any] = lambda: None,
) -> tuple[Float32[np.ndarray, "frames 2 3"], Float32[np.ndarray, " frames"]]:
    """Affine motion of the body in every frame against a rest frame of the clip, by enhanced correlation (ECC).

    Evangelidis and Psarakis (Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization, PAMI
    2008), coarse to fine in three sizes, starting from the motion of the previous frame; invariant to even changes of
    light. The template is the clothes of the rest frame and a margin about them, without the head.

    Args:
        frames: returns an iterator over the RGB frames.
        parsings: returns an iterator over their parsing labels.
        num_frames: number of frames.
        advance: called after each frame.

    Returns:
        Affine maps from positions at rest to positions in each frame, both in [-1, 1] (x right, y down); and the
        correlation of each frame, NaN where the body was lost and its motion is interpolated. In a clip that shows no
        clothes the body is at rest, with correlation NaN throughout.
    """
    import cv2

    still = np.tile(np.eye(2, 3, dtype=np.float32), (num_frames, 1, 1))
    rest = _find_rest_frame(frames, parsings, num_frames)
    if rest is None:
        return still, np.full(num_frames, np.nan, np.float32)
    image, mask = rest
    template = [_downsample(image, times) for times in (2, 1, 0)]
    masks = [cv2.resize(mask, level.shape[::-1], interpolation=cv2.INTER_NEAREST) for level in template]
    criteria = [(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4) for steps in _STEPS]

    def align(levels: list[np.ndarray], motion: np.ndarray) -> tuple[float, np.ndarray]:
        motion = motion.astype(np.float32)
        motion[:, 2] /= 4
        correlation = -1.0
        for level in range(3):
            try:
                correlation, motion = cv2.findTransformECC(
                    template[level], levels[level], motion, cv2.MOTION_AFFINE, criteria[level], masks[level], 5
                )
            except cv2.error:  # the template has left the image
                return -1.0, motion
            if level < 2:
                motion[:, 2] *= 2
        return correlation, motion

    motions, correlations = still.astype(np.float64), np.full(num_frames, np.nan)
    previous = still[0]
    for index, frame in enumerate(frames()):
        grey = _to_grey(frame)
        levels = [_downsample(grey, times) for times in (2, 1, 0)]
        correlation, motion = align(levels, previous)
        if correlation < _LEAST_CORRELATION:
            correlation, motion = max(((correlation, motion), align(levels, still[0])), key=lambda pair: pair[0])
        previous = still[0]
        if correlation >= _LEAST_CORRELATION and 0.5 < np.linalg.det(motion[:, :2]) < 2:
            motions[index], correlations[index] = motion, correlation
            previous = motion
        advance()
    seen = ~np.isnan(correlations)
    if not seen.any():
        return still, correlations.astype(np.float32)
    flat = motions.reshape(num_frames, 6)
    for column in range(6):
        flat[:, column] = np.interp(np.arange(num_frames), np.flatnonzero(seen), flat[seen, column])
    return _to_position_motions(flat.reshape(-1, 2, 3), image.shape), correlations.astype(np.float32)


def _find_rest_frame(
    frames: Callable[[], Iterator[np.ndarray]], parsings: Callable[[], Iterator[np.ndarray]], num_frames: int
) -> tuple[Float32[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]] | None:
    """The sampled frame most like the others on the clothes, in grey, and the template's mask; None without clothes."""
    import cv2

    count = min(_REST_CANDIDATES, num_frames)
    wanted = set(np.unique(np.linspace(0, num_frames - 1, count).round().astype(int)).tolist())
    greys, maps = [], []
    for index, (frame, ids) in enumerate(zip(frames(), parsings())):
        if index in wanted:
            greys.append(_to_grey(frame))
            maps.append(cv2.resize(ids, greys[-1].shape[::-1], interpolation=cv2.INTER_NEAREST))
    clothes = np.stack([ids == CLASS_ID["cloth"] for ids in maps])
    common = clothes.mean(0) > 0.5
    if common.mean() < _LEAST_SHARE:
        return None
    median = np.median(np.stack(greys), axis=0)
    rest = int(np.argmin([np.abs(grey - median)[common].mean() for grey in greys]))
    margin = 2 * round(_MARGIN * median.shape[0]) + 1
    mask = cv2.dilate(clothes[rest].astype(np.uint8), np.ones((margin, margin), np.uint8))
    mask[cv2.dilate(class_mask(maps[rest], HEAD_CLASSES).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0] = 0
    return greys[rest], mask


def _to_grey(frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "rows columns"]:
    """A frame in grey levels, resized to a longer side of `_SIDE` pixels."""
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = _SIDE / max(grey.shape)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=kind)


def _downsample(grey: Float32[np.ndarray, "height width"], times: int) -> Float32[np.ndarray, "rows columns"]:
    """The image smoothed and halved `times` times."""
    import cv2

    scale = 2**times
    smooth = cv2.GaussianBlur(grey, (0, 0), float(scale))
    return cv2.resize(smooth, (grey.shape[1] // scale, grey.shape[0] // scale), interpolation=cv2.INTER_AREA)


def _to_position_motions(motions: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "frames 2 3"]:
    """Affine maps of pixel indices as affine maps of positions in [-1, 1]."""
    height, width = shape
    to_positions = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    whole = np.concatenate([motions, np.tile([[[0.0, 0.0, 1.0]]], (len(motions), 1, 1))], axis=1)
    return (to_positions @ whole @ np.linalg.inv(to_positions))[:, :2].astype(np.float32)
