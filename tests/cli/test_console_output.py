"""What a user sees of other packages' warnings: nothing that we know of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import paths
from helpers.commands import SMALL, command

from nerfstudio_talking.io.third_party_warnings import THIRD_PARTY_WARNINGS

NATIVE = (
    "inference_feedback_manager",
    "XNNPACK delegate",
    "GL version",
    "All log messages before absl::InitializeLog",
    "SymbolDatabase.GetPrototype",
    "omp_set_nested",
    "TBB threading layer",
    "pkg_resources is deprecated",
)
"""Messages of MediaPipe, TensorFlow Lite, protobuf, OpenMP, numba and setuptools."""
PYTHON_WARNING = re.compile(r"site-packages/\S+:\d+: \w*Warning: .*")


def assert_clean(output: str) -> None:
    assert PYTHON_WARNING.findall(output) == []
    assert [text for text in (*NATIVE, *(known.text for known in THIRD_PARTY_WARNINGS)) if text in output] == []


@pytest.mark.slow
def test_training_and_evaluation_show_no_warning_of_others(talking_dataset: Path, tmp_path: Path) -> None:
    run = command(
        "ns-train", "talking-portrait-small", "--data", talking_dataset, "--output-dir", tmp_path, "--timestamp", "t",
        "--experiment-name", "x", "--max-num-iterations", 2, "--machine.device-type", "cpu", "--vis", "tensorboard",
        *SMALL, cwd=tmp_path, forked=False,
    )  # fmt: skip
    assert_clean(run.stdout + run.stderr)
    config = tmp_path / "x" / "talking-portrait-small" / "t" / "config.yml"
    output = tmp_path / "eval.json"
    run = command("ns-eval", "--load-config", config, "--output-path", output, cwd=tmp_path, forked=False)
    assert_clean(run.stdout + run.stderr)


@pytest.mark.slow
def test_processing_shows_no_warning_of_others(tmp_path: Path) -> None:
    options = ("--output", tmp_path / "data", "--size", 128, "--frames", "0:30")
    run = command("ns-talking", "process", paths.SAMPLE / "sample.mp4", *options, cwd=tmp_path, forked=False)
    assert "30 frames of 128x128" in run.stdout
    assert run.stderr == ""
    assert_clean(run.stdout)
