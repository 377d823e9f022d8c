"""A session: one listener's portrait, its audio clock, and the frames that go with it. No network, no event loop."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16

from nerfstudio_talking.audio.streaming import as_samples
from nerfstudio_talking.provenance.watermark import mark_frame
from nerfstudio_talking.serving.portraits import Frame, Portrait, Speaker
from nerfstudio_talking.serving.timeline import BLOCKS_PER_SECOND, RATE, SpeechEvent, Timeline

Clock = Callable[[], float]
"""Seconds that never jump: time.monotonic, or a simulated clock."""
RENDER_AHEAD = 0.08
"""Seconds from the moment a frame's audio is committed to its time: rendering, and waiting for other sessions."""
_MOST_AHEAD = 0.4
"""The same at most, on a machine that needs longer: audio is then committed further ahead."""
_MOST_LAG = 0.04
"""Seconds after its time at which a frame may still appear; but one frame period at least."""
_STILL = 1.0
"""Seconds after which a late frame is better than one that stands still."""
_FRAMES_KEPT = 0.4
"""Seconds of frames that are kept: for those ahead, and for outputs that lag."""


@dataclass(frozen=True)
class SessionStats:
    """Counters of a session; see docs/live.md for the metrics made of them."""

    rendered: int
    """Frames rendered."""
    skipped: int
    """Frames left out, since their time had passed before rendering began."""
    repeated: int
    """Frame times at which no newer frame was ready, so that the last one was shown again."""
    render_fps: float
    """Frames rendered per second over the last two seconds."""
    queue_seconds: float
    """Seconds of audio that wait."""
    av_drift_ms: float
    """How far what is shown lags behind what is heard, mean of the last seconds."""
    first_frame_ms: float | None
    """From the request to the first frame that was handed to the encoder."""


