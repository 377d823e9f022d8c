"""Features from speech models: wav2vec 2.0 and HuBERT, through transformers or torchaudio where installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features import normalize
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    import torch

MODEL_RATE = 50
"""Rows per second of every model here; row k is centred on second k/50."""
_HOP, _FIELD = 320, 400
"""Samples between rows, and under one row."""
_CHUNK, _CONTEXT = 20 * MODEL_RATE, 1 * MODEL_RATE
"""Rows computed at a time, and rows of context on both sides: memory stays bounded for any length."""


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
) -> Float32[np.ndarray, "rows channels"]:
    """Last hidden states of a speech model at 50 Hz, zero mean and unit variance per channel over the clip.

    Args:
        samples: mono audio at 16 kHz.
        name_or_path: 'wav2vec2', 'hubert', 'hubert-large', a name on the Hugging Face hub, or a folder saved by
            transformers (config.json and weights). Weights come from the user's cache or are downloaded into it once.

    Raises:
        TalkingError: neither library is installed, or the weights are not to be had.
    """
    import torch

    forward = _loaded(name_or_path)
    num_rows = -(-len(samples) // _HOP)
    audio = np.asarray(samples, dtype=np.float32)
    audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    side = _CONTEXT * _HOP + _FIELD // 2  # puts the middle of row k's field on sample 320 k
    audio = np.pad(audio, (side, side + (_CHUNK + 1) * _HOP))
    pieces = []
    for first in range(0, num_rows, _CHUNK):
        count = min(_CHUNK, num_rows - first)
        length = (count + 2 * _CONTEXT - 1) * _HOP + _FIELD
        with torch.inference_mode():
            rows = forward(torch.from_numpy(audio[first * _HOP : first * _HOP + length])[None])[0]
        pieces.append(rows[_CONTEXT : _CONTEXT + count].float().cpu().numpy())
    stream = np.concatenate(pieces)
    return normalize(stream, np.ones(len(stream), dtype=bool), smallest_std=1e-3)


def _loaded(name_or_path: str):
    """A function from audio (1, samples) to hidden states (1, rows, channels)."""
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


def _from_transformers(name: str, known: SpeechModel | None):
    from transformers import AutoModel  # pyright: ignore[reportMissingImports]

    try:
        model = AutoModel.from_pretrained(known.repository if known else name).eval()
    except (OSError, ValueError) as error:
        raise _no_weights(name, known, error) from error

    def forward(audio: torch.Tensor) -> torch.Tensor:
        return model(audio).last_hidden_state

    return forward


def _from_torchaudio(name: str, known: SpeechModel):
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
