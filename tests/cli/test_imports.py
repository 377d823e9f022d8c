"""What the subcommands import: little for a help text, and no nerfstudio where none is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers import paths

from nerfstudio_talking.cli import main

SLOW_TO_IMPORT = ("torch", "nerfstudio", "librosa", "mediapipe", "scipy", "cv2", "numba", "av")
ROOMS = (
    "io",
    "cameras",
    "media",
    "audio",
    "face",
    "dataset_io",
    "motion",
    "metrics",
    "mesh_rendering",
    "reports",
    "process",
)
"""What processing, scoring and motion are made of."""

HELP = """
import contextlib, io, json, sys
from nerfstudio_talking.cli.main import entrypoint
names, slow = json.loads(sys.argv[1])
found = {}
for name in ["", *names]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        entrypoint([*name.split(), "--help"])
    found[name] = [module for module in slow if module in sys.modules]
print(json.dumps(found))
"""

IMPORT_ROOMS = """
import importlib, json, pkgutil, sys
import nerfstudio_talking
for room in json.loads(sys.argv[1]):
    package = importlib.import_module(f"nerfstudio_talking.{room}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "nerfstudio"]))
"""

RUN = """
import json, sys
from nerfstudio_talking.cli.main import entrypoint
for arguments in json.loads(sys.argv[1]):
    entrypoint(arguments)
    found = [name for name in sys.modules if name.split(".")[0] == "nerfstudio"]
    assert not found, (arguments, found)
"""


def run(code: str, argument: object) -> str:
    command = [sys.executable, "-c", code, json.dumps(argument)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_help_imports_little() -> None:
    found = json.loads(run(HELP, [list(main.SUBCOMMANDS), SLOW_TO_IMPORT]))
    assert found == {name: [] for name in ["", *main.SUBCOMMANDS]}


def test_processing_scoring_and_motion_import_no_nerfstudio() -> None:
    assert json.loads(run(IMPORT_ROOMS, ROOMS).splitlines()[-1]) == []


@pytest.mark.slow
def test_processing_scoring_and_motion_run_without_nerfstudio(tmp_path) -> None:
    video, voice = paths.SAMPLE / "sample.mp4", paths.SAMPLE / "other_voice.flac"
    data, general, personal = tmp_path / "data", tmp_path / "general.pt", tmp_path / "personal.pt"
    calls = [
        ["process", video, "--output", data, "--size", 128, "--frames", "0:100"],
        ["check", data],
        ["path", "--data", data, "--output", tmp_path / "path.json"],
        ["motion", "train", "--data", data, "--output", general, "--epochs", 1],
        [
            "motion",
            "finetune",
            "--model",
            general,
            "--data",
            data,
            "--output",
            personal,
            "--epochs",
            1,
            "--frames",
            100,
        ],
        ["motion", "generate", "--model", personal, "--audio", voice, "--output", tmp_path / "motion.npz"],
        ["motion", "show", "--model", personal, "--data", data, "--output", tmp_path / "face.mp4"],
        ["score", tmp_path / "face.mp4", video, "--report", tmp_path / "scores"],
    ]
    run(RUN, [list(map(str, call)) for call in calls])
    assert (tmp_path / "scores" / "score.html").is_file()
