"""Normalisation of audio features: that of a clip, and its adaptation to another voice as it is heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

NormalizationMode = Literal["adapt", "clip"]
"""'adapt': level, mean and standard deviation are adapted to the new voice; 'clip': those of the clip throughout."""
SILENCE_DB = -190.0
"""Rows of at most this level are digital silence."""
_LEVEL_PRIOR, _STATISTICS_PRIOR = 25, 50
"""Rows of speech (10 ms each) that the clip's level, and its mean and standard deviation, count as."""
_SAMPLE_ROWS = 80
"""Rows of speech that are worth one independent sample of the mean spectrum: neighbouring rows are alike."""
_LEVEL_MEMORY, _STATISTICS_MEMORY = 1000, 3000
"""Rows of speech that the running estimates remember: 10 and 30 s."""
_GATE_DB = 45.0
"""Rows this far below the estimated level of speech are no speech."""
_NOISE_PERCENTILE, _NOISE_MARGIN_DB = 0.1, 6.0
"""The noise floor is a percentile of all rows; speech rises above it by more than the margin."""
_BIN_DB, _LOWEST_DB, _BINS = 0.5, -150.0, 500
_NOISE_MEMORY = 6000


@dataclass(frozen=True)
class FeatureNormalization:
    """What audio features of a clip are normalised with: features = (channels - mean) / std."""

    reference_db: float
    """Spectral features: the level that powers are floored against. Speech models: the level of the waveform."""
    level_db: float
    """Active level of the clip's speech, as of `ActiveLevel`."""
    mean: Float[np.ndarray, " channels"]
    """Mean of each channel."""
    std: Float[np.ndarray, " channels"]
    """Standard deviation of each channel, with its lower bound."""


def statistics(
    channels: Float[np.ndarray, "rows channels"], active: Bool[np.ndarray, " rows"], min_std: float
) -> tuple[Float[np.ndarray, " channels"], Float[np.ndarray, " channels"]]:
    """Mean and standard deviation (at least `min_std`) over the active rows; of the first row where none is active."""
    chosen = channels[active] if active.any() else channels[:1]
    return chosen.mean(axis=0), np.maximum(chosen.std(axis=0), min_std)


class ActiveLevel:
    """Running estimate of the level of speech: the mean power of the rows that hold speech, in dB.

    The idea is that of ITU-T P.56: pauses take no part. A row holds speech that is within 45 dB of the level estimated
    so far and more than 6 dB above the noise floor, the running 10th percentile of all rows; so hiss before the first
    word is not turned up. The estimate starts from a given level, which counts as a quarter of a second of speech.

    Args:
        start_db: level to start from.
        prior: rows of speech that it counts as.
        settle: first rows, which only say how loud the noise is.
    """

    def __init__(self, start_db: float, prior: float = _LEVEL_PRIOR, settle: int = 0) -> None:
        self.level_db = self._start = start_db
        self._settle = settle
        self._prior, self._count, self._energy = prior, 0.0, 0.0
        self._histogram = np.zeros(_BINS)
        self._rows = 0.0

    def add_noise(self, loudness: float) -> None:
        """Take a row's level in dB for the noise floor alone."""
        if self._rows >= _NOISE_MEMORY:
            self._histogram *= 0.5
            self._rows *= 0.5
        self._histogram[min(max(int((loudness - _LOWEST_DB) / _BIN_DB), 0), _BINS - 1)] += 1
        self._rows += 1

    def update(self, loudness: float) -> bool:
        """Take the next row's level in dB; whether it holds speech. `level_db` then includes it."""
        if loudness <= SILENCE_DB:
            return False
        self.add_noise(loudness)
        if self._rows <= self._settle:
            return False
        rank = int(np.searchsorted(np.cumsum(self._histogram), _NOISE_PERCENTILE * self._rows))
        noise = _LOWEST_DB + _BIN_DB * rank
        if loudness <= max(noise + _NOISE_MARGIN_DB, self.level_db - _GATE_DB):
            return False
        self._count += 1
        self._energy += 10 ** (loudness / 10)
        if self._count > _LEVEL_MEMORY:
            self._energy *= _LEVEL_MEMORY / self._count
            self._count = _LEVEL_MEMORY
        heard = 10 * np.log10(self._energy / self._count)
        self.level_db = float((self._prior * self._start + self._count * heard) / (self._prior + self._count))
        return True


def active_level(loudness: Float[np.ndarray, " rows"], reference_db: float) -> float:
    """Active level of a whole clip, from its rows' levels in dB."""
    meter = ActiveLevel(reference_db, prior=0.0)
    for row in loudness:
        meter.update(float(row))
    return meter.level_db


class AdaptiveNormalizer:
    """Normalises rows one after another; mean and standard deviation start from a clip's and follow the voice.

    Cepstral mean and variance normalisation online (Viikki and Laurila 1998), shrunk towards the clip's statistics as
    far as the difference may be chance: z is the mean square of the difference of the means over its squared standard
    error, and the voice's own statistics have the weight z / (z + 1) * n / (n + 50) after n rows of speech. So a voice
    recorded as the clip was keeps the clip's statistics, and that of another microphone has its own after a few
    seconds.

    Args:
        normalization: the clip's.
        min_std: lower bound of the standard deviations.
        adapt: False keeps the clip's statistics.
    """

    def __init__(self, normalization: FeatureNormalization, min_std: float, adapt: bool) -> None:
        self._mean = np.asarray(normalization.mean, dtype=np.float64)
        self._std = np.asarray(normalization.std, dtype=np.float64)
        self._min_variance, self._adapt = min_std**2, adapt
        self._count = 0.0
        self._sum, self._square = np.zeros_like(self._mean), np.zeros_like(self._mean)

    def __call__(self, row: Float[np.ndarray, " channels"], is_speech: bool) -> Float[np.ndarray, " channels"]:
        """The next row, normalised."""
        deviation = row - self._mean
        if not self._adapt:
            return deviation / self._std
        if is_speech:
            self._count += 1
            self._sum += deviation
            self._square += deviation**2
            if self._count > _STATISTICS_MEMORY:
                share = _STATISTICS_MEMORY / self._count
                self._sum *= share
                self._square *= share
                self._count = _STATISTICS_MEMORY
        if self._count == 0:
            return deviation / self._std
        mean = self._sum / self._count
        z = np.mean((mean / self._std) ** 2) * self._count / _SAMPLE_ROWS
        trust = z / (z + 1) * self._count / (self._count + _STATISTICS_PRIOR)
        own = np.maximum(self._square / self._count - mean**2, self._min_variance)
        variance = (1 - trust) * self._std**2 + trust * own
        return (deviation - trust * mean) / np.sqrt(variance)
