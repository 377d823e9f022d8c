"""Audio to a stream of spectral features, one row every 10 ms, normalised so that voices are comparable."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

STREAM_RATE = 100
"""Rows per second; row k is centred on second k/100."""
MEL_CHANNELS, MFCC_CHANNELS = 80, 13
_FFT = 512
_RANGE_DB = 60.0
"""Audio this far below the clip's loud level is silence: hiss of another room must not look like speech."""
_ACTIVE_DB = 45.0
"""Rows this far below it are pauses and take no part in mean and variance."""
_SMALLEST_STD_DB = 8.0


def log_mel(samples: Float[np.ndarray, " samples"], rate: int = 16000) -> Float32[np.ndarray, "rows 80"]:
    """Logarithmic mel spectrum, 80 bands up to 8 kHz, 25 ms windows every 10 ms.

    Powers are floored 60 dB below the clip's loud level (95th percentile), then every band is given zero mean and unit
    variance over the rows that hold speech (within 45 dB of that level). So a louder recording, another voice or longer
    pauses leave the range as it is, and silence is one constant value per band, some -3 to -6. A clip without any audio
    is all zero.

    Args:
        samples: mono audio.
        rate: samples per second.
    """
    decibels, active = _mel_decibels(samples, rate)
    return normalize(decibels, active)


def mfcc(
    samples: Float[np.ndarray, " samples"], rate: int = 16000, deltas: bool = False
) -> Float32[np.ndarray, "rows channels"]:
    """13 mel-frequency cepstral coefficients every 10 ms, normalised like `log_mel`.

    Args:
        samples: mono audio.
        rate: samples per second.
        deltas: append the first and second differences over 90 ms: 39 channels.
    """
    import librosa

    decibels, active = _mel_decibels(samples, rate)
    stream = librosa.feature.mfcc(S=decibels.T, n_mfcc=MFCC_CHANNELS).T
    if deltas:
        width = min(9, len(stream) - 1 + len(stream) % 2)
        orders = [librosa.feature.delta(stream.T, width=width, order=order, mode="nearest").T for order in (1, 2)]
        stream = np.concatenate([stream, *orders], axis=1)
    return normalize(stream, active, smallest_std=1e-2)


def _mel_decibels(
    samples: Float[np.ndarray, " samples"], rate: int
) -> tuple[Float[np.ndarray, "rows bands"], Bool[np.ndarray, " rows"]]:
    """Mel powers in dB, floored, and the rows that hold speech."""
    import librosa

    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"audio is one axis of at least one sample, not {samples.shape}")
    scale = rate / 16000
    power = librosa.feature.melspectrogram(
        y=np.asarray(samples, dtype=np.float32),
        sr=rate,
        n_fft=round(_FFT * scale),
        win_length=round(0.025 * rate),
        hop_length=round(rate / STREAM_RATE),
        n_mels=MEL_CHANNELS,
        fmin=50.0,
        fmax=min(8000.0, rate / 2),
        pad_mode="constant",
    ).T
    loudness = 10 * np.log10(power.sum(axis=1) + 1e-20)
    loud = np.percentile(loudness[loudness > -190], 95) if (loudness > -190).any() else -190.0
    per_band = loud - 10 * np.log10(power.shape[1])
    decibels = np.maximum(10 * np.log10(power + 1e-20), per_band - _RANGE_DB)
    return decibels, loudness > loud - _ACTIVE_DB


def normalize(
    stream: Float[np.ndarray, "rows channels"],
    active: Bool[np.ndarray, " rows"],
    smallest_std: float = _SMALLEST_STD_DB,
) -> Float32[np.ndarray, "rows channels"]:
    """Zero mean and unit variance over the active rows, per channel."""
    if not active.any():
        return np.zeros(stream.shape, dtype=np.float32)
    mean, std = stream[active].mean(axis=0), stream[active].std(axis=0)
    return ((stream - mean) / np.maximum(std, smallest_std)).astype(np.float32)
