"""A portrait that speaks audio as it arrives. Offline driving pushes a file through the same code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
from jaxtyping import Float, Float32, Int16, UInt8
from typing_extensions import Self

from nerfstudio_talking.audio.streaming import AudioWindows, as_samples
from nerfstudio_talking.audio.voice_activity import VoiceActivityStream
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.audio_encoder import ATTENTION_FRAMES
from nerfstudio_talking.inference.audio_input import MAX_MOUTH_GAIN
from nerfstudio_talking.inference.frames import RenderFrame
from nerfstudio_talking.inference.mouth_adaptation import AdaptMouth
from nerfstudio_talking.io.errors import TalkingError

MakeTrack = Callable[[int, Float32[np.ndarray, "frames window channels"]], TalkingTrack]
"""The track of frames `first`, `first` + 1, ... from their audio windows."""
BEFORE, AFTER = ATTENTION_FRAMES // 2, ATTENTION_FRAMES - ATTENTION_FRAMES // 2 - 1
"""Frames before and after a frame that the audio encoder sees with it."""


class FramePlayer:
    """Renders frames in order from audio windows in order; keeps the few windows that later frames need.

    Args:
        make_track: the track of some frames.
        render: renders a frame of it.
        mouth_gain: factor of the mouth's motion about its rest; 1 shows it as predicted.
        adapt: adapts the predicted mouth to the voice; None leaves it as predicted.

    Raises:
        TalkingError: the gain is out of its range.
    """

    def __init__(
        self, make_track: MakeTrack, render: RenderFrame, mouth_gain: float = 1.0, adapt: AdaptMouth | None = None
    ) -> None:
        if not 0 <= mouth_gain <= MAX_MOUTH_GAIN:
            expected, hint = (
                f"0 to {MAX_MOUTH_GAIN:g}",
                "1 shows the mouth's motion as predicted, 1.3 a third more of it.",
            )
            raise TalkingError("the mouth gain", expected=expected, found=str(mouth_gain), hint=hint)
        self._make_track, self._render, self._mouth_gain, self._adapt = make_track, render, mouth_gain, adapt
        self._windows: list[Float32[np.ndarray, "window channels"]] = []
        self._activity: list[float] = []  # of the same frames, as far as it is known
        self._first = 0  # frame of the first window in memory
        self._ended = False
        self.num_played = 0
        """Frames rendered so far."""
        self.has_spoken = False
        """Whether there was voice in any of them."""

    def feed(
        self, windows: Float32[np.ndarray, "frames window channels"], activity: Float32[np.ndarray, " known"]
    ) -> None:
        """Take the windows of the next frames, and the next frames' voice activity, which may be known further."""
        self._windows.extend(windows)
        self._activity.extend(activity.tolist())

    def finish(self) -> None:
        """No window comes any more."""
        self._ended = True

    @property
    def pending(self) -> int:
        """Frames that can be rendered now."""
        fed = len(self._windows) if self._ended else min(len(self._windows) - AFTER, len(self._activity))
        return max(self._first + fed - self.num_played, 0)

    @property
    def is_over(self) -> bool:
        """Whether all frames are rendered and none comes any more."""
        return self._ended and self.pending == 0

    def take(self) -> tuple[TalkingTrack, int] | None:
        """The next frame as a track of a few frames and its position there; None where its audio is not there yet."""
        if self.pending == 0:
            return None
        position = self.num_played - self._first
        windows = np.stack(self._windows[: position + AFTER + 1])
        activity = np.zeros(len(windows), dtype=np.float32)  # only the frame at `position` is rendered
        activity[position] = self._mouth_gain * self._activity[position]
        self.has_spoken |= self._activity[position] > 0
        track = self._make_track(self._first, windows)
        if track.mouth_activity is not None:  # what makes tracks limits the mouth, or opens it wider
            activity *= track.mouth_activity
        adaptation = None
        if self._adapt is not None:
            found = self._adapt(windows[position], self._activity[position])
            adaptation = np.repeat(found[None], len(windows), axis=0)
        track = track.replace(mouth_activity=activity, mouth_adaptation=adaptation)
        self._advance()
        return track, position

    def skip(self) -> bool:
        """Leave out the next frame; later ones are as if it had been rendered. Whether there was one."""
        if self.pending == 0:
            return False
        position = self.num_played - self._first
        self.has_spoken |= self._activity[position] > 0
        if self._adapt is not None:
            self._adapt(self._windows[position], self._activity[position])
        self._advance()
        return True

    def _advance(self) -> None:
        """Go to the next frame; what no later one needs is dropped."""
        self.num_played += 1
        unneeded = max(self.num_played - BEFORE, 0) - self._first
        del self._windows[:unneeded], self._activity[:unneeded]
        self._first += unneeded

    def render(self, track: TalkingTrack, position: int) -> UInt8[np.ndarray, "height width 3"]:
        """A frame that was taken. In order: a refiner remembers frames."""
        return self._render(track, position)

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The frames that can be rendered now."""
        while (taken := self.take()) is not None:
            yield self.render(*taken)


class PortraitStream:
    """Audio pushed in as it arrives, frames out at the portrait's rate.

        with driver.stream() as stream:
            for samples in microphone:
                stream.push(samples)
                for time, frame in stream.ready():
                    show(frame, time)
            stream.close()
            for time, frame in stream.ready():
                show(frame, time)

    Or one thread pushes and another one iterates over the stream, which then waits for audio. One thread pushes, one
    takes frames. How the audio is cut into pieces changes nothing: the frames are those of `PortraitDriver.drive` with
    the same audio, equal to the byte on one machine, and by contract to one level of 255 (rounding of float32). Speech
    models are computed in blocks of half a second here and of 20 s offline; their frames agree as far as the model's
    attention beyond a second of context allows.

    Made by `PortraitDriver.stream`.

    Args:
        windows: features of the audio.
        player: renders.
        fps: frames per second.
    """

    def __init__(self, windows: AudioWindows, player: FramePlayer, fps: float) -> None:
        self._windows, self._player, self.fps = windows, player, fps
        self._voice = VoiceActivityStream(fps)
        self._changed = threading.Condition()
        self._is_open = True
        self._is_abandoned = False

    @property
    def look_ahead(self) -> float:
        """Seconds: frame i (shown from i/fps on) can be rendered once the audio up to i/fps + look_ahead is pushed.

        At 25 frames per second 0.32 s for log-mel (half a window 0.15 s, half a frame 0.02 s, three frames of the audio
        encoder 0.12 s, interpolation 0.01 s, half an STFT window 0.016 s), 0.36 s for MFCC (and 0.04 s of differences),
        1.2 s for Whisper's encoder and 1.7 s for wav2vec 2.0 and HuBERT (half a second or a second of context, and
        blocks of half a second). Voice activity takes 0.29 s, less than these. The time to render comes on top.
        """
        voice = 0.5 / self.fps + self._voice.look_ahead
        return max(self._windows.look_ahead + AFTER / self.fps, voice)

    @property
    def pending(self) -> int:
        """Frames that can be rendered now; it grows where rendering is slower than the audio."""
        with self._changed:
            return 0 if self._is_abandoned else self._player.pending

    @property
    def position(self) -> float:
        """Time in seconds of the next frame."""
        with self._changed:
            return self._player.num_played / self.fps

    def skip(self) -> bool:
        """Leave out the next frame, which would come too late. Whether there was one."""
        with self._changed:
            return not self._is_abandoned and self._player.skip()

    def push(self, samples: Float[np.ndarray, " samples"] | Int16[np.ndarray, " samples"]) -> None:
        """Take the next samples: 16 kHz mono, float in [-1, 1] or int16, any number.

        Raises:
            TalkingError: the samples are something else, or the stream is closed.
        """
        with self._changed:
            if not self._is_open:
                raise TalkingError("the stream", expected="audio before close()", found="a closed stream", hint=_REOPEN)
            audio = as_samples(samples)
            self._player.feed(self._windows.push(audio), self._voice.push(audio))
            self._changed.notify_all()

    def close(self) -> None:
        """The audio ends here. The frames that waited for more can be taken now."""
        with self._changed:
            if self._is_open:
                self._is_open = False
                windows = self._windows.finish()
                self._player.feed(windows, self._voice.finish(self._windows.num_frames))
                self._player.finish()
                self._changed.notify_all()

    def ready(self) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"]]]:
        """The frames that can be rendered from the audio so far, each with its time in seconds; waits for nothing."""
        while True:
            with self._changed:
                time = self._player.num_played / self.fps
                taken = None if self._is_abandoned else self._player.take()
            if taken is None:
                return
            yield time, self._player.render(*taken)

    def __iter__(self) -> Iterator[tuple[float, UInt8[np.ndarray, "height width 3"]]]:
        """All frames with their times in seconds, as they can be rendered; ends after `close()` and the last frame."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_abandoned or self._player.pending or self._player.is_over)
                if self._is_abandoned or self._player.is_over:
                    return
            yield from self.ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an exception the frames that wait are dropped."""
        with self._changed:
            self._is_abandoned = error is not None
            self._changed.notify_all()
        self.close()


_REOPEN = "Open another stream for more audio."
