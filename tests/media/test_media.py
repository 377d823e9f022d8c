from __future__ import annotations

import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio, read_audio_blocks, read_frames
from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE, VideoWriter, exact_rate, mux_audio, write_wav


def grey(level: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def tone(seconds: float, rate: int, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_ramp(path: Path, num_frames: int, fps: float | Fraction = 25, **kwargs) -> None:
    """Frame i is grey of level 4 i."""
    with VideoWriter(path, fps, 48, 32, crf=4, **kwargs) as writer:
        for index in range(num_frames):
            writer.write(grey(4 * index))


def levels(path: Path, **kwargs) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in read_frames(path, **kwargs)]


def packet_end(path: Path, kind: str) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        ends = [p.pts + p.duration for p in container.demux(stream) if p.pts is not None and not p.is_discard]
        return float(max(ends) * stream.time_base)


def write_timed(path: Path, times_ms: list[int]) -> None:
    """Matroska with the presentation times given; frame i is grey of level 4 i."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"crf": "4"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(grey(4 * index), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_written_video_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "mit Umlaut ü.mp4"
    write_ramp(path, 30, audio=(tone(5, 16000), 16000))
    info = probe_video(path)
    assert (info.width, info.height, info.fps, info.num_frames, info.codec) == (48, 32, 25.0, 30, "h264")
    assert info.duration == pytest.approx(1.2)
    assert info.has_audio and not info.variable_frame_rate
    np.testing.assert_allclose(info.timestamps, np.arange(30) / 25, atol=1e-6)
    assert levels(path) == list(range(30))
    assert not list(tmp_path.glob("*.part"))


def test_colours_survive(tmp_path: Path) -> None:
    path = tmp_path / "colour.mp4"
    frame = grey(0)
    frame[:, :16], frame[:, 16:32], frame[:, 32:] = (200, 40, 30), (30, 180, 60), (40, 60, 210)
    with VideoWriter(path, 25, 48, 32, crf=1) as writer:
        for _ in range(3):
            writer.write(frame)
    back = next(iter(read_frames(path))).astype(int)
    for x in (8, 24, 40):
        assert np.abs(back[16, x] - frame[16, x]).max() <= 3


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_audio_is_as_long_as_the_video(tmp_path: Path, rate: int, seconds: float) -> None:
    path = tmp_path / "a.mp4"
    write_ramp(path, 31, fps=Fraction(30000, 1001), audio=(tone(seconds, rate), rate))
    assert abs(packet_end(path, "audio") - packet_end(path, "video")) < 1001 / 30000
    audio = read_audio(path)
    assert abs(len(audio) / 16000 - 31 * 1001 / 30000) < 1001 / 30000
    expected = tone(1.0, 16000)
    middle = slice(1600, 4000)
    assert np.abs(audio[middle] - expected[middle]).max() < 0.02  # in place to a fraction of a sample
    if seconds < 1:
        assert np.abs(audio[8000:]).max() < 0.01  # silence after it


def test_audio_in_blocks_is_what_it_is_whole(tmp_path: Path) -> None:
    samples = tone(2.0, 16000)
    blocks = np.split(samples, [1, 1, 700, 5000, 5001])
    for name, audio in (("whole", samples), ("blocks", iter(blocks))):
        write_ramp(tmp_path / f"{name}.mp4", 40, audio=(audio, 16000))
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "blocks.mp4").read_bytes()


def test_frame_rate_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "ntsc.mp4"
    write_ramp(path, 12, fps=30000 / 1001)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert exact_rate(25.0) == 25
    with pytest.raises(ValueError):
        exact_rate(0)


def test_synthetic_notice(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_ramp(path, 3, metadata={"title": "somebody"})
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == SYNTHETIC_NOTICE
        assert container.metadata["title"] == "somebody"


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, 25, 33, 17) as writer:
        writer.write(grey(120, 17, 33))
    assert probe_video(path).width == 34 and probe_video(path).height == 18
    assert np.abs(next(iter(read_frames(path))).astype(int) - 120).max() <= 2


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoWriter(path, 25, 48, 32) as writer:
        writer.write(grey(1))
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_writer_refuses(tmp_path: Path) -> None:
    with pytest.raises(TalkingError, match="place to write"):
        VideoWriter(tmp_path / "no" / "a.mp4", 25, 48, 32).__enter__()
    with pytest.raises(TalkingError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.gif", 25, 48, 32).__enter__()
    with pytest.raises(TalkingError, match="frames"), VideoWriter(tmp_path / "a.mp4", 25, 48, 32):
        pass
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "a.mp4", 25, 48, 32) as writer:
        writer.write(np.zeros((32, 48, 3), dtype=np.float32))
    assert os.listdir(tmp_path) == []


def test_read_only_output_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args, **kwargs) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TalkingError, match="Read-only file system"):
        VideoWriter(tmp_path / "a.mp4", 25, 48, 32).__enter__()
    with pytest.raises(TalkingError, match="Read-only file system"):
        write_wav(tmp_path / "a.wav", np.zeros(4), 16000)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are a POSIX matter")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    script = f"""
import resource, numpy as np
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import VideoWriter, write_wav
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
for write in ("video", "audio"):
    try:
        if write == "audio":
            write_wav({str(tmp_path / "a.wav")!r}, np.zeros(200_000), 16000)
        else:
            with VideoWriter({str(tmp_path / "a.mp4")!r}, 25, 64, 64, crf=1) as writer:
                for index in range(300):
                    writer.write(np.roll(noise, index * 7))
    except TalkingError as error:
        assert "place to write" in str(error)
    else:
        raise SystemExit(write + " did not fail")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.listdir(tmp_path) == []


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


def test_rotation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    upright = grey(20)
    upright[:8] = 220  # bright on top
    with VideoWriter(path, 25, 48, 32, crf=4) as writer:
        writer.write(upright)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the display matrix: 90 degrees clockwise
    matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], dtype=">i4")
    data[at : at + 36] = matrix.tobytes()
    path.write_bytes(data)
    info = probe_video(path)
    assert (info.width, info.height) == (32, 48)
    frame = next(iter(read_frames(path)))
    assert frame.shape == (48, 32, 3)
    assert np.abs(frame.astype(int) - np.rot90(upright, -1)).max() <= 12
    assert frame[:, -4:].mean() > 200 > 60 > frame[:, :20].mean()


def write_audio(path: Path, channels: np.ndarray, rate: int, codec: str, first_pts: int = 0) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo" if len(channels) == 2 else "mono")
        for start in range(0, channels.shape[1], 1024):
            piece = np.ascontiguousarray(channels[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, first_pts + start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


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


def test_wav_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = np.concatenate([tone(0.1, 16000), [2.0, -2.0]])
    write_wav(path, samples, 16000)
    np.testing.assert_allclose(read_audio(path), np.clip(samples, -1, 1), atol=1e-4)
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_mux_copies_frames(tmp_path: Path, suffix: str) -> None:
    silent, out = tmp_path / f"silent.{suffix}", tmp_path / "out.mp4"
    write_ramp(silent, 40)
    mux_audio(silent, tone(9, 44100), 44100, out)
    assert levels(out) == list(range(40))
    assert abs(packet_end(out, "audio") - 1.6) < 0.04
    with av.open(str(silent)) as a, av.open(str(out)) as b:
        first, second = ([bytes(p) for p in container.demux(video=0) if p.size] for container in (a, b))
    assert first == second
    with pytest.raises(TalkingError):
        mux_audio(tmp_path / "none.mp4", tone(1, 16000), 16000, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


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
