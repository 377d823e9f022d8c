"""A new kind of audio features: the loudness of four frequency bands.

As a file in nerfstudio_talking/audio/features/kinds/ the registry finds it, and `ns-talking process VIDEO --output DIR
--audio-model bands` takes it. Here: python new_audio_feature.py voice.wav
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerfstudio_talking.audio.features.kind import ComputedKind
from nerfstudio_talking.audio.features.streams import FeatureStream, MelStream
from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.media.reading import read_audio


def loudness(power: np.ndarray) -> np.ndarray:
    """Decibels of four bands, of the power (rows, 80) of mel bands."""
    return 10 * np.log10(power.reshape(-1, 4, 20).mean(2) + 1e-6)


class BandStream(FeatureStream):
    """Audio in pieces to rows, normalised as the training clip was."""

    rate, look_ahead = 100, MelStream.look_ahead

    def __init__(self, normalization: FeatureNormalization) -> None:
        self._mel, self._normalization = MelStream(), normalization

    def _rows(self, power: np.ndarray) -> np.ndarray:
        return ((loudness(power) - self._normalization.mean) / self._normalization.std).astype(np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The rows that these samples complete."""
        return self._rows(self._mel.push(samples))

    def finish(self) -> np.ndarray:
        """The rows that waited for more audio."""
        return self._rows(self._mel.finish())


@dataclass(frozen=True, kw_only=True)
class BandLoudness(ComputedKind):
    """Rows of four channels, 100 a second; a frame sees 16 of them, 20 ms apart."""

    window: int = 16
    rate: int = 100
    window_rate: float = 50

    def extract(self, samples):
        """Rows of a whole recording, and what they were normalised with."""
        mel = MelStream()
        rows = loudness(np.concatenate([mel.push(np.float32(samples)), mel.finish()]))
        normalization = FeatureNormalization(0.0, 0.0, rows.mean(0), rows.std(0) + 1e-3)
        return ((rows - normalization.mean) / normalization.std).astype(np.float32), normalization

    def stream(self, normalization, mode, live, encoder=None):
        """The same rows, of audio that arrives."""
        return BandStream(normalization)


KINDS = (BandLoudness(name="bands", summary="Loudness of four bands every 10 ms; needs nothing.", channels=4),)


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
