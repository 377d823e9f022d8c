"""Audio that a portrait speaks: a file or samples, piece by piece or whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int16

from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    from nerfstudio_talking.media.writing import Samples

RATE = 16000
"""Samples per second of the audio."""
_HIGHEST_RATE = 48000
MAX_MOUTH_GAIN = 3.0
"""Largest factor of the mouth's motion about its rest."""
Audio = Path | str | Float[np.ndarray, " samples"] | Int16[np.ndarray, " samples"]
"""A file that holds audio, or 16 kHz mono samples: float in [-1, 1], or int16."""


def audio_blocks(audio: Audio) -> Iterable[np.ndarray]:
    """The audio piece by piece: a second at a time of an array, as decoded of a file."""
    if isinstance(audio, np.ndarray):
        return (audio[start : start + RATE] for start in range(0, len(audio), RATE))
    from nerfstudio_talking.media.reading import read_audio_blocks

    return read_audio_blocks(audio)


def written_audio(audio: Audio) -> tuple[Samples, int]:
    """The audio as it goes into a video, in constant memory, and its rate: a file in its own channels and rate.

    Rates above 48 kHz become that; numbers of channels that have no usual layout become mono, and so do two that cancel
    each other out.
    """
    from nerfstudio_talking.audio.streaming import as_samples

    if isinstance(audio, np.ndarray):
        return as_samples(audio), RATE
    from nerfstudio_talking.media.decoding.audio_source import audio_source
    from nerfstudio_talking.media.decoding.audio_streams import channel_chunks
    from nerfstudio_talking.media.writing import LAYOUTS

    source = audio_source(audio)
    cancels = source.channels == 2 and source.channel is not None
    channels = 1 if cancels or source.channels not in LAYOUTS else source.channels
    rate = min(source.rate, _HIGHEST_RATE)
    return channel_chunks(audio, rate, channels), rate


def audio_digest(audio: Audio) -> str | None:
    """SHA-256 of the audio: of the file, or of the samples; None where there is no such file."""
    if isinstance(audio, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(audio).tobytes()).hexdigest()
    return file_digest(Path(audio)) if Path(audio).is_file() else None


def whole_audio(audio: Audio) -> Float[np.ndarray, " samples"]:
    """The audio in one piece, 16 kHz mono, float in [-1, 1]."""
    from nerfstudio_talking.audio.streaming import as_samples
    from nerfstudio_talking.media.reading import read_audio

    return as_samples(audio) if isinstance(audio, np.ndarray) else read_audio(audio)


def too_short(audio: Audio, count: int, fps: float) -> TalkingError:
    """The error that an audio of `count` samples is shorter than a frame; `fps` in frames per second."""
    return TalkingError(
        "the audio" if isinstance(audio, np.ndarray) else audio,
        expected=f"at least one frame of audio ({1 / fps:.3f} s)",
        found=f"{count / RATE:.3f} s",
        hint="Give a longer recording.",
    )
