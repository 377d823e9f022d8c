"""How the body moves in the image: one affine motion per frame, found from the pixels of the clothes.

Shoulders lean and sway by themselves: the head's pose says little about them. A portrait that is not told blurs collar
and lapels over all their places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, class_mask

_SIDE = 256
"""Longer side in pixels at which motion is found; half a pixel there is less than a field can show. Smaller images
are enlarged: a quarter of 128 pixels holds too little for six numbers."""
_SAMPLE = 64
"""Frames from which the one at rest is chosen."""
_FEWEST = 0.005
"""Share of the image that clothes must fill."""
_TRUSTED = 0.8
"""Correlation with the frame at rest below which a frame counts as not seen."""
_MARGIN = 1 / 32
"""Of the image's height: what lies beside the clothes belongs to their outline."""
_STEPS = (25, 20, 12)
"""Iterations at a quarter, half and whole size."""


def track_body(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    parsings: Callable[[], Iterator[UInt8[np.ndarray, "height width"]]],
    num_frames: int,
    advance: Callable[[], Any] = lambda: None,
) -> tuple[Float32[np.ndarray, "frames 2 3"], Float32[np.ndarray, " frames"]]:
    """Affine motion of the body in every frame against one frame of the clip, by enhanced correlation (ECC).

    Evangelidis and Psarakis (Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization, PAMI
    2008), in three sizes, from the motion of the frame before; light that changes evenly does not matter. The area is
    that of the clothes and a margin about them, without the head, in the frame at rest.

    Args:
        frames: gives the RGB frames from the start.
        parsings: gives their class ids.
        num_frames: how many there are.
        advance: called after each frame.

    Returns:
        Motions that carry a position at rest to where it is seen, positions in [-1, 1] (x right, y down); and the
        correlation of each frame, NaN where the body was not found and its motion is interpolated. A clip without
        clothes in sight rests, with correlation NaN throughout.
    """
    import cv2

    still = np.tile(np.eye(2, 3, dtype=np.float32), (num_frames, 1, 1))
    rest = _frame_at_rest(frames, parsings, num_frames)
    if rest is None:
        return still, np.full(num_frames, np.nan, np.float32)
    image, area = rest
    template = [_halved(image, times) for times in (2, 1, 0)]
    areas = [cv2.resize(area, level.shape[::-1], interpolation=cv2.INTER_NEAREST) for level in template]
    criteria = [(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4) for steps in _STEPS]

    def align(levels: list[np.ndarray], motion: np.ndarray) -> tuple[float, np.ndarray]:
        motion = motion.astype(np.float32)
        motion[:, 2] /= 4
        correlation = -1.0
        for level in range(3):
            try:
                correlation, motion = cv2.findTransformECC(
                    template[level], levels[level], motion, cv2.MOTION_AFFINE, criteria[level], areas[level], 5
                )
            except cv2.error:  # it has run out of the image
                return -1.0, motion
            if level < 2:
                motion[:, 2] *= 2
        return correlation, motion

    motions, correlations = still.astype(np.float64), np.full(num_frames, np.nan)
    before = still[0]
    for index, frame in enumerate(frames()):
        grey = _grey(frame)
        levels = [_halved(grey, times) for times in (2, 1, 0)]
        correlation, motion = align(levels, before)
        if correlation < _TRUSTED:
            correlation, motion = max(((correlation, motion), align(levels, still[0])), key=lambda pair: pair[0])
        before = still[0]
        if correlation >= _TRUSTED and 0.5 < np.linalg.det(motion[:, :2]) < 2:
            motions[index], correlations[index] = motion, correlation
            before = motion
        advance()
    seen = ~np.isnan(correlations)
    if not seen.any():
        return still, correlations.astype(np.float32)
    flat = motions.reshape(num_frames, 6)
    for column in range(6):
        flat[:, column] = np.interp(np.arange(num_frames), np.flatnonzero(seen), flat[seen, column])
    return _in_positions(flat.reshape(-1, 2, 3), image.shape), correlations.astype(np.float32)


def _frame_at_rest(
    frames: Callable[[], Iterator[np.ndarray]], parsings: Callable[[], Iterator[np.ndarray]], num_frames: int
) -> tuple[Float32[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]] | None:
    """The sampled frame most like the others where there are clothes, in grey, and the area to align; None without."""
    import cv2

    wanted = set(np.unique(np.linspace(0, num_frames - 1, min(_SAMPLE, num_frames)).round().astype(int)).tolist())
    greys, maps = [], []
    for index, (frame, ids) in enumerate(zip(frames(), parsings())):
        if index in wanted:
            greys.append(_grey(frame))
            maps.append(cv2.resize(ids, greys[-1].shape[::-1], interpolation=cv2.INTER_NEAREST))
    clothes = np.stack([ids == CLASS_ID["cloth"] for ids in maps])
    common = clothes.mean(0) > 0.5
    if common.mean() < _FEWEST:
        return None
    middle = np.median(np.stack(greys), axis=0)
    rest = int(np.argmin([np.abs(grey - middle)[common].mean() for grey in greys]))
    margin = 2 * round(_MARGIN * middle.shape[0]) + 1
    area = cv2.dilate(clothes[rest].astype(np.uint8), np.ones((margin, margin), np.uint8))
    area[cv2.dilate(class_mask(maps[rest], HEAD_CLASSES).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0] = 0
    return greys[rest], area


def _grey(frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "rows columns"]:
    """A frame in grey levels, its longer side `_SIDE`."""
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = _SIDE / max(grey.shape)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=kind)


def _halved(grey: Float32[np.ndarray, "height width"], times: int) -> Float32[np.ndarray, "rows columns"]:
    """A smoothed image at a half or a quarter of its size."""
    import cv2

    scale = 2**times
    smooth = cv2.GaussianBlur(grey, (0, 0), float(scale))
    return cv2.resize(smooth, (grey.shape[1] // scale, grey.shape[0] // scale), interpolation=cv2.INTER_AREA)


def _in_positions(motions: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "frames 2 3"]:
    """Motions of pixel indices as motions of positions in [-1, 1]."""
    height, width = shape
    to_positions = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    whole = np.concatenate([motions, np.tile([[[0.0, 0.0, 1.0]]], (len(motions), 1, 1))], axis=1)
    return (to_positions @ whole @ np.linalg.inv(to_positions))[:, :2].astype(np.float32)
