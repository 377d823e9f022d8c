"""An invisible watermark: a fixed pattern, one level of 255 strong, in a third of the cells of a coarse grid.

A spread-spectrum watermark (Cox et al., IEEE Trans. Image Processing 6(12), 1997) without a payload. Its grid is a
fraction of the image, so that it is found in resized videos; it is the same in every frame, so that the detector sums
over frames what coding leaves of it in each. The detector compares the correlation with that of other patterns.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from jaxtyping import Float, Int8, UInt8

CELLS = 64
"""Number of cells along each side of the image, and the least side of an image in which the watermark is found."""
_SHARE = 1 / 3
"""Share of the cells that are changed, half of them brighter: mean square error 1/3, or 0.09 dB of a PSNR of 36 dB."""
_KEY = "nerfstudio-talking"
_NULL_PATTERNS = 400
"""Number of other patterns that the correlation is compared with."""
DETECTED = 4.5
"""Standard deviations above the other patterns' mean from which a watermark counts as found: a false alarm in some
300,000 videos, were the correlations normally distributed."""


def watermark_pattern(key: str = _KEY) -> Int8[np.ndarray, "cells cells"]:
    """The change of each cell, levels: -1, 0 or 1."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).random((CELLS, CELLS))
    return ((drawn < _SHARE / 2).astype(np.int8) - (drawn > 1 - _SHARE / 2)).astype(np.int8)


def mark_frame(frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The frame with the watermark; black and white stay within their range."""
    import cv2

    brighter, darker = _masks(*frame.shape[:2])
    return np.asarray(cv2.subtract(cv2.add(frame, brighter), darker))  # both keep to 0 ... 255


class WatermarkDetector:
    """Sums what frames of one video show of the watermark.

    `add` takes frames of any size; `score` is the correlation in standard deviations of other patterns'.
    """

    def __init__(self) -> None:
        self._sum = np.zeros((CELLS, CELLS))
        self.num_frames = 0

    def add(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Take one frame.

        Raises:
            ValueError: the frame is smaller than the grid.
        """
        import cv2

        if min(frame.shape[:2]) < CELLS:
            raise ValueError(f"a watermark needs {CELLS} pixels on each side, not {frame.shape[1]}x{frame.shape[0]}")
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        self._sum += _without_neighbours(cv2.resize(gray, (CELLS, CELLS), interpolation=cv2.INTER_AREA))
        self.num_frames += 1

    def score(self) -> float:
        """Standard deviations by which the watermark's correlation exceeds that of other patterns; 0 without frames.

        Cells count by the inverse of the variance around them: the pattern shows on plain ground.
        """
        from scipy import ndimage

        if self.num_frames == 0:
            return 0.0
        shown = self._sum / self.num_frames
        around = ndimage.uniform_filter(shown**2, 5)
        limit = 4 * np.sqrt(around.mean()) + 1
        weighted = np.clip(shown, -limit, limit) / (around + 0.05)
        patterns = _filtered_patterns()
        correlations = patterns.reshape(len(patterns), -1) @ weighted.ravel()
        others = correlations[1:]
        return float((correlations[0] - others.mean()) / max(others.std(), 1e-12))

    @property
    def is_found(self) -> bool:
        """Whether the score counts as a watermark."""
        return self.score() > DETECTED


def _without_neighbours(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Each cell less the mean of its four neighbours: the picture itself changes little from cell to cell."""
    padded = np.pad(np.asarray(values, np.float64), 1, mode="edge")
    return values - (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4


@functools.cache
def _filtered_patterns() -> Float[np.ndarray, "patterns cells cells"]:
    """The watermark and other patterns, as the detector sees them."""
    keys = [_KEY, *(f"another pattern {i}" for i in range(_NULL_PATTERNS))]
    return np.stack([_without_neighbours(watermark_pattern(key).astype(np.float64)) for key in keys])


@functools.lru_cache(maxsize=8)
def _masks(height: int, width: int) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width 3"]]:
    """Where pixels become brighter, and darker, by one level."""
    rows, columns = np.arange(height) * CELLS // height, np.arange(width) * CELLS // width
    change = np.repeat(watermark_pattern()[rows][:, columns, None], 3, axis=2)
    return (change > 0).astype(np.uint8), (change < 0).astype(np.uint8)
