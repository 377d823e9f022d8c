"""The command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SMALL = (
    "--pipeline.datamanager.train-num-rays-per-batch",
    "256",
    "--pipeline.datamanager.lips-phase-start",
    "6",
    "--pipeline.datamanager.lips-patch-size",
    "16",
    "--pipeline.model.num-samples",
    "16",
)


def command(name: str, *arguments: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(name)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        [str(program), *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{name} {arguments} failed:\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


def train(method: str, data: Path, folder: Path, steps: int, *more: object) -> Path:
    command(
        "ns-train", method, "--data", data, "--output-dir", folder / "outputs", "--experiment-name", "x",
        "--timestamp", "t", "--max-num-iterations", steps, "--machine.device-type", "cpu", "--vis", "tensorboard",
        "--steps-per-save", "5", *SMALL, *more, cwd=folder,
    )  # fmt: skip
    return folder / "outputs" / "x" / method / "t" / "config.yml"
