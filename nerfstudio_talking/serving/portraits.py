"""What a session needs of a portrait, and a trained portrait that gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Int16, UInt8

from nerfstudio_talking.serving.motion import MotionMode, SessionMotion, motion_loop
from nerfstudio_talking.serving.timeline import BLOCK, RATE, Timeline

if TYPE_CHECKING:
    from nerfstudio_talking.dataset_io.track import TalkingTrack
    from nerfstudio_talking.inference.driver import PortraitDriver
    from nerfstudio_talking.inference.stream import PortraitStream
    from nerfstudio_talking.provenance.credentials import VideoOrigin

Frame = UInt8[np.ndarray, "height width 3"]
_SMOOTHING = 1.0
_GENERATED_SECONDS = 30.0
"""Seconds of motion generated from the clip's audio before it turns back."""


class Speaker(Protocol):
    """One session's frames. Used by one thread, the one that renders."""

    look_ahead: float
    """Seconds of audio after a frame's time that the frame needs."""

    def push(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Take the next audio, 16 kHz mono."""
        ...

    @property
    def pending(self) -> int:
        """Frames that can be rendered now."""
        ...

    @property
    def position(self) -> float:
        """Time in seconds of the next frame."""
        ...

    def skip(self) -> None:
        """Leave the next frame out."""
        ...

    def render(self) -> tuple[float, Frame]:
        """The next frame and its time in seconds."""
        ...

    def set_motion(self, mode: MotionMode) -> None:
        """Change the head motion; from any thread."""
        ...

    def set_mouth_gain(self, gain: float) -> None:
        """Change the factor of the mouth's motion; from any thread."""
        ...


class Portrait(Protocol):
    """A person who can speak in several sessions at once."""

    name: str
    """Name that requests call it by."""
    fps: float
    """Frames per second."""
    size: tuple[int, int]
    """Width and height of the frames, pixels."""
    motions: tuple[MotionMode, ...]
    """Head motions to choose from."""
    poster: Frame
    """What is shown before a session's first frame is there."""
    origin: VideoOrigin
    """What the credentials of its recordings say."""

    def open(self, timeline: Timeline, motion: MotionMode) -> Speaker:
        """Frames of one session, which share nothing with those of another one."""
        ...


class DrivenPortrait:
    """A trained portrait.

    Args:
        driver: plays it.
        name: what requests call it.
        scale: size of the frames relative to the recording.
        seed: of blinks and generated motion.
    """

    def __init__(self, driver: PortraitDriver, name: str, scale: float = 1.0, seed: int = 0) -> None:
        self.name, self.fps, self.size = name, driver.fps, driver.frame_size(scale)
        self.origin = driver.origin()
        self._driver, self._scale, self._num_opened = driver, scale, 0
        self._loops = {"recorded": motion_loop(driver.track, _SMOOTHING, seed)}
        if driver.motion is not None:
            self._loops["generated"] = motion_loop(_generated(driver, seed), _SMOOTHING, seed)
        self.motions: tuple[MotionMode, ...] = (*self._loops, "still")  # type: ignore[assignment]
        self.poster = self._first_frame()

    def open(self, timeline: Timeline, motion: MotionMode = "recorded") -> Speaker:
        """Frames of one session: stream, motion and a refiner's memory are its own."""
        mover = SessionMotion(self._loops, self.fps, timeline.mouth_limit, motion)
        return DrivenSpeaker(self._driver.stream(scale=self._scale, make_track=mover.make_track), mover)

    def _first_frame(self) -> Frame:
        """The first frame of a silent session; it also compiles what is compiled on first use."""
        speaker = self.open(Timeline())
        while speaker.pending < 2:
            speaker.push(np.zeros(BLOCK, np.int16))
        first = speaker.render()[1]
        speaker.render()
        return first


class DrivenSpeaker:
    """A stream of a trained portrait with the motion of one session."""

    def __init__(self, stream: PortraitStream, motion: SessionMotion) -> None:
        self._stream, self._motion = stream, motion
        self.look_ahead = stream.look_ahead

    def push(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Take the next audio, 16 kHz mono."""
        self._stream.push(samples)

    @property
    def pending(self) -> int:
        """Frames that can be rendered now."""
        return self._stream.pending

    @property
    def position(self) -> float:
        """Time in seconds of the next frame."""
        return self._stream.position

    def skip(self) -> None:
        """Leave the next frame out."""
        self._stream.skip()

    def render(self) -> tuple[float, Frame]:
        """The next frame and its time in seconds."""
        return next(self._stream.ready())

    def set_motion(self, mode: MotionMode) -> None:
        """Change the head motion."""
        self._motion.mode = mode

    def set_mouth_gain(self, gain: float) -> None:
        """Change the factor of the mouth's motion."""
        self._motion.mouth_gain = gain


def _generated(driver: PortraitDriver, seed: int) -> TalkingTrack:
    """Motion generated from the clip's own audio, or from silence where that is not at hand."""
    from nerfstudio_talking.media.reading import read_audio
    from nerfstudio_talking.motion.generation import generated_motion_track

    track = driver.track
    assert driver.motion is not None
    samples = np.zeros(round(_GENERATED_SECONDS * RATE), np.float32)
    if track.audio_path is not None and track.audio_path.is_file():
        voice = read_audio(track.audio_path, RATE, duration=_GENERATED_SECONDS)
        samples[: len(voice)] = voice[: len(samples)]
    count = round(_GENERATED_SECONDS * track.fps)
    return generated_motion_track(track, driver.motion, samples, count, seed, _SMOOTHING)
