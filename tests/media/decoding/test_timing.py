"""Frame rates from presentation times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_files import grey, levels

from nerfstudio_talking.media.decoding.timing import nominal_rate
from nerfstudio_talking.media.reading import probe_video

RATES = [10, 12.5, 15, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 60, 120]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("declared", [True, False])
def test_clocks_of_a_millisecond(rate, declared):
    rate = Fraction(rate)
    times = np.round(np.arange(400) * 1000 / float(rate)) / 1000
    assert nominal_rate(times, rate if declared else None) == rate
    assert nominal_rate(times, Fraction(1000)) == rate  # the clock's own unit, declared as the frames' rate


def test_dropped_frames_do_not_count():
    kept = np.array([n for n in range(200) if n % 7 != 3 and n % 11 != 5])
    mean = Fraction(len(kept) - 1, int(kept[-1])) * 25
    assert nominal_rate(kept / 25, mean, 1 / 12800) == 25


def test_jitter_and_declared_averages():
    times = np.arange(300) / 30 + np.random.default_rng(0).uniform(-0.004, 0.004, 300)
    assert nominal_rate(np.sort(times), None, 1 / 90000) == 30
    assert nominal_rate(np.arange(100) / 19.63, Fraction(1963, 100), 1 / 90000) == Fraction(1963, 100)
    assert nominal_rate(np.zeros(1), Fraction(24)) == 24
    assert nominal_rate(np.zeros(1), Fraction(90000)) == 25


def write_webm(path: Path, times_ms: list[int]) -> None:
    """A WebM with a default duration of 1 ms, as recorders of browsers write it; frame i is grey of level 4 i."""
    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"crf": "4", "b": "2M", "deadline": "realtime"}
        for index, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(grey(4 * index), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_webm_with_a_default_duration_of_a_millisecond(tmp_path: Path) -> None:
    path = tmp_path / "recording.webm"
    write_webm(path, [40 * index for index in range(30)])
    with av.open(str(path)) as container:
        declared = container.streams.video[0].average_rate
    info = probe_video(path)
    assert declared == 1000 and info.fps == 25
    assert info.num_frames == 30 and info.duration == pytest.approx(1.2)
    assert not info.variable_frame_rate
    assert levels(path) == list(range(30))
