"""Writing videos and audio: what is written reads back, and failures leave nothing behind."""

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
from helpers.media_files import grey, levels, packet_end, tone, write_ramp

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames
from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE, VideoWriter, exact_rate, mux_audio, write_wav


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


def test_names_with_a_colon_are_no_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("12:30.mp4")
    write_ramp(name, 3)
    assert levels(name) == [0, 1, 2]
    mux_audio(name, tone(1, 16000), 16000, Path("http:b.mp4"))
    assert len(read_audio(Path("http:b.mp4"))) > 0


@pytest.mark.parametrize("crf", [-1, 52, 99])
def test_qualities_out_of_range_are_refused(tmp_path: Path, crf: int) -> None:
    with pytest.raises(TalkingError, match="0 to 51"):
        VideoWriter(tmp_path / "a.mp4", 25, 48, 32, crf=crf)
