"""A portrait without a model for tests of the server: a frame is bright where its own audio is loud."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.serving.motion import MotionMode
from nerfstudio_talking.serving.portraits import Frame
from nerfstudio_talking.serving.session import frame_audio_span
from nerfstudio_talking.serving.timeline import RATE, Timeline

DARK = 40


class ClickPortrait:
    """Frame i is as bright in its colour as the audio in [i/fps, (i+1)/fps) is loud, and `DARK` in silence.

    Args:
        name: of the portrait.
        color: RGB.
        fps: frames per second.
        size: width and height.
    """

    motions: tuple[MotionMode, ...] = ("recorded", "still")

    def __init__(
        self,
        name: str = "click",
        color: tuple[int, int, int] = (255, 255, 255),
        fps: float = 25.0,
        size: tuple[int, int] = (64, 64),
        look_ahead: float = 0.316,
    ) -> None:
        self.name, self.color, self.fps, self.size, self.look_ahead = name, np.array(color) / 255, fps, size, look_ahead
        self.poster = self.frame(0.0)
        self.opened: list[ClickSpeaker] = []

    def frame(self, loudness: float) -> Frame:
        level = DARK + (255 - DARK) * min(loudness, 1.0)
        return np.full((self.size[1], self.size[0], 3), level * self.color).astype(np.uint8)

    def open(self, timeline: Timeline, motion: MotionMode = "recorded") -> ClickSpeaker:
        self.opened.append(ClickSpeaker(self))
        return self.opened[-1]


class ClickSpeaker:
    """The frames of one session of a `ClickPortrait`."""

    def __init__(self, portrait: ClickPortrait) -> None:
        self._portrait, self.look_ahead = portrait, portrait.look_ahead
        self._samples = np.zeros(0, np.int16)
        self._first, self._num_played, self._fed = 0, 0, 0
        self.fails = False
        self.mode: MotionMode = "recorded"
        self.mouth_gain = 1.0

    def push(self, samples: np.ndarray) -> None:
        self._samples = np.concatenate([self._samples, samples])[-RATE:]
        self._fed += len(samples)

    @property
    def pending(self) -> int:
        ready = int((self._fed / RATE - self.look_ahead) * self._portrait.fps + 1e-6) + 1
        return max(ready - self._num_played, 0)

    @property
    def position(self) -> float:
        return self._num_played / self._portrait.fps

    def skip(self) -> None:
        self._num_played += 1

    def render(self) -> tuple[float, Frame]:
        if self.fails:
            raise RuntimeError("a broken portrait")
        time = self.position
        start, stop = (
            s - self._fed + len(self._samples) for s in frame_audio_span(self._num_played, self._portrait.fps)
        )
        self._num_played += 1
        own = self._samples[max(start, 0) : max(stop, 0)]
        return time, self._portrait.frame(float(np.abs(own.astype(float)).max(initial=0)) / 16000)

    def set_motion(self, mode: MotionMode) -> None:
        self.mode = mode

    def set_mouth_gain(self, gain: float) -> None:
        self.mouth_gain = gain
