"""Streams of audio features: audio arrives piece by piece, rows come out, in constant memory.

How the audio is cut makes no difference: rows are computed one by one, or in blocks at fixed positions, and what is
estimated as the audio goes on depends on earlier rows alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view

from nerfstudio_talking.audio.features.spectral import (
    DELTA_WIDTH,
    MIN_STD,
    STREAM_RATE,
    SpectralKind,
    cepstral,
    floored_decibels,
    half_window,
    mel_basis,
    power_spectrum,
    row_level,
)
from nerfstudio_talking.audio.features.speech_rows import MODEL_RATE, SpeechEncoder, SpeechModelRows
from nerfstudio_talking.audio.normalization import (
    ActiveLevel,
    AdaptiveNormalizer,
    FeatureNormalization,
    NormalizationMode,
)

RATE = 16000
"""Samples per second."""
_HOP = RATE // STREAM_RATE


class FeatureStream(ABC):
    """Audio in, rows of features out.

    Attributes:
        rate: rows per second.
        look_ahead: seconds of audio after a row's time that the row waits for, at most.
    """

    rate: int
    look_ahead: float

    @abstractmethod
    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows channels"]:
        """Take the next samples at 16 kHz; the rows that they complete."""

    @abstractmethod
    def finish(self) -> Float32[np.ndarray, "rows channels"]:
        """The rows that waited for audio which does not come."""


class MelStream:
    """Power in mel bands, row by row: the rows of `mel_power`."""

    look_ahead = half_window(RATE) / RATE

    def __init__(self) -> None:
        self._samples = np.zeros(half_window(RATE), dtype=np.float32)

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows 80"]:
        """Take the next samples; the rows that they complete."""
        self._samples = np.concatenate([self._samples, samples])
        count = (len(self._samples) - 2 * half_window(RATE)) // _HOP + 1
        if count < 1:
            return np.zeros((0, len(mel_basis(RATE))), dtype=np.float32)
        spectrum = power_spectrum(self._samples[: (count - 1) * _HOP + 2 * half_window(RATE)], RATE)
        self._samples = self._samples[count * _HOP :]
        # one by one: a product of matrices rounds otherwise for another number of rows
        return np.stack([mel_basis(RATE) @ np.ascontiguousarray(row) for row in spectrum.T])

    def finish(self) -> Float32[np.ndarray, "rows 80"]:
        """The rows at the end, zeros after the audio."""
        return self.push(np.zeros(half_window(RATE), dtype=np.float32))


class SpectralStream(FeatureStream):
    """Log-mel spectra or MFCC.

    Args:
        kind: 'logmel' or 'mfcc'.
        normalization: the clip's.
        mode: whether it is adapted to the voice.
    """

    rate = STREAM_RATE

    def __init__(self, kind: SpectralKind, normalization: FeatureNormalization, mode: NormalizationMode) -> None:
        self._kind, self._normalization, self._adapt = kind, normalization, mode == "adapt"
        self._mel = MelStream()
        self._level = ActiveLevel(normalization.level_db)
        self._normalize = AdaptiveNormalizer(normalization, MIN_STD[kind], self._adapt)
        self._deltas = _DeltaStream() if kind == "mfcc" else None
        self._speech: list[bool] = []  # of rows that wait for those after them
        self.look_ahead = MelStream.look_ahead + (_DeltaStream.REACH / STREAM_RATE if self._deltas else 0.0)

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows channels"]:
        """Take the next samples at 16 kHz; the rows that they complete."""
        return self._rows(self._mel.push(samples))

    def finish(self) -> Float32[np.ndarray, "rows channels"]:
        """The rows that waited for audio which does not come: zeros, and repeated rows for differences."""
        rows = self._rows(self._mel.finish())
        if self._deltas is None:
            return rows
        return np.concatenate([rows, self._normalized(self._deltas.finish())])

    def _rows(self, power: Float32[np.ndarray, "rows bands"]) -> Float32[np.ndarray, "complete channels"]:
        channels = [self._channels(row[None]) for row in power]
        width = len(self._normalization.mean)
        rows = np.concatenate(channels) if channels else np.zeros((0, width))
        return self._normalized(rows)

    def _channels(self, power: Float32[np.ndarray, "1 bands"]) -> Float[np.ndarray, "rows channels"]:
        """The channels of the rows that a row of power completes."""
        is_speech = self._level.update(float(row_level(power)[0]))
        self._speech.append(is_speech)
        # the floor is that of the clip: the voice is brought to the clip's level in front of it
        lift = self._normalization.level_db - self._level.level_db if self._adapt else 0.0
        decibels = floored_decibels(power, self._normalization.reference_db - lift) + lift
        if self._deltas is None:
            return decibels
        return self._deltas.push(cepstral(decibels, deltas=False))

    def _normalized(self, rows: Float[np.ndarray, "rows channels"]) -> Float32[np.ndarray, "rows channels"]:
        normalized = np.empty(rows.shape, dtype=np.float32)
        for index, row in enumerate(rows):
            normalized[index] = self._normalize(row, self._speech[index])
        del self._speech[: len(rows)]
        return normalized


class _DeltaStream:
    """Coefficients with their first and second differences, four rows late: the rows of `cepstral`."""

    REACH = DELTA_WIDTH // 2

    def __init__(self) -> None:
        from scipy.signal import savgol_coeffs

        self._weights = np.stack(
            [savgol_coeffs(DELTA_WIDTH, polyorder=order, deriv=order, use="dot") for order in (1, 2)]
        )
        self._rows: Float[np.ndarray, "rows channels"] | None = None

    def push(self, rows: Float[np.ndarray, "rows channels"]) -> Float[np.ndarray, "complete three_channels"]:
        """Take the next rows; those whose neighbours are there."""
        if self._rows is None:
            self._rows = np.repeat(rows[:1], self.REACH, axis=0)
        self._rows = np.concatenate([self._rows, rows])
        if len(self._rows) < DELTA_WIDTH:
            return np.zeros((0, 3 * rows.shape[1]))
        windows = sliding_window_view(self._rows, DELTA_WIDTH, axis=0)  # (rows, channels, width)
        complete = np.concatenate([windows[..., self.REACH], *(windows @ weights for weights in self._weights)], axis=1)
        self._rows = self._rows[len(windows) :]
        return complete

    def finish(self) -> Float[np.ndarray, "rows channels"]:
        """The last rows; the very last is repeated."""
        assert self._rows is not None
        return self.push(np.repeat(self._rows[-1:], self.REACH, axis=0))


class SpeechStream(FeatureStream):
    """Hidden states of a speech model. The level of the voice is adapted; means and deviations are the clip's.

    Args:
        encoder: the model.
        normalization: the clip's.
        mode: whether the level is adapted to the voice.
        live: whether blocks have the size for live audio, or that of processing.
    """

    rate = MODEL_RATE

    def __init__(
        self, encoder: SpeechEncoder, normalization: FeatureNormalization, mode: NormalizationMode, live: bool
    ) -> None:
        self._normalization, self._adapt, self._centre = normalization, mode == "adapt", encoder.centred
        self._rows = SpeechModelRows(encoder, live)
        self._mel = MelStream()
        self._level = ActiveLevel(normalization.level_db)
        self._gain_db = 0.0
        self._sum, self._count = 0.0, 0
        self._waiting = np.zeros(0, dtype=np.float32)
        self.look_ahead = self._rows.look_ahead + (MelStream.look_ahead + _HOP / RATE if self._adapt else 0.0)

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows channels"]:
        """Take the next samples at 16 kHz; the rows that they complete."""
        return self._normalized([*self._rows.push(self._levelled(self._centred(samples)))])

    def finish(self) -> Float32[np.ndarray, "rows channels"]:
        """The rows that waited for audio which does not come."""
        rest = self._scaled(self._waiting, np.full(len(self._waiting), self._gain_db))
        return self._normalized([*self._rows.push(rest), *self._rows.finish()])

    def _centred(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
        """Samples less their mean so far, which starts from a second of zeros: microphones have a constant offset."""
        if not self._centre:
            return samples
        sums = np.cumsum(np.concatenate([[self._sum], samples]))
        counts = self._count + RATE + np.arange(1, len(sums))
        self._sum, self._count = float(sums[-1]), self._count + len(samples)
        return (samples - sums[1:] / counts).astype(np.float32)

    def _levelled(self, samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " ready"]:
        """Samples at the clip's level; the gain runs straight from row to row."""
        if not self._adapt:
            return self._scaled(samples, np.zeros(1))
        self._waiting = np.concatenate([self._waiting, samples])
        gains = [self._gain_db]
        for row in self._mel.push(samples):
            self._level.update(float(row_level(row[None])[0]))
            gains.append(self._normalization.level_db - self._level.level_db)
        count = (len(gains) - 1) * _HOP
        self._gain_db, ready = gains[-1], self._waiting[:count]
        self._waiting = self._waiting[count:]
        return self._scaled(ready, np.interp(np.arange(count) / _HOP, np.arange(len(gains)), gains))

    def _scaled(
        self, samples: Float32[np.ndarray, " samples"], gain_db: Float[np.ndarray, " gains"]
    ) -> Float32[np.ndarray, " samples"]:
        return (samples * 10 ** ((gain_db - self._normalization.reference_db) / 20)).astype(np.float32)

    def _normalized(self, blocks: list[np.ndarray]) -> Float32[np.ndarray, "rows channels"]:
        mean, std = self._normalization.mean, self._normalization.std
        rows = np.concatenate(blocks) if blocks else np.zeros((0, len(mean)), dtype=np.float32)
        return ((rows - mean) / std).astype(np.float32)
