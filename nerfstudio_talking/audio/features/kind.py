"""What a kind of audio features is: its name, its sizes and how it is computed."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32
from typing_extensions import Self

from nerfstudio_talking.audio.features.speech_rows import MODEL_RATE, SpeechEncoder, speech_model_features
from nerfstudio_talking.audio.features.streams import FeatureStream, SpeechStream
from nerfstudio_talking.audio.normalization import FeatureNormalization, NormalizationMode
from nerfstudio_talking.io.errors import TalkingError


@dataclass(frozen=True, kw_only=True)
class FeatureKind:
    """A kind of audio features: one window of rows per video frame.

    By itself it describes ready-made arrays, which other programs compute. `ComputedKind` is computed here.
    """

    name: str
    """Name that a user types and a track stores."""
    summary: str
    """What it is and how it is extracted, in one line."""
    window: int
    """Rows in the window of a frame."""
    channels: int | None
    """Channels of a row; None where the model decides."""
    array_names: tuple[str, ...] = ()
    """File names of ready-made arrays in AD-NeRF-family folders, most usual first."""
    has_array_shape: bool = True
    """Whether a ready array of this window and these channels is taken for this kind."""
    takes_any_name: bool = False
    """Whether it takes names that no other kind takes: folders and hub names."""
    place: str = ""
    """Folder or hub name of the model, where it is not the usual one."""

    @property
    def is_computable(self) -> bool:
        """Whether it is computed from audio here."""
        return isinstance(self, ComputedKind)

    @property
    def spec(self) -> str:
        """What a track stores as `audio_kind` and `find_feature_kind` reads: the name, then '@' and a place if any."""
        return f"{self.name}@{self.place}" if self.place else self.name

    def match(self, spec: str) -> FeatureKind | None:
        """This kind as a spec asks for it; None where the spec means another kind."""
        return self if spec == self.name else None

    def stream(
        self,
        normalization: FeatureNormalization,
        mode: NormalizationMode,
        live: bool,
        encoder: SpeechEncoder | None = None,
    ) -> FeatureStream:
        """A stream of rows.

        Args:
            normalization: that of the clip.
            mode: whether it is adapted to the voice.
            live: whether a speech model's blocks have the size for live audio, or that of processing.
            encoder: the speech model, where it is loaded already.

        Raises:
            TalkingError: it is not computed here, or its model is not to be had.
        """
        raise self.not_computable()

    def not_computable(self) -> TalkingError:
        """The error that features of this kind are not computed here."""
        return TalkingError(
            "audio features",
            expected="a kind that is computed from audio here",
            found=f"'{self.name}', which is made by other programs",
            hint="Make them for this audio as they were made for the training clip, and give the path of the .npy "
            "array.",
        )


@dataclass(frozen=True, kw_only=True)
class ComputedKind(FeatureKind):
    """Audio features that are computed here, of a recording or of audio that arrives piece by piece."""

    has_array_shape: bool = False
    rate: int
    """Rows per second; row k describes second k/rate."""
    window_rate: float
    """Rows per second inside a window."""
    lead: int = 0
    """Zeros before and after a recording, samples: what a window sees beyond the audio is silence."""
    rank: int = 0
    """The best kind that is installed has the highest rank; kinds of rank 0 are taken only by name."""

    @abstractmethod
    def extract(
        self, samples: Float[np.ndarray, " samples"]
    ) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
        """Rows of a whole signal (mono, 16 kHz) normalised over it, and that normalisation.

        Raises:
            TalkingError: its model is not to be had.
        """

    def load(self) -> SpeechEncoder | None:
        """The speech model that it needs, to be given to several streams; None where it needs none.

        Raises:
            TalkingError: the model is not to be had.
        """
        return None

    def missing(self) -> str | None:
        """What would have to be installed or downloaded first; None where it can be computed now."""
        return None


@dataclass(frozen=True, kw_only=True)
class SpeechKind(ComputedKind):
    """Hidden states of a speech model."""

    window: int = 2
    rate: int = MODEL_RATE
    window_rate: float = MODEL_RATE

    @abstractmethod
    def load(self) -> SpeechEncoder:
        """The model.

        Raises:
            TalkingError: a library or the weights are not to be had.
        """

    def extract(
        self, samples: Float[np.ndarray, " samples"]
    ) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
        """Rows of a whole signal; see `ComputedKind.extract`."""
        return speech_model_features(samples, self.load())

    def stream(
        self,
        normalization: FeatureNormalization,
        mode: NormalizationMode,
        live: bool,
        encoder: SpeechEncoder | None = None,
    ) -> FeatureStream:
        """A stream of rows; see `FeatureKind.stream`."""
        return SpeechStream(encoder or self.load(), normalization, mode, live)

    def at(self, place: str) -> Self:
        """The same kind with its model at a place."""
        return replace(self, place=place)
