"""A batch of the real commands, from the committed sample to a score, as a user runs it."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.commands import command
from helpers.paths import SAMPLE

pytest.importorskip("ray", reason="needs the extra batch")

JOBS = """\
output: out
videos:
  eileen:
    file: {video}
    options: {{size: 64, frames: "0:50", refine-poses: false, report: false, audio-model: logmel}}
  bad: bad.mp4
voices: {{voice: voice.wav}}
portraits:
  splat:
    method: splat-portrait-small
    options: {{max-num-iterations: 4, steps-per-save: 4, pipeline.model.max-gaussians: 300}}
drives: [{{portraits: eileen/*}}]
scores: [{{options: {{gt-frames: "0:13"}}}}]
retries: 0
"""


@pytest.mark.slow
def test_from_the_sample_to_a_score(tmp_path: Path):
    (tmp_path / "jobs.yaml").write_text(JOBS.format(video=SAMPLE / "sample.mp4"))
    (tmp_path / "bad.mp4").write_bytes(bytes(1000))
    with wave.open(str(tmp_path / "voice.wav"), "wb") as voice:
        voice.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        voice.writeframes(np.random.default_rng(0).integers(-9000, 9000, 8000, np.int16).tobytes())
    call = ("ns-talking", "batch", tmp_path / "jobs.yaml", "--collect", "named", "--scratch", "scratch")
    result = command(*call, cwd=tmp_path, check=False, forked=False)
    assert result.returncode == 1 and "process bad: " in result.stdout, result.stdout + result.stderr
    assert f"{tmp_path}/bad.mp4: expected a readable video" in result.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["counts"] == {"done": 4, "failed": 1, "skipped": 1}, report["stages"]
    with av.open(str(tmp_path / "named/eileen/splat/voice.mp4")) as video:
        assert len(video.streams.audio) == 1
        assert sum(1 for _ in video.decode(video=0)) in (12, 13), "half a second at 25 frames per second"
    scores = json.loads((tmp_path / "named/eileen/splat/voice.json").read_text())["scores"]
    assert scores["psnr"] > 5
    assert list((tmp_path / "scratch" / "work").iterdir()) == []
