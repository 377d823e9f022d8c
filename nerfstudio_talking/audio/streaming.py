"""Features of audio that arrives piece by piece, in constant memory: one window per video frame.

How the audio is cut makes no difference. The same rows come out of `extract_features`, but for rounding (1e-4 of the
normalised features) and for `normalization='adapt'`, which no whole-signal computation has. wav2vec 2.0 and HuBERT are
computed in blocks of half a second here and of 20 s there: their rows agree as far as the model attends no further than
a second, and the mean that is taken from their audio is a running one here: 0.02 of the normalised features.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int16

from nerfstudio_talking.audio.features.registry import find_computed_kind
from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder
from nerfstudio_talking.audio.features.streams import RATE
from nerfstudio_talking.audio.normalization import FeatureNormalization, NormalizationMode
from nerfstudio_talking.audio.windows import WindowStream
from nerfstudio_talking.io.errors import TalkingError


class AudioWindows:
    """Windows of features around each video frame, from audio that arrives piece by piece.

    Args:
        kind: name of the kind of features, as of `find_computed_kind`.
        normalization: that of the clip.
        fps: video frames per second.
        mode, live, encoder: as of `FeatureKind.stream`.

    Raises:
        TalkingError: features of this kind are made by other programs, or the model is not to be had.
    """

    def __init__(
        self,
        kind: str,
        normalization: FeatureNormalization,
        fps: float,
        mode: NormalizationMode = "adapt",
        live: bool = True,
        encoder: SpeechEncoder | None = None,
    ) -> None:
        found = find_computed_kind(kind)
        self._features = found.stream(normalization, mode, live, encoder)
        self._fps, self._num_samples, self._lead = fps, 0, found.lead
        self._windows = WindowStream(found.rate, fps, found.window, found.window_rate, start=-found.lead / RATE)
        self._windows.push(self._features.push(np.zeros(self._lead, dtype=np.float32)))

    @property
    def look_ahead(self) -> float:
        """Seconds from a frame's start to the audio that its window needs last."""
        return self._windows.look_ahead + self._features.look_ahead

    @property
    def num_frames(self) -> int:
        """Frames that the audio pushed so far lasts, rounded."""
        return round(self._num_samples / RATE * self._fps)

    def push(
        self, samples: Float[np.ndarray, " samples"] | Int16[np.ndarray, " samples"]
    ) -> Float32[np.ndarray, "frames window channels"]:
        """Take the next samples (16 kHz mono, float in [-1, 1] or int16); the windows that they complete.

        Raises:
            TalkingError: the samples are something else.
        """
        audio = as_samples(samples)
        self._num_samples += len(audio)
        return self._windows.push(self._features.push(audio))

    def finish(self) -> Float32[np.ndarray, "frames window channels"]:
        """The windows that waited for audio which does not come: up to `num_frames` altogether."""
        done, count = self._windows.num_frames, self.num_frames
        silence = max(round(count / self._fps * RATE) - self._num_samples, 0) + self._lead
        rest = [self._features.push(np.zeros(silence, dtype=np.float32)), self._features.finish()]
        return np.concatenate([*map(self._windows.push, rest), self._windows.finish(count)])[: count - done]


def as_samples(
    samples: np.ndarray,
) -> Float32[np.ndarray, " samples"]:
    """Samples as float32 in [-1, 1]. What is given is checked here: (samples,), float in [-1, 1] or int16.

    Raises:
        TalkingError: not one axis, neither float nor int16, or not finite.
    """
    hint = "Push 16 kHz mono audio: float32 in [-1, 1], or int16."
    if not isinstance(samples, np.ndarray) or samples.ndim != 1:
        found = f"an array {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise TalkingError("the samples", expected="an array of one axis", found=found, hint=hint)
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / 32768
    if samples.dtype.kind != "f":
        raise TalkingError("the samples", expected="float or int16", found=str(samples.dtype), hint=hint)
    if not np.isfinite(samples).all():
        raise TalkingError("the samples", expected="finite numbers", found="NaN or infinity", hint=hint)
    return samples.astype(np.float32)
