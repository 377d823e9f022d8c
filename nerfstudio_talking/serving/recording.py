"""A session recorded into an mp4, as it is seen and heard."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.provenance.credentials import signed_by
from nerfstudio_talking.serving.session import Session, frame_audio_span
from nerfstudio_talking.serving.timeline import BLOCK, RATE

_MOST_LAG = 2.0
"""Seconds of lag at which a recording ends: audio is kept for three."""


class Recorder:
    """Records a session on a thread of its own, from now on.

    Args:
        session: what is recorded.
        path: the mp4; it appears when the recording has ended.
        max_seconds: after which the recording ends by itself.
    """

    def __init__(self, session: Session, path: Path, max_seconds: float) -> None:
        self.path, self._session, self._max = path, session, max_seconds
        self._ended = threading.Event()
        self._audio: deque[np.ndarray] = deque()
        self.error: str | None = None
        """Why there is no file, where there is none."""
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether frames are still recorded."""
        return self._thread.is_alive()

    def request_stop(self) -> None:
        """Let the recording end."""
        self._ended.set()

    def stop(self) -> Path:
        """End the recording; waits until the file is whole.

        Raises:
            TalkingError: it could not be written.
        """
        self.request_stop()
        self._thread.join(timeout=60)
        if self.error is not None or self._thread.is_alive():
            found = self.error or "a writer that hangs"
            raise TalkingError("the recording", expected="a file", found=found, hint="Record again.")
        return self.path

    def _run(self) -> None:
        session = self._session
        try:
            width, height = session.portrait.size
            audio = (self._blocks(), RATE)
            first = int(session.position * session.fps) + 1
            finish = signed_by(session.portrait.origin, self.path)
            with VideoWriter(self.path, session.fps, width, height, audio=audio, crf=20, finish=finish) as writer:
                slot = first
                while slot == first or not self._is_over(slot - first):
                    self._wait_for(slot)
                    begin, end = frame_audio_span(slot, session.fps)
                    blocks = session.timeline.samples(begin // BLOCK, -(-end // BLOCK))
                    samples = blocks[begin % BLOCK :][: end - begin]
                    self._audio.append(samples.astype(np.float32) / 32768)
                    writer.write(session.frame_at(slot / session.fps)[1])
                    slot += 1
        except TalkingError as error:
            self.error = str(error)

    def _is_over(self, count: int) -> bool:
        return self._ended.is_set() or self._session.is_closed or count >= self._max * self._session.fps

    def _wait_for(self, slot: int) -> None:
        # at the frame's end, when a frame that was late may still replace the one before
        left = (slot + 1) / self._session.fps - self._session.position
        if left < -_MOST_LAG:
            raise TalkingError(
                "the recording", expected="a machine that keeps up", found=f"{-left:.1f} s of lag", hint="Record less."
            )
        if left > 0:
            time.sleep(left)

    def _blocks(self) -> Iterator[np.ndarray]:
        yield np.zeros(0, np.float32)  # the writer asks how many channels there are before the first frame
        while self._audio:
            yield self._audio.popleft()
