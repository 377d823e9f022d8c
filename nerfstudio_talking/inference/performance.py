"""A voice that a portrait can speak from any moment, under controls that change as it plays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.frame_audio import audio_of_frames
from nerfstudio_talking.audio.voice_activity import voice_activity
from nerfstudio_talking.inference.audio_input import RATE
from nerfstudio_talking.inference.controls import PortraitControls, control_motion
from nerfstudio_talking.inference.mouth_adaptation import adapted_mouth
from nerfstudio_talking.inference.stream import AFTER, BEFORE
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.motion.driving_track import driving_track

if TYPE_CHECKING:
    from nerfstudio_talking.dataset_io.track import TalkingTrack
    from nerfstudio_talking.inference.driver import PortraitDriver

HeadMotion = Literal["ping-pong", "replay", "hold", "still", "generated"]
"""Where the head's motion comes from: `PoseMode`, the frame nearest to the mean pose, or a personal motion model."""
_SMOOTHING = 1.0
"""Standard deviation of the smoothing of arranged poses, frames; that of `PortraitDriver.drive`."""
_SILENCE = 1e-3
"""Greatest root mean square of an audio that nobody hears, of full scale: -60 dB."""


class Performance:
    """A voice with the audio features of all its frames.

    Args:
        portrait: the portrait's own track.
        samples: 16 kHz mono, in [-1, 1].
        windows: features of each frame, normalised as the portrait's.
        activity: voice activity of each frame, as `TalkingTrack.mouth_activity`; None where it does not matter.
        recorded: whether the voice is the clip's own, so that its frames have recorded poses of their own.
        adaptation: of the mouth to the voice, as `TalkingTrack.mouth_adaptation`.
    """

    def __init__(
        self,
        portrait: TalkingTrack,
        samples: Float[np.ndarray, " samples"],
        windows: Float32[np.ndarray, "frames window channels"],
        activity: Float32[np.ndarray, " frames"] | None = None,
        recorded: bool = False,
        adaptation: Float32[np.ndarray, "frames 2 count"] | None = None,
    ) -> None:
        self.portrait, self.samples, self.windows, self.recorded = portrait, samples, windows, recorded
        self._activity, self._adaptation = activity, adaptation
        self._made: tuple[tuple[HeadMotion, Path | None, int], TalkingTrack] | None = None

    @classmethod
    def of_clip(cls, portrait: TalkingTrack) -> Performance:
        """The voice of the clip itself; silence where its audio is not there."""
        samples = np.zeros(round(portrait.duration * RATE), np.float32)
        if portrait.audio_path is not None and portrait.audio_path.is_file():
            recording = read_audio(portrait.audio_path, RATE)
            samples = audio_of_frames(recording, portrait.audio_starts, portrait.fps, RATE)
        return cls(portrait, samples, portrait.audio, recorded=True)

    @classmethod
    def of_file(cls, driver: PortraitDriver, path: Path) -> Performance:
        """A voice from a file.

        Raises:
            TalkingError: the file cannot be read or is shorter than a frame, or the portrait's features are made by
                other programs.
        """
        samples = read_audio(path, RATE)
        stream = driver.windows("adapt", live=False)
        windows = np.concatenate([stream.push(samples), stream.finish()])[: driver.num_frames(samples)]
        activity = voice_activity(samples, driver.fps, len(windows))
        return cls(driver.track, samples, windows, activity, adaptation=adapted_mouth(driver.model, windows, activity))

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.windows)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.portrait.fps

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64)))) < _SILENCE

    def prepare(self, motion: HeadMotion, model: Path | None = None, seed: int = 0) -> TalkingTrack:
        """The track of all frames under a head motion; the latest one is kept.

        Args:
            motion: where it comes from.
            model: for 'generated': a personal motion model, or a motion track made from this voice.
            seed: of generated motion.

        Raises:
            TalkingError: `model` is something else.
        """
        key = motion, model, seed
        made = self._made
        if made is None or made[0] != key:
            track = self._make(motion, model, seed)
            if self._activity is not None:
                track = track.replace(mouth_activity=self._activity, mouth_adaptation=self._adaptation)
            self._made = made = key, track
        return made[1]

    def _make(self, motion: HeadMotion, model: Path | None, seed: int) -> TalkingTrack:
        if motion == "generated":
            from nerfstudio_talking.motion.generation import generated_motion_track

            assert model is not None
            count = self.num_frames
            moved = generated_motion_track(self.portrait, model, self.samples, count, seed, _SMOOTHING)
            return moved.replace(audio=self.windows)
        if self.recorded and motion == "replay":
            return self.portrait
        return driving_track(self.portrait, self.windows, "ping-pong" if motion == "still" else motion, _SMOOTHING)

    def frame(self, number: int, whole: TalkingTrack, controls: PortraitControls) -> tuple[TalkingTrack, int]:
        """A frame as a track of a few frames, those that the audio encoder sees, and its position there.

        Args:
            number: of the frame.
            whole: of `prepare`.
            controls: what is changed of its motion.
        """
        first = max(number - BEFORE, 0)
        track = whole.span(first, number + AFTER + 1)
        return control_motion(track, controls, self.portrait, first), number - first
