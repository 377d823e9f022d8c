"""A stream of features cut into one window per video frame."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32, Int64

WINDOW = 16
WINDOW_RATE = 50.0
"""Rows per second inside a window: 16 rows cover 320 ms."""

_ROUNDING = 1e-6
"""Frames by which rounding may be off."""


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
    rows = _window_positions(first + np.arange(num_frames), stream_rate, fps, window, window_rate, start)
    if silence is not None:
        stream = np.concatenate([silence[None], stream, silence[None]])
        rows = rows + 1
    return _interpolate(stream, np.clip(rows, 0, len(stream) - 1))


class WindowStream:
    """`frame_windows` for rows that arrive piece by piece, in constant memory: the same windows.

    Args as of `frame_windows`; the first window is that of frame 0, and the stream's ends are repeated.
    """

    def __init__(
        self,
        stream_rate: float,
        fps: float,
        window: int = WINDOW,
        window_rate: float = WINDOW_RATE,
        start: float = 0.0,
    ) -> None:
        self._grid = (stream_rate, fps, window, window_rate, start)
        self._rows: Float32[np.ndarray, "rows channels"] | None = None
        self._first = 0  # absolute number of the first row in memory
        self.num_frames = 0
        """Windows cut so far."""

    @property
    def look_ahead(self) -> float:
        """Seconds from a frame's start to the row that its window needs last."""
        stream_rate, fps, window, window_rate, _ = self._grid
        return 0.5 / fps + (window - 1) / 2 / window_rate + 1 / stream_rate

    def push(self, rows: Float[np.ndarray, "rows channels"]) -> Float32[np.ndarray, "frames window channels"]:
        """Take the next rows; the windows that they complete."""
        self._rows = rows if self._rows is None else np.concatenate([self._rows, rows])
        rate, fps, window, window_rate, start = self._grid
        # the window's last position is read between two rows: both must be there
        middle = (self._first + len(self._rows) - 2) / rate + start - (window - 1) / 2 / window_rate
        complete = math.floor(middle * fps - 0.5 + _ROUNDING) + 1
        return self._cut(max(complete - self.num_frames, 0))

    def finish(self, num_frames: int) -> Float32[np.ndarray, "frames window channels"]:
        """The windows up to `num_frames` altogether; the last row is repeated where the stream ends too soon."""
        return self._cut(max(num_frames - self.num_frames, 0))

    def _cut(self, count: int) -> Float32[np.ndarray, "frames window channels"]:
        """The next windows, from the rows there are; rows that no later window needs are dropped."""
        assert self._rows is not None
        if count == 0:
            return np.zeros((0, self._grid[2], self._rows.shape[1]), dtype=np.float32)
        positions = _window_positions(self.num_frames + np.arange(count + 1), *self._grid)
        last = self._first + len(self._rows) - 1
        windows = _interpolate(self._rows, np.clip(positions[:-1], 0, last) - self._first)
        self.num_frames += count
        needed = min(max(math.floor(positions[-1, 0]), self._first), last)
        self._rows, self._first = self._rows[needed - self._first :].copy(), needed
        return windows


def _window_positions(
    frames: Int64[np.ndarray, " frames"],
    stream_rate: float,
    fps: float,
    window: int,
    window_rate: float,
    start: float,
) -> Float[np.ndarray, "frames window"]:
    """Positions on the stream, in rows, of each row of each frame's window."""
    middles = (frames + 0.5) / fps
    offsets = (np.arange(window) - (window - 1) / 2) / window_rate
    return (middles[:, None] + offsets - start) * stream_rate


def _interpolate(
    stream: Float[np.ndarray, "rows channels"], rows: Float[np.ndarray, "frames window"]
) -> Float32[np.ndarray, "frames window channels"]:
    """Rows between the rows of a stream; positions lie within it."""
    low = np.floor(rows).astype(np.int64)
    high = np.minimum(low + 1, len(stream) - 1)
    share = (rows - low)[..., None]
    return (stream[low] * (1 - share) + stream[high] * share).astype(np.float32)
