"""The background without the person, from the frames in which each pixel shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.inpainting import fill_smoothly

_SLOTS = 24
_STRIDE = 5  # frames between two samples of a pixel whose slots are full
_MARGIN = 0.016  # share of the image's longer side: hair and blurred borders extend past the person's outline


def clean_background(
    frames: Callable[[], Iterator[UInt8[np.ndarray, "height width 3"]]],
    parsings: Callable[[], Iterator[UInt8[np.ndarray, "height width"]]],
) -> UInt8[np.ndarray, "height width 3"]:
    """The background of a clip without the person, RGB.

    A pixel is the median over the frames in which it lies a margin away from the person; memory does not grow with the
    clip. Pixels that the person hides in every frame are inpainted.

    Args:
        frames: returns an iterator over the RGB frames.
        parsings: returns an iterator over their parsing labels.

    Raises:
        TalkingError: no frames, or images and maps of different sizes.
    """
    import cv2

    rng = np.random.default_rng(0)
    slots, margin, shape = None, None, None
    seen = np.zeros(0, dtype=np.int64)
    for index, (frame, ids) in enumerate(zip(frames(), parsings(), strict=True)):
        if ids.shape != frame.shape[:2]:
            raise TalkingError(
                f"parsing map {index}",
                expected=f"{frame.shape[:2]}",
                found=f"{ids.shape}",
                hint="Parse the clip again.",
            )
        if slots is None or margin is None:
            slots = np.zeros((_SLOTS, ids.size, 3), dtype=np.uint8)
            seen = np.zeros(ids.size, dtype=np.int64)
            side = 2 * max(1, round(_MARGIN * max(ids.shape))) + 1
            margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
            shape = ids.shape
        person = cv2.dilate((ids != CLASS_ID["background"]).view(np.uint8), margin)
        free = np.flatnonzero(person.ravel() == 0)
        if index % _STRIDE:
            free = free[seen[free] < _SLOTS]
        if not len(free):
            continue
        # reservoir sampling: every sample of a pixel is stored with the same probability
        count = seen[free]
        slot = np.where(count < _SLOTS, count, (rng.random(len(free)) * (count + 1)).astype(np.int64))
        seen[free] += 1
        stored = slot < _SLOTS
        slots[slot[stored], free[stored]] = frame.reshape(-1, 3)[free[stored]]
    if slots is None or shape is None:
        raise TalkingError("background", expected="at least one frame", found="none", hint="Choose other frames.")
    height, width = shape
    known = (seen > 0).reshape(height, width)
    median = _median(slots, np.minimum(seen, _SLOTS)).reshape(height, width, 3)
    return np.clip(np.rint(fill_smoothly(median, known)), 0, 255).astype(np.uint8)


def _median(slots: np.ndarray, count: np.ndarray) -> UInt8[np.ndarray, "pixels 3"]:
    """Median of the first `count` slots of each pixel; 0 where there are none. Sorts `slots` in place."""
    median = np.zeros(slots.shape[1:], dtype=np.uint8)
    for filled in np.unique(count[count > 0]):
        pixels = np.flatnonzero(count == filled)
        values = np.sort(slots[:filled, pixels], axis=0)
        middle = values[(filled - 1) // 2].astype(np.uint16) + values[filled // 2]
        median[pixels] = (middle // 2).astype(np.uint8)
    return median
