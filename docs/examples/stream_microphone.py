"""Frames from audio that arrives piece by piece: a file stands for the microphone.

python stream_microphone.py outputs/me/splat-portrait/TIME/config.yml voice.wav
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nerfstudio_talking import PortraitDriver
from nerfstudio_talking.media.reading import read_audio


def microphone(voice: Path) -> Iterator[np.ndarray]:
    """Blocks of 20 ms of 16 kHz mono audio. A real one: sounddevice.InputStream(16000, 320, channels=1)."""
    samples = read_audio(voice)
    yield from np.array_split(samples, max(len(samples) // 320, 1))


def main(config: Path, voice: Path) -> list[float]:
    """Times of the frames, in seconds."""
    driver, times = PortraitDriver.load(config), []
    with driver.stream() as stream:
        print(f"Frames can be rendered {stream.look_ahead:.2f} s after their audio.")
        for block in microphone(voice):
            stream.push(block)
            for time, frame in stream.ready():  # show `frame`, uint8 RGB (height, width, 3), at this time
                times.append(time)
        stream.close()  # the audio ends: what waited for more can be rendered
        times += [time for time, frame in stream.ready()]
    return times


if __name__ == "__main__":
    print(len(main(*map(Path, sys.argv[1:]))), "frames")
