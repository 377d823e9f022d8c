"""Interlaced frames: found by their flag and by combing, and deinterlaced.

A frame that is flagged as interlaced and yet shows no combing is left as it is: nothing moves in it, or it was filmed
progressively.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av.error
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

_STEP = 12
"""Grey levels by which a line must differ from both its neighbours, in the same direction, to count as combed."""
_BLOCK = 16
_SHARE, _SHARE_ONCE_SEEN, _SEEN = 0.3, 0.15, 5
"""A frame is combed where this share of a block of 16x16 pixels is; after five combed frames a smaller one suffices."""


def combing(luma: UInt8[np.ndarray, "height width"], before: UInt8[np.ndarray, "height width"] | None = None) -> float:
    """How far a frame shows two moments in alternate lines: the share of combed pixels in its most combed block.

    Args:
        luma: brightness of the frame.
        before: that of the frame before; what has not changed since is no combing but a pattern of stripes.
    """
    values = luma.astype(np.int16)
    above, below = values[1:-1] - values[:-2], values[1:-1] - values[2:]
    combed = (np.minimum(np.abs(above), np.abs(below)) > _STEP) & ((above > 0) == (below > 0))
    if before is not None and before.shape == luma.shape:
        combed &= np.abs(values - before)[1:-1] > _STEP
    rows, columns = (side // _BLOCK * _BLOCK for side in combed.shape)
    blocks = combed[:rows, :columns].reshape(rows // _BLOCK, _BLOCK, columns // _BLOCK, _BLOCK)
    return float(blocks.mean(axis=(1, 3)).max()) if blocks.size else 0.0


def deinterlace(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, VideoFrame]]:
    """Pairs of each decoded frame and what is shown of it: itself, or where it is combed, itself deinterlaced (bwdif)
    at the time of its first field."""
    filtered: _Deinterlacer | None = None
    for frame in frames:
        if filtered is None and not frame.interlaced_frame:
            yield frame, frame
            continue
        if filtered is not None and not filtered.fits(frame):
            yield from filtered.finish()
            filtered = None
        if filtered is None:
            filtered = _Deinterlacer(frame)
        yield from filtered.push(frame)
    if filtered is not None:
        yield from filtered.finish()


class _Deinterlacer:
    """A filter graph, and the frames that wait for its results; it needs the next frame for each."""

    def __init__(self, frame: VideoFrame) -> None:
        self._layout = frame.width, frame.height, frame.format.name
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        worker = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        sink = self._graph.add("buffersink")
        source.link_to(worker)
        worker.link_to(sink)
        self._graph.configure()
        self._waiting: deque[tuple[VideoFrame, bool]] = deque()
        self._before: np.ndarray | None = None
        self._count = self._seen = 0

    def fits(self, frame: VideoFrame) -> bool:
        """Whether a frame has the size and format of those before."""
        return self._layout == (frame.width, frame.height, frame.format.name)

    def push(self, frame: VideoFrame) -> Iterator[tuple[VideoFrame, VideoFrame]]:
        """Take a frame; the pairs that are ready."""
        luma = frame.to_ndarray(format="gray")
        least = _SHARE if self._seen < _SEEN else _SHARE_ONCE_SEEN
        combed = frame.interlaced_frame and combing(luma, self._before) > least
        self._seen += combed
        self._waiting.append((frame, combed))
        self._before = luma
        pts, base = frame.pts, frame.time_base
        frame.pts, frame.time_base = 40 * self._count, Fraction(1, 1000)
        self._count += 1
        self._graph.push(frame)
        frame.pts, frame.time_base = pts, base
        yield from self._results()

    def finish(self) -> Iterator[tuple[VideoFrame, VideoFrame]]:
        """The last pairs."""
        self._graph.push(None)
        yield from self._results()
        for frame, _ in self._waiting:
            yield frame, frame
        self._waiting.clear()

    def _results(self) -> Iterator[tuple[VideoFrame, VideoFrame]]:
        while self._waiting:
            try:
                shown = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            frame, combed = self._waiting.popleft()
            yield frame, shown if combed else frame
