"""Spectral features of audio, one row every 10 ms: log-mel spectrum and MFCC."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from nerfstudio_talking.audio.normalization import SILENCE_DB, FeatureNormalization, active_level, statistics

SpectralKind = Literal["logmel", "mfcc"]
STREAM_RATE = 100
"""Rows per second; row k is centred on second k/100."""
MEL_CHANNELS, MFCC_CHANNELS = 80, 13
DELTA_WIDTH = 9
"""Rows that a difference is taken over."""
MIN_STD: dict[SpectralKind, float] = {"logmel": 8.0, "mfcc": 1e-2}
"""Lower bound of a channel's standard deviation: a constant channel stays constant."""
_FFT = 512
_RANGE_DB = 60.0
"""Powers this far below the reference level are silence: the hiss of another room must not look like speech."""
_ACTIVE_DB = 45.0
"""Rows this far below the reference level are pauses and take no part in mean and standard deviation."""


def log_mel(samples: Float[np.ndarray, " samples"], rate: int = 16000) -> Float32[np.ndarray, "rows 80"]:
    """Logarithmic mel spectrum, 80 bands up to 8 kHz, 25 ms windows every 10 ms, normalised over the whole signal.

    Powers are floored 60 dB below the reference level (95th percentile of the rows' levels), then every band is given
    zero mean and unit variance over the rows that hold speech (within 45 dB of that level). So a louder recording,
    another voice or longer pauses leave the range as it is, and silence is one constant value per band, some -3 to -6.
    A signal without any audio is all zero.

    Args:
        samples: mono audio.
        rate: samples per second.
    """
    return spectral_features(samples, "logmel", rate)[0]


def mfcc(
    samples: Float[np.ndarray, " samples"], rate: int = 16000, deltas: bool = False
) -> Float32[np.ndarray, "rows channels"]:
    """13 mel-frequency cepstral coefficients every 10 ms, normalised like `log_mel`.

    Args:
        samples: mono audio.
        rate: samples per second.
        deltas: append the first and second differences over 90 ms: 39 channels.
    """
    return spectral_features(samples, "mfcc", rate, deltas)[0]


def spectral_features(
    samples: Float[np.ndarray, " samples"], kind: SpectralKind, rate: int = 16000, deltas: bool = True
) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
    """Features of a whole signal, normalised over it, and that normalisation.

    Args:
        samples: mono audio.
        kind: 'logmel' or 'mfcc'.
        rate: samples per second.
        deltas: append first and second differences to the cepstral coefficients.

    Raises:
        ValueError: no samples, or more than one axis.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"audio is one axis of at least one sample, not {samples.shape}")
    power = mel_power(samples, rate)
    loudness = row_level(power)
    heard = loudness > SILENCE_DB
    reference = np.percentile(loudness[heard], 95) if heard.any() else SILENCE_DB
    decibels = floored_decibels(power, reference)
    active: Bool[np.ndarray, " rows"] = loudness > reference - _ACTIVE_DB
    channels = decibels if kind == "logmel" else cepstral(decibels, deltas)
    mean, std = statistics(channels, active, MIN_STD[kind])
    normalization = FeatureNormalization(float(reference), active_level(loudness, float(reference)), mean, std)
    return ((channels - mean) / std).astype(np.float32), normalization


def half_window(rate: int = 16000) -> int:
    """Samples on each side of a row's centre that the row depends on."""
    return round(_FFT * rate / 16000) // 2


def power_spectrum(padded: Float[np.ndarray, " samples"], rate: int = 16000) -> Float32[np.ndarray, "bins rows"]:
    """Power spectra of windows every 10 ms. Row k depends on samples [k hop, k hop + 2 half_window)."""
    import librosa

    spectrum = librosa.stft(
        np.asarray(padded, dtype=np.float32),
        n_fft=round(_FFT * rate / 16000),
        win_length=round(0.025 * rate),
        hop_length=round(rate / STREAM_RATE),
        center=False,
    )
    return np.abs(spectrum) ** 2


@lru_cache(maxsize=4)
def mel_basis(rate: int = 16000) -> Float32[np.ndarray, "80 bins"]:
    """Weights of the mel bands, from 50 Hz to 8 kHz."""
    import librosa

    bins = round(_FFT * rate / 16000)
    return librosa.filters.mel(sr=rate, n_fft=bins, n_mels=MEL_CHANNELS, fmin=50.0, fmax=min(8000.0, rate / 2))


def mel_power(samples: Float[np.ndarray, " samples"], rate: int = 16000) -> Float32[np.ndarray, "rows 80"]:
    """Power in mel bands; row k is centred on sample k hop, with zeros before and after the signal."""
    spectrum = power_spectrum(np.pad(samples, half_window(rate)), rate)
    return np.einsum("ft,mf->mt", spectrum, mel_basis(rate), optimize=True).T


def row_level(power: Float[np.ndarray, "rows bands"]) -> Float[np.ndarray, " rows"]:
    """Level of each row over all bands, dB."""
    return 10 * np.log10(power.sum(axis=1) + 1e-20)


def floored_decibels(power: Float[np.ndarray, "rows bands"], reference_db: float) -> Float[np.ndarray, "rows bands"]:
    """Powers in dB, at least 60 dB below a band's share of the reference level."""
    floor = reference_db - 10 * np.log10(power.shape[1]) - _RANGE_DB
    return np.maximum(10 * np.log10(power + 1e-20), floor)


def cepstral(decibels: Float[np.ndarray, "rows bands"], deltas: bool) -> Float[np.ndarray, "rows channels"]:
    """Cepstral coefficients of mel spectra in dB, and their first and second differences over 90 ms (ends repeated)."""
    import librosa

    coefficients = librosa.feature.mfcc(S=decibels.T, n_mfcc=MFCC_CHANNELS).T
    if not deltas:
        return coefficients
    width = min(DELTA_WIDTH, len(coefficients) - 1 + len(coefficients) % 2)
    orders = [librosa.feature.delta(coefficients.T, width=width, order=order, mode="nearest").T for order in (1, 2)]
    return np.concatenate([coefficients, *orders], axis=1)
