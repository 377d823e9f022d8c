"""Time of `ns-talking process` per frame as a clip grows: the sample clip, played to and fro."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from bench_kernels import Row

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio, read_frames
from nerfstudio_talking.media.writing import VideoWriter

SAMPLE = Path(__file__).resolve().parents[2] / "tests" / "data" / "sample" / "sample.mp4"
_FPS, _RATE = 25, 16000


def long_clip(path: Path, seconds: int) -> Path:
    """The sample of so many seconds, to and fro without a cut, its audio over and over."""
    if path.is_file():
        return path
    frames = list(read_frames(SAMPLE, _FPS))
    audio = np.resize(read_audio(SAMPLE, _RATE), seconds * _RATE)
    period = 2 * len(frames) - 2
    with VideoWriter(path, _FPS, frames[0].shape[1], frames[0].shape[0], audio=(audio, _RATE)) as writer:
        for i in range(seconds * _FPS):
            at = i % period
            writer.write(frames[at if at < len(frames) else period - at])
    return path


def process_time(video: Path, output: Path, size: int) -> float:
    """Seconds of the whole command.

    Raises:
        TalkingError: it fails.
    """
    program = Path(sys.executable).with_name("ns-talking")
    start = time.perf_counter()
    command = [str(program), "process", str(video), "--output", str(output), "--size", str(size)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise TalkingError(
            video,
            expected="a clip to process",
            found=(result.stdout + result.stderr)[-500:],
            hint="It is the sample clip: see the message.",
        )
    return time.perf_counter() - start


def process_rows(folder: Path, sizes: list[tuple[int, int]]) -> list[Row]:
    """Processing of clips of some seconds to images of some side."""
    rows = []
    for length, side in sizes:
        video = long_clip(folder / f"clip{length}.mp4", length)
        spent = process_time(video, folder / f"processed{length}s{side}", side)
        per_frame = spent / (length * _FPS)
        rows.append(
            Row(
                f"Scale: process {length} s to {side}x{side}",
                f"{spent:.0f} s",
                f"{per_frame * 1e3:.0f} ms/frame, {per_frame / side**2 * 1e9:.0f} ns/pixel, start-up included",
                "",
                "constant per frame",
            )
        )
    return rows
