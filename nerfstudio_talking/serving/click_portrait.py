"""A test signal in place of a portrait: frames that are bright where their own audio is loud.

A click that is heard is seen as a flash in the frame that it falls into. That measures delay and synchrony of server,
network and browser without a trained portrait.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int16

from nerfstudio_talking.provenance.credentials import VideoOrigin
from nerfstudio_talking.serving.motion import MotionMode
from nerfstudio_talking.serving.portraits import Frame
from nerfstudio_talking.serving.session import frame_audio_span
from nerfstudio_talking.serving.timeline import RATE, Timeline

DARK = 40
"""Brightness in silence."""
_LOUD = 16000.0
"""Sample value that is shown as white."""


class ClickPortrait:
    """Frame i is as bright in its colour as the audio in [i/fps, (i+1)/fps) is loud, and `DARK` in silence.

    Args:
        name: of the portrait.
        color: RGB.
        fps: frames per second.
        size: width and height, even, pixels.
        look_ahead: seconds of audio that a frame waits for: those of a portrait on log-mel features.
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
        self.name, self.fps, self.size, self.look_ahead = name, fps, size, look_ahead
        self.origin = VideoOrigin("test signal", name)
        self._color = np.array(color) / 255
        self.poster = self.frame(0.0)

    def frame(self, loudness: float) -> Frame:
        """A frame of a loudness from 0 to 1."""
        level = DARK + (255 - DARK) * min(loudness, 1.0)
        frame = np.empty((self.size[1], self.size[0], 3), np.uint8)
        frame[:] = (level * self._color).astype(np.uint8)
        return frame

    def open(self, timeline: Timeline, motion: MotionMode = "recorded") -> ClickSpeaker:
        """Frames of one session."""
        return ClickSpeaker(self)


class ClickSpeaker:
    """The frames of one session of a `ClickPortrait`."""

    def __init__(self, portrait: ClickPortrait) -> None:
        self._portrait, self.look_ahead = portrait, portrait.look_ahead
        self._samples = np.zeros(0, np.int16)
        self._num_played, self._fed = 0, 0
        self.mode: MotionMode = "recorded"
        """The head motion; a test signal has none."""
        self.mouth_gain = 1.0
        """Factor of the brightness."""

    def push(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Take the next audio, 16 kHz mono."""
        self._samples = np.concatenate([self._samples, samples])[-RATE:]
        self._fed += len(samples)

    @property
    def pending(self) -> int:
        """Frames that can be rendered now."""
        ready = int((self._fed / RATE - self.look_ahead) * self._portrait.fps + 1e-6) + 1
        return max(ready - self._num_played, 0)

    @property
    def position(self) -> float:
        """Time in seconds of the next frame."""
        return self._num_played / self._portrait.fps

    def skip(self) -> None:
        """Leave the next frame out."""
        self._num_played += 1

    def render(self) -> tuple[float, Frame]:
        """The next frame and its time in seconds."""
        time, span = self.position, frame_audio_span(self._num_played, self._portrait.fps)
        start, stop = (max(sample - self._fed + len(self._samples), 0) for sample in span)
        self._num_played += 1
        loudest = float(np.abs(self._samples[start:stop].astype(np.float64)).max(initial=0))
        return time, self._portrait.frame(self.mouth_gain * loudest / _LOUD)

    def set_motion(self, mode: MotionMode) -> None:
        """Note the head motion."""
        self.mode = mode

    def set_mouth_gain(self, gain: float) -> None:
        """Change the factor of the brightness."""
        self.mouth_gain = gain
