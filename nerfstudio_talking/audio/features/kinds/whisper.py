"""Whisper's encoder (Radford et al., ICML 2023) through faster-whisper's engine, CTranslate2, on a CPU or CUDA.

Whisper computes 30 s at a time. Here a row sees two seconds of audio before its block of half a second and half a
second after it, of recordings and of live audio alike: so both have the same rows, and the look-ahead is one second.
What the log-mel spectrum is floored against is fixed, where Whisper takes the loudest sample of its 30 s: a pause does
not turn its noise up.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.audio.features.kind import FeatureKind, SpeechKind
from nerfstudio_talking.audio.features.pretrained import no_weights
from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder
from nerfstudio_talking.audio.features.streams import RATE
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

FOLDER_VARIABLE = "NERFSTUDIO_TALKING_WHISPER"
"""Environment variable with the folder of a Whisper model in CTranslate2's format."""
WEIGHTS = "model.bin"
_FFT, _MEL_HOP = 400, 160
_LEVEL = 0.06
"""Root mean square of the audio that the encoder sees: that of speech recorded at a usual level."""
_CEILING, _RANGE = 1.4, 8.0
"""Largest value of log10 of the mel power of such speech, and how far below it Whisper floors, in powers of ten."""


@dataclass(frozen=True, kw_only=True)
class WhisperKind(SpeechKind):
    """Last hidden states of Whisper's encoder."""

    window: int = 4
    megabytes: int

    @property
    def repository(self) -> str:
        """Name on the Hugging Face hub."""
        return f"Systran/faster-{self.name}"

    def match(self, spec: str) -> FeatureKind | None:
        """This kind for its name, 'whisper' (base), NAME@PLACE, a hub name that ends in it, or a folder with it."""
        name, _, place = spec.partition("@")
        if name == self.name or (name, self.name) == ("whisper", "whisper-base"):
            return self.at(place)
        if "/" in spec and spec.rpartition("/")[2] == f"faster-{self.name}" and not Path(spec).is_dir():
            return self.at(spec)
        if (Path(spec) / WEIGHTS).is_file() and _channels(spec) == self.channels:
            return self.at(spec)
        return None

    def folder(self) -> str | None:
        """The folder of the weights; None where they would have to be downloaded."""
        for place in (self.place, os.environ.get(FOLDER_VARIABLE, "")):
            if (Path(place) / WEIGHTS).is_file() and place and _channels(place) == self.channels:
                return place
        if importlib.util.find_spec("faster_whisper") is None:
            return None
        from faster_whisper.utils import download_model
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return download_model(self._hub_name, local_files_only=True)
        except LocalEntryNotFoundError:
            return None

    def missing(self) -> str | None:
        """What would have to be installed or downloaded first."""
        if importlib.util.find_spec("ctranslate2") is None or importlib.util.find_spec("faster_whisper") is None:
            return "`pip install nerfstudio-talking[speech]` brings it"
        if self.folder() is None:
            return f"`--audio-model whisper` downloads {self.megabytes} MB, or set {FOLDER_VARIABLE} to a folder"
        return None

    def load(self) -> SpeechEncoder:
        """The encoder; weights come from a folder, the user's cache, or are downloaded into it once.

        Raises:
            TalkingError: faster-whisper is not installed, or the weights are not to be had.
        """
        _require_engine(self.spec)
        folder = self.folder() or self._download()
        if (found := _channels(folder)) != self.channels:
            raise TalkingError(
                folder,
                expected=f"{self.name}, whose rows have {self.channels} channels",
                found=f"rows of {found} channels",
                hint="Give the folder of the model that the features were made with.",
            )
        model = _load(folder)

        def forward(audio: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows channels"]:
            return _encode(model, whisper_log_mel(_LEVEL * (audio - audio.mean()), model.n_mels))

        # the same blocks live and offline
        return SpeechEncoder(forward, before=100, after=25, block=25, live_block=25, centred=False)

    @property
    def _hub_name(self) -> str:
        return self.place if "/" in self.place and not Path(self.place).is_dir() else self.repository

    def _download(self) -> str:
        from faster_whisper.utils import download_model
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        CONSOLE.print(f"Downloading {self._hub_name} ({self.megabytes} MB) once, into the cache of Hugging Face.")
        try:
            return download_model(self._hub_name)
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
            raise no_weights(self.spec, self._hub_name, self.megabytes, error) from error


def whisper_log_mel(audio: Float32[np.ndarray, " samples"], num_mels: int = 80) -> Float32[np.ndarray, "mels frames"]:
    """Whisper's log-mel spectrum without its padding: frame k is centred on sample 160 k + 200.

    Args:
        audio: mono samples at 16 kHz, at least 400.
        num_mels: mel bands.
    """
    import librosa

    power = np.abs(librosa.stft(audio, n_fft=_FFT, hop_length=_MEL_HOP, center=False)) ** 2
    log_mel = np.log10(np.maximum(_mel_basis(num_mels) @ power, 1e-10))
    return ((np.maximum(log_mel, _CEILING - _RANGE) + 4) / 4).astype(np.float32)


@lru_cache(maxsize=2)
def _mel_basis(num_mels: int) -> Float32[np.ndarray, "mels bins"]:
    import librosa

    return librosa.filters.mel(sr=RATE, n_fft=_FFT, n_mels=num_mels)


@lru_cache(maxsize=2)
def _load(folder: str) -> Any:
    """The model of a folder, `ctranslate2.models.Whisper`; on a GPU where there is one that it works on."""
    import ctranslate2

    if not (Path(folder) / WEIGHTS).is_file():
        raise TalkingError(
            folder,
            expected=f"a Whisper model in CTranslate2's format ({WEIGHTS}, config.json)",
            found=f"no {WEIGHTS}",
            hint="faster-whisper's models on the hub have it: Systran/faster-whisper-base.",
        )
    try:
        if ctranslate2.get_cuda_device_count() > 0:
            try:
                model = ctranslate2.models.Whisper(folder, device="cuda", compute_type="float32")
                _encode(model, np.zeros((model.n_mels, 3), dtype=np.float32))
                return model
            except RuntimeError as error:  # CTranslate2 wants its own version of CUDA's libraries
                CONSOLE.print(f"Whisper's encoder runs on the CPU: {str(error).splitlines()[0]}.")
        return ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32")
    except (RuntimeError, ValueError) as error:
        raise TalkingError(
            folder,
            expected="a Whisper model in CTranslate2's format",
            found=str(error).splitlines()[0],
            hint="Copy the folder again, or convert the model with ct2-transformers-converter.",
        ) from error


def _encode(model: Any, log_mel: Float32[np.ndarray, "mels frames"]) -> Float32[np.ndarray, "rows channels"]:
    import ctranslate2

    hidden = model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(log_mel[None])), to_cpu=True)
    return np.array(hidden, dtype=np.float32)[0]


@lru_cache(maxsize=4)
def _channels(folder: str) -> int:
    """Channels of the rows of a folder's model; no word in its files names them."""
    _require_engine(folder)
    model = _load(folder)
    return _encode(model, np.zeros((model.n_mels, 3), dtype=np.float32)).shape[1]


def _require_engine(spec: str) -> None:
    missing = [name for name in ("ctranslate2", "faster_whisper") if importlib.util.find_spec(name) is None]
    if missing:
        raise TalkingError(
            f"audio model '{spec}'",
            expected="faster-whisper",
            found=f"no {' and no '.join(missing)}",
            hint="`pip install nerfstudio-talking[speech]` brings it; logmel needs none.",
        )


_SIZES = {"tiny": (384, 75), "base": (512, 142), "small": (768, 464), "medium": (1024, 1460), "large-v3": (1280, 2950)}
"""Channels and megabytes of the multilingual models."""

KINDS = tuple(
    WhisperKind(
        name=f"whisper-{size}",
        summary=f"Encoder of Whisper {size}, last hidden states at 50 Hz; faster-whisper, {megabytes} MB.",
        channels=channels,
        megabytes=megabytes,
        rank=2 if size == "base" else 0,
    )
    for size, (channels, megabytes) in _SIZES.items()
)
