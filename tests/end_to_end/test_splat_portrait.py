"""`splat-portrait-small` from training to an mp4, by the commands that a user types."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
from helpers.commands import command


@pytest.fixture(scope="module")
def portrait(talking_dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("splats")
    command(
        "ns-train", "splat-portrait-small", "--data", talking_dataset, "--output-dir", folder / "outputs",
        "--experiment-name", "x", "--timestamp", "t", "--max-num-iterations", 12, "--machine.device-type", "cpu",
        "--vis", "tensorboard", "--steps-per-save", 6, "--steps-per-eval-batch", 5, "--steps-per-eval-image", 5,
        "--pipeline.model.max-gaussians", 500, cwd=folder,
    )  # fmt: skip
    return folder / "outputs" / "x" / "splat-portrait-small" / "t" / "config.yml"


@pytest.mark.slow
def test_it_is_scored(portrait, tmp_path):
    command("ns-eval", "--load-config", portrait, "--output-path", tmp_path / "eval.json", cwd=tmp_path)
    results = json.loads((tmp_path / "eval.json").read_text())["results"]
    assert {"psnr", "ssim", "video_psnr_mouth"} <= results.keys()
    assert results["psnr"] > 12


@pytest.mark.slow
def test_it_speaks_two_voices_in_one_start(portrait, tmp_path, talking_dataset):
    voices = [shutil.copy(talking_dataset / "audio.wav", tmp_path / f"{name}.wav") for name in ("first", "second")]
    command(
        "ns-talking", "drive", "--load-config", portrait, "--audio", *voices, "--output", tmp_path / "spoken",
        cwd=tmp_path, forked=False,
    )  # fmt: skip
    for name in ("first", "second"):
        with av.open(str(tmp_path / "spoken" / f"{name}.mp4")) as file:
            assert len(file.streams.audio) == 1
            assert sum(1 for _ in file.decode(video=0)) > 10
    first, second = ((tmp_path / "spoken" / f"{name}.mp4").stat().st_size for name in ("first", "second"))
    assert abs(first - second) < 0.01 * first, "the second voice starts from scratch"


@pytest.mark.slow
def test_it_is_rendered_along_a_path(portrait, tmp_path, talking_dataset):
    path = tmp_path / "path.json"
    command("ns-talking", "path", "--data", talking_dataset, "--output", path, "--frames", "2:6", cwd=tmp_path)
    command(
        "ns-render", "camera-path", "--load-config", portrait, "--camera-path-filename", path,
        "--output-path", tmp_path / "path.mp4", cwd=tmp_path,
    )  # fmt: skip
    with av.open(str(tmp_path / "path.mp4")) as file:
        assert len(file.streams.audio) == 1, "the portrait's pipeline adds it"
        assert sum(1 for _ in file.decode(video=0)) > 1


@pytest.mark.slow
def test_it_resumes_from_weights_alone(portrait, tmp_path, talking_dataset):
    (checkpoint,) = (portrait.parent / "nerfstudio_models").iterdir()
    state = torch.load(checkpoint, weights_only=True)
    assert not [key for key in state["pipeline"] if "conditioning" in key or "tracked" in key]
    command(
        "ns-train", "splat-portrait-small", "--data", talking_dataset, "--output-dir", tmp_path / "outputs",
        "--experiment-name", "x", "--timestamp", "t", "--max-num-iterations", 15, "--machine.device-type", "cpu",
        "--vis", "tensorboard", "--pipeline.model.max-gaussians", 500, "--load-dir", checkpoint.parent, cwd=tmp_path,
    )  # fmt: skip
    saved = list((tmp_path / "outputs" / "x" / "splat-portrait-small" / "t" / "nerfstudio_models").iterdir())
    assert [path.name for path in saved] == ["step-000000014.ckpt"]
