"""The audio of a session: what waits, what is committed to the clock, what is cut off. No clock of its own, no network.

Audio is the master. The session's time runs in blocks of 20 ms. A block is committed some time before it is played,
because a frame needs audio after its own time: what waits in the queue then fills it, or silence. A committed block is
never waited for. An interruption empties the queue and silences the committed blocks that were not played yet.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int16

from nerfstudio_talking.inference.audio_input import RATE
from nerfstudio_talking.io.errors import TalkingError

BLOCK = 320
"""Samples of a block: 20 ms."""
BLOCKS_PER_SECOND = RATE // BLOCK
_HISTORY = 3 * BLOCKS_PER_SECOND
"""Committed blocks that are kept."""
_AUDIBLE = 100.0
"""Root mean square of a block that can be heard: -50 dB of full scale."""
_AUDIBLE_BLOCKS = 15
_CLOSING, _MARGIN = 0.08, 0.12
"""Seconds in which an interruption closes the mouth, and for which it stays closed after the audio that was cut off."""
_UNDERRUN = BLOCKS_PER_SECOND
"""Blocks of silence after which an open segment that gets no audio counts as ended."""

EventKind = Literal["start", "end", "interrupted"]


@dataclass(frozen=True)
class SpeechEvent:
    """A segment of speech begins or ends, at the time it is heard."""

    kind: EventKind
    """'start', 'end', or 'interrupted' where the segment was cut off or never begun."""
    segment: int
    """Number of the segment, as `push` returned it."""
    block: int
    """Block at which it happens."""


@dataclass
class _Piece:
    """Samples that wait, or the end of a segment where there are none."""

    segment: int
    samples: Int16[np.ndarray, " samples"] | None


class Timeline:
    """The audio of one session; every method may be called from any thread.

    Args:
        capacity: seconds of audio that may wait.
        live_capacity: seconds of microphone that may wait; older audio is dropped, so that it never lags.
    """

    def __init__(self, capacity: float = 300.0, live_capacity: float = 0.2) -> None:
        self._lock = threading.RLock()
        self._capacity, self._live_capacity = round(capacity * RATE), round(live_capacity * RATE)
        self._queue: deque[_Piece] = deque()
        self._queued = 0
        self._live: Int16[np.ndarray, " samples"] = np.zeros(0, np.int16)
        self._blocks: deque[Int16[np.ndarray, " 320"]] = deque(maxlen=_HISTORY)
        self._committed = 0
        self._muted: deque[tuple[float, float]] = deque(maxlen=4)  # from and to, seconds
        self._events: deque[SpeechEvent] = deque()
        self._num_segments = 0
        self._open: int | None = None  # the segment that push() adds to
        self._playing: int | None = None  # the segment that was committed last and has not ended
        self._starved = 0
        self._heard: int | None = None  # the segment that is heard
        self.num_interruptions = 0
        """How often `interrupt` was called."""

    @property
    def num_committed(self) -> int:
        """Blocks committed so far."""
        return self._committed

    @property
    def queued_seconds(self) -> float:
        """Seconds of audio that wait."""
        return (self._queued + len(self._live)) / RATE

    @property
    def is_speaking(self) -> bool:
        """Whether a segment is heard, waits, or is committed."""
        with self._lock:
            return self._heard is not None or self._playing is not None or bool(self._queue)

    def push(self, samples: Int16[np.ndarray, " samples"], is_last: bool = False) -> int:
        """Queue audio of the open segment, which begins with the first call.

        Args:
            samples: 16 kHz mono.
            is_last: whether the segment ends here.

        Returns:
            The segment's number.

        Raises:
            TalkingError: more audio would wait than the capacity; nothing was queued.
        """
        with self._lock:
            if self._queued + len(samples) > self._capacity:
                raise TalkingError(
                    "the audio queue",
                    expected=f"at most {self._capacity / RATE:g} s of audio that waits",
                    found=f"{(self._queued + len(samples)) / RATE:.1f} s",
                    hint="Wait until some of it was spoken, or interrupt.",
                )
            if self._open is None:
                self._num_segments += 1
                self._open = self._num_segments
            segment = self._open
            if len(samples):
                self._queue.append(_Piece(segment, samples))
                self._queued += len(samples)
            if is_last:
                self.end_segment()
            return segment

    def end_segment(self) -> None:
        """End the open segment, if there is one."""
        with self._lock:
            if self._open is not None:
                self._queue.append(_Piece(self._open, None))
                self._open = None

    def push_live(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Queue audio of a microphone; it is heard where no segment is."""
        with self._lock:
            self._live = np.concatenate([self._live, samples])[-self._live_capacity :]

    def commit(self, until: int) -> None:
        """Commit blocks up to number `until` - 1."""
        with self._lock:
            while self._committed < until:
                self._blocks.append(self._next_block())
                self._committed += 1

    def samples(self, start: int, stop: int) -> Int16[np.ndarray, " samples"]:
        """The samples of committed blocks; zeros where they were forgotten or are not committed yet."""
        with self._lock:
            first = self._committed - len(self._blocks)
            pieces = [
                self._blocks[index - first] if first <= index < self._committed else _SILENCE
                for index in range(start, stop)
            ]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def block(self, index: int) -> Int16[np.ndarray, " 320"]:
        """A block that is played now. One that was not committed yet is committed: audio waits for nothing."""
        with self._lock:
            self.commit(index + 1)
            return self.samples(index, index + 1)

    def is_audible(self, index: int) -> bool:
        """Whether anything can be heard in the 0.3 s up to block `index`, and since the last interruption."""
        with self._lock:
            cut = round(self._muted[-1][0] * BLOCKS_PER_SECOND) + 2 if self._muted else 0
        samples = self.samples(min(max(index + 1 - _AUDIBLE_BLOCKS, cut), index), index + 1).astype(np.float64)
        return bool((np.square(samples.reshape(-1, BLOCK)).mean(axis=1) > _AUDIBLE**2).any())

    def mouth_limit(self, time: float) -> float:
        """How far the mouth may move at a time in seconds: 1, and 0 after an interruption for as long as frames would
        still show the audio that was cut off."""
        with self._lock:
            limits = [max((start - time) / _CLOSING + 1, (time - end) / _CLOSING) for start, end in self._muted]
        return max(min([1.0, *limits]), 0.0)

    def interrupt(self, index: int) -> None:
        """Drop all audio that waits, and silence what is committed after block `index`, which is being played."""
        with self._lock:
            self.num_interruptions += 1
            unfinished = (self._open, self._playing, self._heard)
            dropped = {segment for segment in unfinished if segment is not None}
            dropped |= {item.segment for item in (*self._queue, *self._events)}
            self._queue.clear()
            self._queued, self._live = 0, np.zeros(0, np.int16)
            self._open = self._playing = None
            self._muted.append((index / BLOCKS_PER_SECOND, self._committed / BLOCKS_PER_SECOND + _MARGIN))
            first = self._committed - len(self._blocks)
            for number in range(max(index + 1, first), self._committed):
                faded = (self._blocks[number - first] * np.linspace(1, 0, BLOCK)).astype(np.int16)
                self._blocks[number - first] = faded if number == index + 1 else _SILENCE
            self._events = deque(SpeechEvent("interrupted", segment, index) for segment in sorted(dropped))

    def due_events(self, index: int) -> list[SpeechEvent]:
        """The events up to block `index`, each once."""
        due = []
        with self._lock:
            while self._events and self._events[0].block <= index:
                event = self._events.popleft()
                self._heard = event.segment if event.kind == "start" else None
                due.append(event)
        return due

    def _next_block(self) -> Int16[np.ndarray, " 320"]:
        """Take a block from the queue, from the microphone where no segment goes on, or of silence."""
        out, filled = np.zeros(BLOCK, np.int16), 0
        while filled < BLOCK and self._queue:
            piece = self._queue[0]
            if piece.samples is None:
                self._queue.popleft()
                self._end(piece.segment)
                continue
            if self._playing != piece.segment:
                self._playing = piece.segment
                self._events.append(SpeechEvent("start", piece.segment, self._committed))
            taken = piece.samples[: BLOCK - filled]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._queued -= len(taken)
            if len(taken) == len(piece.samples):
                self._queue.popleft()
            else:
                piece.samples = piece.samples[len(taken) :]
        while self._queue and self._queue[0].samples is None:  # the end of a segment that filled the block
            self._end(self._queue.popleft().segment)
        self._starved = self._starved + 1 if self._playing is not None and filled == 0 else 0
        if self._starved > _UNDERRUN:
            self._end(self._playing)
            self._open = None
        if filled == 0 and self._playing is None and len(self._live):
            filled = min(BLOCK, len(self._live))
            out[:filled], self._live = self._live[:filled], self._live[filled:]
        return out

    def _end(self, segment: int | None) -> None:
        if segment is not None and self._playing == segment:
            self._events.append(SpeechEvent("end", segment, self._committed + 1))
            self._playing = None


_SILENCE = np.zeros(BLOCK, np.int16)
