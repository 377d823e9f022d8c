"""Hidden states of speech models, row by row: what wav2vec 2.0, HuBERT and Whisper have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.spectral import mel_power, row_level
from nerfstudio_talking.audio.normalization import SILENCE_DB, FeatureNormalization, active_level, statistics

MODEL_RATE = 50
"""Rows per second of every model here; row k is centred on second k/50."""
MIN_STD = 1e-3
"""Lower bound of a channel's standard deviation."""
HOP, FIELD = 320, 400
"""Samples between rows, and under one row."""

SpeechForward = Callable[[Float32[np.ndarray, " samples"]], Float32[np.ndarray, "rows channels"]]
"""From (rows - 1) * HOP + FIELD samples of unit variance to the hidden states of that many rows."""


@dataclass(frozen=True)
class SpeechEncoder:
    """A speech model that is loaded, and how audio is cut for it."""

    forward: SpeechForward
    before: int = MODEL_RATE
    """Rows of audio that the model sees before a block of rows."""
    after: int = MODEL_RATE
    """Rows of audio that the model sees after a block of rows."""
    block: int = 20 * MODEL_RATE
    """Rows computed at a time for a recording."""
    live_block: int = MODEL_RATE // 2
    """Rows computed at a time for live audio. Where it differs from `block`, rows of live audio differ from those of a
    recording as far as the model attends further than its context."""
    centred: bool = True
    """Whether the audio must have zero mean: that of the whole, of live audio the mean so far."""


def speech_model_features(
    samples: Float[np.ndarray, " samples"], encoder: SpeechEncoder
) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
    """Last hidden states of a speech model at 50 Hz, zero mean and unit variance per channel over the whole signal.

    Args:
        samples: mono audio at 16 kHz.
        encoder: the model.

    Returns:
        The features, and what they were normalised with.
    """
    audio = np.asarray(samples, dtype=np.float32)
    offset = audio.mean() if encoder.centred else np.float32(0)
    variance = audio.var() + 1e-7
    blocks = SpeechModelRows(encoder, live=False)
    hidden = np.concatenate([*blocks.push((audio - offset) / np.float32(np.sqrt(variance))), *blocks.finish()])
    mean, std = statistics(hidden, np.ones(len(hidden), dtype=bool), MIN_STD)
    loudness = row_level(mel_power(audio))
    reference = float(loudness.max()) if (loudness > SILENCE_DB).any() else SILENCE_DB
    level = float(10 * np.log10(variance))
    normalization = FeatureNormalization(level, active_level(loudness, reference), mean, std)
    return ((hidden - mean) / std).astype(np.float32), normalization


class SpeechModelRows:
    """Hidden states of audio that arrives piece by piece, in constant memory.

    Rows are computed in blocks at fixed positions, each with audio on both sides: how the audio was cut makes no
    difference. Another size of the blocks gives other rows, as far as the model attends further than that audio.

    Args:
        encoder: the model.
        live: whether the blocks have the size for live audio.
    """

    def __init__(self, encoder: SpeechEncoder, live: bool) -> None:
        self._encoder, self._block = encoder, encoder.live_block if live else encoder.block
        # puts the middle of row k's field on sample 320 k
        self._audio = np.zeros(encoder.before * HOP + FIELD // 2, dtype=np.float32)
        self._pushed = self._done = 0

    @property
    def look_ahead(self) -> float:
        """Seconds of audio after a row's time that it waits for, at most."""
        return (self._encoder.after + self._block - 1) / MODEL_RATE + FIELD / 2 / (MODEL_RATE * HOP)

    def push(self, samples: Float32[np.ndarray, " samples"]) -> Iterator[Float32[np.ndarray, "rows channels"]]:
        """Take the next samples, of unit variance; the blocks of rows that they complete."""
        self._pushed += len(samples)
        self._audio = np.concatenate([self._audio, samples])
        while len(self._audio) >= self._length(self._block):
            yield self._rows(self._block)

    def finish(self) -> Iterator[Float32[np.ndarray, "rows channels"]]:
        """The blocks of rows of the rest of the audio, silence after it."""
        total = -(-self._pushed // HOP)
        self._audio = np.pad(self._audio, (0, self._length(self._block)))
        while self._done < total:
            yield self._rows(min(self._block, total - self._done))

    def _length(self, count: int) -> int:
        """Samples that a block of that many rows is computed from."""
        return (self._encoder.before + count + self._encoder.after - 1) * HOP + FIELD

    def _rows(self, count: int) -> Float32[np.ndarray, "rows channels"]:
        hidden = self._encoder.forward(self._audio[: self._length(count)])
        self._audio = self._audio[count * HOP :]
        self._done += count
        return hidden[self._encoder.before : self._encoder.before + count]