class Session:
    """One listener's portrait.

    A render worker calls `advance` and `render`; outputs call `audio_block` and `frame_at`; requests call the rest.

    Args:
        portrait: who speaks.
        clock: seconds.
        capacity: seconds of audio that may wait.
        motion: head motion at the start.
    """

    def __init__(self, portrait: Portrait, clock: Clock, capacity: float = 300.0, motion: str = "recorded") -> None:
        self.id = secrets.token_urlsafe(18)
        self.portrait, self.fps = portrait, portrait.fps
        self.timeline = Timeline(capacity)
        self.speaker: Speaker = portrait.open(self.timeline, motion if motion in portrait.motions else "recorded")  # type: ignore[arg-type]
        self._clock, self._start = clock, clock()
        self._lock = threading.Lock()
        num_kept = max(round(_FRAMES_KEPT * portrait.fps), 8)
        self._frames: deque[tuple[float, Frame]] = deque([(-1.0, portrait.poster)], maxlen=num_kept)
        self._fed, self._newest = 0, -1.0
        self._cost = 0.0  # seconds of rendering a frame, smoothed
        self._most_lag = max(int(_MOST_LAG * portrait.fps + 1e-6), 1) / portrait.fps
        self.is_closed = False
        """Set once; the worker and the outputs then leave the session alone."""
        self.error: str | None = None
        """Why the session was closed, where rendering failed."""
        self._listeners: list[Callable[[SpeechEvent], object]] = []
        self._rendered = self._skipped = self._repeated = 0
        self._render_times: deque[float] = deque(maxlen=round(4 * self.fps))
        self._audio_lag = self._video_lag = 0.0
        self._first_frame: float | None = None

    # time

    @property
    def position(self) -> float:
        """Seconds since the session began: what is heard now."""
        return self._clock() - self._start

    @property
    def current_block(self) -> int:
        """The block of audio that is heard now."""
        return int(self.position * BLOCKS_PER_SECOND)

    # requests

    def speak(
        self, samples: Int16[np.ndarray, " samples"] | Float[np.ndarray, " samples"], is_last: bool = True
    ) -> int:
        """Queue audio, 16 kHz mono; the number of its segment.

        Raises:
            TalkingError: the samples are something else, or too much audio waits.
        """
        return self.timeline.push(_as_int16(samples), is_last)

    def hear(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Take audio of the listener's microphone: the portrait speaks it at once."""
        self.timeline.push_live(samples)

    def interrupt(self) -> None:
        """Be silent now: audio and frames that wait are dropped, the mouth closes within three frames."""
        with self._lock:
            now = self.position
            self.timeline.interrupt(int(now * BLOCKS_PER_SECOND))
            kept = [item for item in self._frames if item[0] <= now]
            self._frames = deque(kept[-1:] or list(self._frames)[:1], maxlen=self._frames.maxlen)

    @property
    def is_speaking(self) -> bool:
        """Whether speech is heard or waits."""
        return self.timeline.is_speaking or self.timeline.is_audible(self.current_block)

    def set_motion(self, mode: str) -> bool:
        """Change the head motion; whether the portrait has such a one."""
        if mode not in self.portrait.motions:
            return False
        self.speaker.set_motion(mode)  # type: ignore[arg-type]
        return True

    def listen(self, listener: Callable[[SpeechEvent], object]) -> Callable[[], None]:
        """Call `listener` with each event of speech, from the worker's thread; the result stops that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # the render worker

    def advance(self) -> None:
        """Commit audio as far ahead as frames need it, hand it to the speaker, and report events that are due."""
        position = self.position
        ahead = min(max(RENDER_AHEAD, self._cost + 1 / self.fps), _MOST_AHEAD)
        self.timeline.commit(int((position + self.speaker.look_ahead + ahead) * BLOCKS_PER_SECOND) + 1)
        if (until := self.timeline.num_committed) > self._fed:
            self.speaker.push(self.timeline.samples(self._fed, until))
            self._fed = until
        # the newest one stays: where even that will be late, the machine is too slow for any
        while self.speaker.pending > 1 and self.speaker.position < position + self._cost - 0.5 / self.fps:
            self.speaker.skip()
            self._skipped += 1
        for event in self.timeline.due_events(int(position * BLOCKS_PER_SECOND)):
            for listener in tuple(self._listeners):
                listener(event)

    @property
    def staleness(self) -> float | None:
        """Seconds since the time that the newest frame was rendered for; None where no frame can be rendered yet.

        Negative where that frame is still to be shown. Whoever renders the stalest session first renders in the order
        of the deadlines while there is time, and where there is not, every session gets its share.
        """
        return self.position - self._newest if self.speaker.pending else None

    def render(self) -> None:
        """Render the next frame. One that is finished too late is left out: no stall shows it with other audio."""
        cut, begun = self.timeline.num_interruptions, self._clock()
        time, frame = self.speaker.render()
        frame = mark_frame(frame)
        with self._lock:
            now = self._clock()
            self._cost += (now - begun - self._cost) * (0.1 if self._rendered else 1.0)
            self._rendered, self._newest = self._rendered + 1, time
            self._render_times.append(now)
            is_late = now - self._start > time + self._most_lag and time < self._frames[-1][0] + _STILL
            self._skipped += is_late
            if not is_late and cut == self.timeline.num_interruptions:  # else it shows what was dropped
                self._frames.append((time, frame))

    # outputs

    def audio_block(self, index: int) -> Int16[np.ndarray, " 320"]:
        """Block `index` as it is heard."""
        return self.timeline.block(index)

    def frame_at(self, time: float) -> tuple[float, Frame]:
        """What is shown at a time of the session, and the time it was rendered for: the newest frame that is not later.

        Before the first frame is ready it is the portrait's poster, with a negative time.
        """
        with self._lock:
            found = self._frames[0]
            for item in self._frames:
                if found[0] <= item[0] <= time + 1e-6:
                    found = item
            return found

    def note_audio(self, index: int) -> None:
        """An output hands block `index` on now."""
        self._audio_lag = _smooth(self._audio_lag, self.position - index / BLOCKS_PER_SECOND)

    def note_video(self, slot: int, shown: float) -> None:
        """An output hands on, for frame time `slot`, a frame that was rendered for time `shown`."""
        position = self.position
        if self._first_frame is None:
            self._first_frame = position
        if shown >= 0:
            self._video_lag = _smooth(self._video_lag, position - shown)
            self._repeated += shown < (slot - 0.5) / self.fps

    def stats(self) -> SessionStats:
        """Counters."""
        now = self._clock()
        with self._lock:
            recent = sum(time > now - 2 for time in self._render_times)
            span = min(max(now - self._start, 0.1), 2.0)
            return SessionStats(
                self._rendered,
                self._skipped,
                self._repeated,
                recent / span,
                self.timeline.queued_seconds,
                1000 * (self._video_lag - self._audio_lag),
                None if self._first_frame is None else 1000 * self._first_frame,
            )


def frame_audio_span(slot: int, fps: float) -> tuple[int, int]:
    """First sample of a frame's audio, and the first after it."""
    first, last = (round(index / fps * RATE) for index in (slot, slot + 1))
    return first, last


def _smooth(value: float, new: float) -> float:
    return value + 0.04 * (new - value)


def _as_int16(samples: np.ndarray) -> Int16[np.ndarray, " samples"]:
    if samples.dtype == np.int16 and samples.ndim == 1:
        return samples
    return np.round(np.clip(as_samples(samples), -1, 1) * 32767).astype(np.int16)
