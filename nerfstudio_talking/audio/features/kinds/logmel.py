"""Log-mel spectra: the features that need nothing but this package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.kind import ComputedKind
from nerfstudio_talking.audio.features.spectral import MEL_CHANNELS, STREAM_RATE, SpectralKind, spectral_features
from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder
from nerfstudio_talking.audio.features.streams import RATE, FeatureStream, SpectralStream
from nerfstudio_talking.audio.normalization import FeatureNormalization, NormalizationMode
from nerfstudio_talking.audio.windows import WINDOW, WINDOW_RATE


@dataclass(frozen=True, kw_only=True)
class SpectralFeatures(ComputedKind):
    """Features of the spectrum."""

    spectral: SpectralKind
    window: int = WINDOW
    rate: int = STREAM_RATE
    window_rate: float = WINDOW_RATE
    lead: int = round(WINDOW / WINDOW_RATE * RATE)

    def extract(
        self, samples: Float[np.ndarray, " samples"]
    ) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
        """Rows of a whole signal; see `ComputedKind.extract`."""
        return spectral_features(samples, self.spectral)

    def stream(
        self,
        normalization: FeatureNormalization,
        mode: NormalizationMode,
        live: bool,
        encoder: SpeechEncoder | None = None,
    ) -> FeatureStream:
        """A stream of rows; see `FeatureKind.stream`. Spectra of live audio and of recordings are the same."""
        return SpectralStream(self.spectral, normalization, mode)


KINDS = (
    SpectralFeatures(
        name="logmel",
        summary="Log-mel spectrum, 80 bands every 10 ms; needs nothing.",
        spectral="logmel",
        channels=MEL_CHANNELS,
        has_array_shape=True,
        rank=1,
    ),
)
