"""Mel-frequency cepstral coefficients with their first and second differences."""

from __future__ import annotations

from nerfstudio_talking.audio.features.kinds.logmel import SpectralFeatures
from nerfstudio_talking.audio.features.spectral import MFCC_CHANNELS

KINDS = (
    SpectralFeatures(
        name="mfcc",
        summary="13 mel-frequency cepstral coefficients and their differences every 10 ms; needs nothing.",
        spectral="mfcc",
        channels=3 * MFCC_CHANNELS,
    ),
)
