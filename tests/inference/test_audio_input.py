"""The voice as it goes into a video: in its own channels and rate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_files import grey, tone

from nerfstudio_talking.inference.audio_input import written_audio
from nerfstudio_talking.media.writing import VideoWriter


def write_voice(path: Path, channels: np.ndarray, rate: int, layout: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        packed = np.round(channels * 32767).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def speak(voice: Path, output: Path) -> tuple[np.ndarray, int]:
    """A second of video with a voice; the channels of its audio and their rate."""
    with VideoWriter(output, 25, 48, 32, audio=written_audio(voice)) as writer:
        for _ in range(25):
            writer.write(grey(90))
    with av.open(str(output)) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        assert stream.rate is not None
        return np.concatenate(frames, axis=1), stream.rate


def level(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(np.sqrt((middle**2).mean()))


@pytest.mark.parametrize("rate", [48000, 44100])
def test_stereo_stays_stereo(tmp_path, rate):
    left, right = tone(1, rate, 440, 0.3), tone(1, rate, 700, 0.1)
    found, found_rate = speak(
        write_voice(tmp_path / "v.wav", np.stack([left, right]), rate, "stereo"), tmp_path / "o.mp4"
    )
    assert found_rate == rate and len(found) == 2
    assert level(found[0]) == pytest.approx(level(left), rel=0.02)
    assert level(found[1]) == pytest.approx(level(right), rel=0.02)


def test_the_centre_of_six_channels_keeps_its_level(tmp_path):
    channels = np.zeros((6, 48000), np.float32)
    channels[2] = tone(1, 48000)
    found, rate = speak(write_voice(tmp_path / "v.wav", channels, 48000, "5.1"), tmp_path / "o.mp4")
    assert rate == 48000 and len(found) == 6
    levels = [level(channel) for channel in found]
    assert levels[2] == pytest.approx(level(channels[2]), rel=0.02)
    assert max(levels[:2] + levels[3:]) < 0.02 * levels[2]


@pytest.mark.parametrize(("layout", "count"), [("mono", 1), ("stereo", 2), ("quad", 4)])
def test_mono_cancelling_and_unusual_channels_are_mono(tmp_path, layout, count):
    signs = np.ones(count) if count != 2 else np.array([1.0, -1.0])
    voice = write_voice(tmp_path / "v.wav", signs[:, None] * tone(1, 96000), 96000, layout)
    found, rate = speak(voice, tmp_path / "o.mp4")
    assert rate == 48000 and len(found) == 1
    assert level(found[0]) == pytest.approx(0.3 / 2**0.5, rel=0.02)


def test_arrays_are_written_as_they_are(tmp_path):
    samples, rate = written_audio(tone(0.5, 16000))
    assert rate == 16000 and isinstance(samples, np.ndarray)


def test_files_are_read_piece_by_piece(tmp_path):
    voice = write_voice(tmp_path / "v.wav", np.stack([tone(20, 48000)] * 2), 48000, "stereo")
    samples, _ = written_audio(voice)
    assert isinstance(samples, Iterable) and not isinstance(samples, np.ndarray)
    assert max(len(block) for block in samples) < 48000
