"""Features from speech models: wav2vec 2.0 and HuBERT, through transformers or torchaudio where installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features import mel_power, row_level
from nerfstudio_talking.audio.normalization import SILENCE_DB, FeatureNormalization, active_level, statistics
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    import torch

MODEL_RATE = 50
"""Rows per second of every model here; row k is centred on second k/50."""
CONTEXT_SECONDS = 1.0
"""Audio on both sides of a block of rows that the model sees with it."""
MIN_STD = 1e-3
"""Lower bound of a channel's standard deviation."""
BLOCK_ROWS = 20 * MODEL_RATE
"""Rows computed at a time for a file."""
HOP, FIELD = 320, 400
"""Samples between rows, and under one row."""
_CONTEXT = round(CONTEXT_SECONDS * MODEL_RATE)

SpeechForward = Callable[["torch.Tensor"], "torch.Tensor"]
"""From audio (1, samples) to hidden states (1, rows, channels)."""


@dataclass(frozen=True)
class SpeechModel:
    """A model that goes by a short name."""

    repository: str
    """Name on the Hugging Face hub."""
    bundle: str
    """Name among torchaudio's pipelines."""
    channels: int
    megabytes: int


SPEECH_MODELS = {
    "wav2vec2": SpeechModel("facebook/wav2vec2-base-960h", "WAV2VEC2_ASR_BASE_960H", 768, 378),
    "hubert": SpeechModel("facebook/hubert-base-ls960", "HUBERT_BASE", 768, 378),
    "hubert-large": SpeechModel("facebook/hubert-large-ls960-ft", "HUBERT_ASR_LARGE", 1024, 1262),
}


def is_speech_model(kind: str) -> bool:
    """Whether a kind of features is one that `speech_model_features` makes."""
    return kind in SPEECH_MODELS or Path(kind).is_dir() or kind.count("/") == 1


def speech_model_features(
    samples: Float[np.ndarray, " samples"], name_or_path: str
) -> tuple[Float32[np.ndarray, "rows channels"], FeatureNormalization]:
    """Last hidden states of a speech model at 50 Hz, zero mean and unit variance per channel over the whole signal.

    Args:
        samples: mono audio at 16 kHz.
        name_or_path: 'wav2vec2', 'hubert', 'hubert-large', a name on the Hugging Face hub, or a folder saved by
            transformers (config.json and weights). Weights come from the user's cache or are downloaded into it once.

    Returns:
        The features, and what they were normalised with.

    Raises:
        TalkingError: neither library is installed, or the weights are not to be had.
    """
    audio = np.asarray(samples, dtype=np.float32)
    variance = audio.var() + 1e-7
    blocks = SpeechModelRows(load_speech_model(name_or_path), BLOCK_ROWS)
    hidden = np.concatenate([*blocks.push((audio - audio.mean()) / np.sqrt(variance)), *blocks.finish()])
    mean, std = statistics(hidden, np.ones(len(hidden), dtype=bool), MIN_STD)
    loudness = row_level(mel_power(audio))
    reference = float(loudness.max()) if (loudness > SILENCE_DB).any() else SILENCE_DB
    level = float(10 * np.log10(variance))
    normalization = FeatureNormalization(level, active_level(loudness, reference), mean, std)
    return ((hidden - mean) / std).astype(np.float32), normalization


class SpeechModelRows:
    """Hidden states of audio that arrives piece by piece, in constant memory.

    Rows are computed in blocks at fixed positions, each with a second of audio on both sides: how the audio was cut
    makes no difference. Another size of the blocks gives other rows, as far as the model attends further than a second.

    Args:
        forward: the model.
        block: rows computed at a time.
    """

    def __init__(self, forward: SpeechForward, block: int) -> None:
        self._forward, self._block = forward, block
        # puts the middle of row k's field on sample 320 k
        self._audio = np.zeros(_CONTEXT * HOP + FIELD // 2, dtype=np.float32)
        self._pushed = self._done = 0

    @property
    def look_ahead(self) -> float:
        """Seconds of audio after a row's time that it waits for, at most."""
        return CONTEXT_SECONDS + (self._block - 1) / MODEL_RATE + FIELD / 2 / (MODEL_RATE * HOP)

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
        return (count + 2 * _CONTEXT - 1) * HOP + FIELD

    def _rows(self, count: int) -> Float32[np.ndarray, "rows channels"]:
        import torch

        with torch.inference_mode():
            hidden = self._forward(torch.from_numpy(self._audio[: self._length(count)])[None])[0]
        self._audio = self._audio[count * HOP :]
        self._done += count
        return hidden[_CONTEXT : _CONTEXT + count].float().cpu().numpy()


def load_speech_model(name_or_path: str) -> SpeechForward:
    """A speech model as a function from audio to hidden states; names as of `speech_model_features`.

    Raises:
        TalkingError: neither library is installed, or the weights are not to be had.
    """
    known = SPEECH_MODELS.get(name_or_path)
    if importlib.util.find_spec("transformers") is not None:
        return _from_transformers(name_or_path, known)
    if importlib.util.find_spec("torchaudio") is not None and known is not None:
        return _from_torchaudio(name_or_path, known)
    if importlib.util.find_spec("torchaudio") is not None:
        expected, found = "transformers, which reads models by path or hub name", "torchaudio only"
    else:
        expected, found = "transformers or torchaudio", "neither installed"
    raise TalkingError(
        f"audio model '{name_or_path}'",
        expected=expected,
        found=found,
        hint="`pip install nerfstudio-talking[speech]` brings them; the default, logmel, needs none.",
    )


def _from_transformers(name: str, known: SpeechModel | None) -> SpeechForward:
    from transformers import AutoModel  # pyright: ignore[reportMissingImports]

    try:
        model = AutoModel.from_pretrained(known.repository if known else name).eval()
    except (OSError, ValueError) as error:
        raise _no_weights(name, known, error) from error

    def forward(audio: torch.Tensor) -> torch.Tensor:
        return model(audio).last_hidden_state

    return forward


def _from_torchaudio(name: str, known: SpeechModel) -> SpeechForward:
    import torchaudio  # pyright: ignore[reportMissingImports]

    try:
        model = getattr(torchaudio.pipelines, known.bundle).get_model().eval()
    except (OSError, RuntimeError) as error:
        raise _no_weights(name, known, error) from error

    def forward(audio: torch.Tensor) -> torch.Tensor:
        return model.extract_features(audio)[0][-1]

    return forward


def _no_weights(name: str, known: SpeechModel | None, error: Exception) -> TalkingError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    repository = known.repository if known else name
    size = f" ({known.megabytes} MB)" if known else ""
    return TalkingError(
        f"audio model '{name}'",
        expected=f"the weights of {repository}{size} in the cache, or a network to fetch them",
        found=reason,
        hint=f"Offline: save {repository} from huggingface.co (config.json and weights) to a folder and give its path, "
        "or use the default, logmel, which needs none.",
    )
