"""A stream of features cut into one window per video frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

WINDOW = 16
WINDOW_RATE = 50.0
"""Rows per second inside a window: 16 rows cover 320 ms."""


def frame_windows(
    stream: Float[np.ndarray, "rows channels"],
    stream_rate: float,
    fps: float,
    num_frames: int,
    window: int = WINDOW,
    window_rate: float = WINDOW_RATE,
    silence: Float[np.ndarray, " channels"] | None = None,
    first: int = 0,
    start: float = 0.0,
) -> Float32[np.ndarray, "frames window channels"]:
    """Windows centred on the middle of each frame, (i + 0.5)/fps seconds, read off the stream by linear interpolation.

    Args:
        stream: row k describes second start + k/stream_rate.
        stream_rate: rows per second.
        fps: video frames per second.
        num_frames: windows to cut.
        window: rows of a window.
        window_rate: rows per second inside a window.
        silence: what lies before and after the stream; None repeats its first and last row.
        first: frame of the first window; may be negative.
        start: second that the stream's first row describes; may be negative.
    """
    if stream.ndim != 2 or len(stream) == 0:
        raise ValueError(f"a stream has rows and channels, not {stream.shape}")
    middles = (first + np.arange(num_frames) + 0.5) / fps
    offsets = (np.arange(window) - (window - 1) / 2) / window_rate
    rows = (middles[:, None] + offsets - start) * stream_rate
    if silence is not None:
        stream = np.concatenate([silence[None], stream, silence[None]])
        rows = rows + 1
    rows = np.clip(rows, 0, len(stream) - 1)
    low = np.floor(rows).astype(np.int64)
    high = np.minimum(low + 1, len(stream) - 1)
    share = (rows - low)[..., None]
    return (stream[low] * (1 - share) + stream[high] * share).astype(np.float32)
