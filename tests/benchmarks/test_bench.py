"""The benchmark's own arithmetic and its page."""

from __future__ import annotations

import numpy as np
import pytest


def test_work_of_the_hash_planes_is_counted():
    """One point, one level, one plane: four entries of four bytes three times, a result and its gradient, and the
    point's two coordinates each way."""
    from bench_kernels import planes_work

    assert planes_work(1, 1, 1) == (48 + 8 + 16, 9 + 13 + 24)
    many = planes_work(1000, 12)
    assert many == (1000 * 36 * 56 + 1000 * 3 * 16, 1000 * 36 * 46)


def test_roofline_is_in_shares_of_the_limits():
    from bench_kernels import Peaks, roofline

    text = roofline(10e9, 50e9, 2.0, Peaks(20e9, 100e9))
    assert "5.0 GB/s" in text
    assert "25 % of triad" in text
    assert "25.0 GFLOP/s, 25 % of gemm" in text


def test_the_fastest_of_the_repeats_counts(monkeypatch):
    import bench_kernels

    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(bench_kernels.time, "perf_counter", lambda: next(ticks))
    calls = []
    assert bench_kernels.best_time(lambda: calls.append(1), 3, warm=2) == 2.0
    assert len(calls) == 5


def test_hash_plane_rows_without_a_gpu_say_so():
    from bench_kernels import Peaks, hash_plane_rows

    rows = hash_plane_rows(Peaks(1e10, 1e11), seed=0, points=64, levels=2)
    assert rows[0].ratio.endswith("x")
    assert float(rows[0].ratio[:-1]) > 0
    assert "triad" in rows[1].result


def test_attention_is_measured_against_torch():
    from bench_kernels import attention_rows

    (row,) = attention_rows(seed=0, points=64)
    assert "eager torch" in row.compared_with
    assert float(row.ratio.removesuffix("x")) > 0


def test_a_long_video_goes_to_and_fro(tmp_path, monkeypatch):
    import bench_process

    from nerfstudio_talking.media.reading import probe_video, read_frames
    from nerfstudio_talking.media.writing import VideoWriter

    audio = np.sin(np.arange(16000) / 20).astype(np.float32)
    with VideoWriter(tmp_path / "short.mp4", 25, 32, 32, audio=(audio, 16000), crf=0) as writer:
        for level in (40, 120, 200):
            writer.write(np.full((32, 32, 3), level, np.uint8))
    monkeypatch.setattr(bench_process, "SAMPLE", tmp_path / "short.mp4")
    path = bench_process.long_clip(tmp_path / "long.mp4", 1)
    assert probe_video(path).has_audio
    levels = [int(frame.mean()) for frame in read_frames(path)]
    assert len(levels) == 25
    assert levels == pytest.approx(([40, 120, 200, 120] * 7)[:25], abs=4)


def test_a_long_clip_repeats_a_short_one(tmp_path):
    from bench_portrait import repeat_sample

    from nerfstudio_talking.dataset_io.track import load_track

    folder = repeat_sample(tmp_path / "clip", 29, 64, distinct=12)
    track = load_track(folder)
    assert track.num_frames == 29
    poses = track.camera_to_worlds
    assert (poses[28] == poses[4]).all() and (poses[28] != poses[5]).any()
    images = sorted((folder / "images").iterdir())
    assert len(images) == 29
    assert images[26].samefile(images[2])
    assert len(list((folder / "parsing").iterdir())) == 29


@pytest.mark.parametrize("foreign", ["", "# Page\n\n<!-- other: begin -->\nkept\n<!-- other: end -->\n"])
def test_the_page_keeps_other_sections(tmp_path, foreign):
    from ablation_tables import update_page
    from bench import write_section
    from bench_kernels import Peaks, Row

    page = tmp_path / "benchmarks.md"
    page.write_text(foreign)
    for figure in ("1 ms", "2 ms"):
        text = write_section([Row("thing", figure, "other", "3x", "2x")], Peaks(1e10, 2e11), "a machine")
        update_page(page, "bench", text)
    format_table = page.read_text()
    assert format_table.startswith(foreign.rstrip())
    assert "| thing | 2 ms | other | 3x | 2x |" in format_table
    assert "1 ms" not in format_table
    assert "triad 10.0 GB/s, gemm 200 GFLOP/s" in format_table
