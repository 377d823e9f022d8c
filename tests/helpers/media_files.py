"""Videos and audio files with known contents."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nerfstudio_talking.media.reading import read_frames
from nerfstudio_talking.media.writing import VideoWriter


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


def write_audio(path: Path, channels: np.ndarray, rate: int, codec: str, first_pts: int = 0) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo" if len(channels) == 2 else "mono")
        for start in range(0, channels.shape[1], 1024):
            piece = np.ascontiguousarray(channels[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, first_pts + start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
