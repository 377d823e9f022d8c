"""Speech models of transformers and torchaudio: wav2vec 2.0, HuBERT and models by folder or hub name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.audio.features.kind import FeatureKind, SpeechKind
from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder, SpeechForward
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class PretrainedKind(SpeechKind):
    """A speech model that transformers loads, or torchaudio where it has it."""

    repository: str = ""
    """Name on the Hugging Face hub."""
    bundle: str = ""
    """Name among torchaudio's pipelines; empty where it has none."""
    megabytes: int = 0

    def match(self, spec: str) -> FeatureKind | None:
        """This kind; where it takes any name, a folder or a hub name too."""
        if not self.takes_any_name:
            return super().match(spec)
        return self.at(spec) if Path(spec).is_dir() or spec.count("/") == 1 else None

    @property
    def spec(self) -> str:
        """The name; the folder or hub name where it takes any."""
        return self.place if self.takes_any_name else super().spec

    def load(self) -> SpeechEncoder:
        """The model; weights come from the user's cache or are downloaded into it once.

        Raises:
            TalkingError: neither library is installed, or the weights are not to be had.
        """
        if importlib.util.find_spec("transformers") is not None:
            return SpeechEncoder(self._from_transformers())
        if importlib.util.find_spec("torchaudio") is not None and self.bundle:
            return SpeechEncoder(self._from_torchaudio())
        if importlib.util.find_spec("torchaudio") is not None:
            expected, found = "transformers, which reads models by path or hub name", "torchaudio only"
        else:
            expected, found = "transformers or torchaudio", "neither installed"
        raise TalkingError(
            f"audio model '{self.spec}'",
            expected=expected,
            found=found,
            hint="`pip install nerfstudio-talking[speech]` brings them; logmel needs none.",
        )

    def _from_transformers(self) -> SpeechForward:
        from transformers import AutoModel  # pyright: ignore[reportMissingImports]

        try:
            model = AutoModel.from_pretrained(self.place or self.repository).eval()
        except (OSError, ValueError) as error:
            raise self._no_weights(error) from error
        return _on_arrays(lambda audio: model(audio).last_hidden_state)

    def _from_torchaudio(self) -> SpeechForward:
        import torchaudio  # pyright: ignore[reportMissingImports]

        try:
            model = getattr(torchaudio.pipelines, self.bundle).get_model().eval()
        except (OSError, RuntimeError) as error:
            raise self._no_weights(error) from error
        return _on_arrays(lambda audio: model.extract_features(audio)[0][-1])

    def _no_weights(self, error: Exception) -> TalkingError:
        return no_weights(self.spec, self.place or self.repository, self.megabytes, error)


def no_weights(spec: str, repository: str, megabytes: int, error: Exception) -> TalkingError:
    """The error that a model's weights are not to be had."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    size = f" ({megabytes} MB)" if megabytes else ""
    return TalkingError(
        f"audio model '{spec}'",
        expected=f"the weights of {repository}{size} in the cache, or a network to fetch them",
        found=reason,
        hint=f"Offline: save {repository} from huggingface.co (config.json and weights) to a folder and give its path, "
        "or use logmel, which needs none.",
    )


def _on_arrays(model: Callable[[torch.Tensor], torch.Tensor]) -> SpeechForward:
    """A model on batches of tensors as a function of one array."""

    def forward(audio: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows channels"]:
        import torch

        with torch.inference_mode():
            return model(torch.from_numpy(audio)[None])[0].float().cpu().numpy()

    return forward
