"""A new kind of audio features: the loudness of eight frequency bands, 50 rows a second.

As a file in nerfstudio_talking/audio/features/kinds/ the registry finds it, and `ns-talking process VIDEO --output DIR
--audio-model bands` takes it. Here: python new_audio_feature.py voice.wav
"""

import sys
from pathlib import Path

import numpy as np

from nerfstudio_talking.audio.features.kind import SpeechKind
from nerfstudio_talking.audio.features.speech_rows import FIELD, HOP, SpeechEncoder
from nerfstudio_talking.media.reading import read_audio


def bands(samples: np.ndarray) -> np.ndarray:
    """Rows of 400 samples, 320 apart, to log energies of eight bands; a network's forward pass stands here as well."""
    rows = np.lib.stride_tricks.sliding_window_view(samples, FIELD)[::HOP]
    power = np.abs(np.fft.rfft(rows * np.hanning(FIELD))[:, 1:]) ** 2
    return np.log(power.reshape(len(rows), 8, -1).mean(2) + 1e-6).astype(np.float32)


class BandKind(SpeechKind):
    """Recordings, live audio, blocks and normalisation come from `SpeechKind`."""

    def load(self) -> SpeechEncoder:
        """What computes rows, and how many rows it sees on both sides of a block."""
        return SpeechEncoder(bands, before=1, after=1, centred=False)


KINDS = (BandKind(name="bands", summary="Loudness of eight bands at 50 Hz; needs nothing.", channels=8),)


def main(voice: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the whole voice, and of the voice in pieces of 20 ms."""
    samples = read_audio(voice)
    rows, normalization = KINDS[0].extract(samples)
    stream = KINDS[0].stream(normalization, "clip", live=True)
    pieces = [stream.push(piece) for piece in np.array_split(samples, max(len(samples) // 320, 1))]
    return rows, np.concatenate([*pieces, stream.finish()])


if __name__ == "__main__":
    whole, streamed = main(Path(sys.argv[1]))
    print(whole.shape, "largest difference", np.abs(whole - streamed).max())
