"""Reading videos and audio: frames by time, rotation, channels, bad files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from helpers.media_files import grey, levels, tone, write_audio, write_ramp, write_timed

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio, read_audio_blocks, read_frames
from nerfstudio_talking.media.writing import write_wav


def test_resampling_takes_the_nearest_frame(tmp_path: Path) -> None:
    path = tmp_path / "vfr.mkv"
    times = [0, 40, 80, 200, 240, 280, 320, 500]
    write_timed(path, times)
    assert probe_video(path).variable_frame_rate
    for fps in (10.0, 25.0, 50.0):
        found = levels(path, fps=fps)
        grid = np.arange(len(found)) * 1000 / fps
        nearest = [int(np.argmin(np.abs(np.array(times) - time))) for time in grid]  # the earlier of two
        assert found == nearest
    assert levels(path, fps=25.0, start=3, stop=7) == levels(path, fps=25.0)[3:7]


def test_late_first_frame_is_time_zero(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    write_timed(path, [400 + 40 * index for index in range(10)])
    assert levels(path, fps=25) == list(range(10))
    info = probe_video(path)
    assert info.timestamps is not None and info.timestamps[0] == 0 and info.num_frames == 10


@pytest.mark.parametrize("fps, count", [(12.5, 15), (50.0, 60), (30.0, 36)])
def test_number_of_frames_follows_the_duration(tmp_path: Path, fps: float, count: int) -> None:
    path = tmp_path / "a.mp4"
    write_ramp(path, 30)
    assert len(levels(path, fps=fps)) == count


@pytest.mark.parametrize(
    "name, codec", [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.mkv", "aac")]
)
def test_channels_are_averaged_and_resampled(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    left, right = tone(1, 44100), tone(1, 44100, level=0.1)
    write_audio(path, np.stack([left, right]), 44100, codec)
    audio = read_audio(path)
    expected = tone(1, 16000, level=0.2)
    assert audio.dtype == np.float32 and abs(len(audio) - 16000) <= 1024
    middle = slice(2000, 14000)
    assert np.abs(audio[middle] - expected[middle]).max() < (0.03 if codec == "aac" else 0.002)
    blocks = list(read_audio_blocks(path))
    assert len(blocks) > 5 and all(len(block) for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), audio)
    part = read_audio(path, start=0.25, duration=0.5)
    np.testing.assert_array_equal(part, audio[4000:12000])


@pytest.mark.parametrize("shift", [0.3, -0.2])
def test_audio_counts_from_the_first_frame(tmp_path: Path, shift: float) -> None:
    path = tmp_path / "shifted.mkv"
    with av.open(str(path), "w") as container:
        image = container.add_stream("libx264", rate=25)
        image.width, image.height, image.pix_fmt = 48, 32, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(grey(index), format="rgb24")
            frame.pts, frame.time_base = 400 + 40 * index, Fraction(1, 1000)
            container.mux(image.encode(frame))
        container.mux(image.encode(None))
        samples = np.zeros((1, 16000), dtype=np.int16)
        samples[0, 8000:] = 10000
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), round((0.4 + shift) * 16000)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    heard = read_audio(path)
    step = int(np.flatnonzero(heard > 0.15)[0]) / 16000
    assert step == pytest.approx(0.5 + shift, abs=0.002)


def test_tags_in_another_encoding_and_unknown_codecs(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_ramp(path, 3, metadata={"comment": "Jose" * 8})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"JoseJose", "JoséJosé".encode("latin-1")))
    assert levels(path) == [0, 1, 2]
    path.write_bytes(data.replace(b"avc1", b"zz\xffq"))
    for read in (probe_video, lambda name: list(read_frames(name))):
        with pytest.raises(TalkingError, match=r"a\.mp4"):
            read(path)


def test_bad_files_are_named(tmp_path: Path) -> None:
    empty, text, silent, zero = (tmp_path / name for name in ("empty.mp4", "text.mp4", "silent.mp4", "zero.wav"))
    empty.touch()
    text.write_text("not a video, whatever its name says" * 50)
    write_ramp(silent, 3)
    write_wav(zero, np.zeros(0), 16000)
    audio = tmp_path / "audio.wav"
    write_wav(audio, tone(0.5, 16000), 16000)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(silent.read_bytes()[:300])
    for path, message in [
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "a folder"),
        (empty, "an empty file"),
        (text, "Invalid data"),
        (cut, "cut.mp4: expected a"),
        (audio, "no video stream"),
    ]:
        with pytest.raises(TalkingError, match=message):
            probe_video(path)
        with pytest.raises(TalkingError, match=message):
            list(read_frames(path))
    for path, message in [(silent, "no audio stream"), (zero, "0.00 s"), (empty, "an empty file")]:
        with pytest.raises(TalkingError, match=message):
            read_audio(path)
        with pytest.raises(TalkingError, match=message):
            list(read_audio_blocks(path))
    with pytest.raises(TalkingError, match="wanted from second 3"):
        read_audio(audio, start=3.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_audio_that_is_not_finite_is_refused_by_its_name(tmp_path, value):
    samples = np.zeros(32_000, np.float32)
    samples[20_000] = value
    soundfile.write(tmp_path / "voice.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(TalkingError, match=r"voice\.wav: expected finite samples"):
        read_audio(tmp_path / "voice.wav")
