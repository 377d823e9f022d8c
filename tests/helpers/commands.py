"""The command line as a user calls it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

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


def command(
    name: str, *arguments: object, cwd: Path, check: bool = True, forked: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a console script.

    Args:
        name: the script, such as ns-train.
        arguments: its arguments.
        cwd: the folder to run it in.
        check: whether an exit code other than 0 is an error.
        forked: whether it starts from a process that has done the imports; False runs the installed script itself.
    """
    program = Path(sys.executable).with_name(name)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    call = [str(program), *map(str, arguments)]
    if forked and not _has_gpu():
        result = _run_forked({"arguments": call}, cwd, environment)
    else:
        result = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{name} {arguments} failed:\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


@functools.cache
def _has_gpu() -> bool:
    """CUDA does not survive a fork."""
    import torch

    return torch.cuda.is_available()


def parse_errors(calls: list[dict[str, Any]], cwd: Path) -> list[str | None]:
    """What the commands' own parsers say against each call, by `helpers.command_parsing` in a process of its own.

    Args:
        calls: `words` and `is_whole` of each.
        cwd: the folder from which paths of scripts count.
    """
    result = _run_forked({"parse": calls}, cwd, dict(os.environ))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _run_forked(call: dict[str, Any], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    requests, replies = _server()
    with tempfile.TemporaryDirectory() as folder:
        outputs = {name: Path(folder) / name for name in ("stdout", "stderr")}
        request = {**call, "cwd": str(cwd), "environment": environment}
        print(json.dumps({**request, **{name: str(path) for name, path in outputs.items()}}), file=requests, flush=True)
        reply = replies.readline()
        assert reply, "the server of commands has ended"
        texts = {name: path.read_text(encoding="utf-8") for name, path in outputs.items()}
    return subprocess.CompletedProcess(call.get("arguments", ()), int(reply), **texts)


@functools.cache
def _server() -> tuple[TextIO, TextIO]:
    """Start the server of this test process; it ends when its requests are closed, with this process at the latest."""
    (from_us, requests), (replies, to_us) = os.pipe(), os.pipe()
    subprocess.Popen(
        [sys.executable, "-m", "helpers.command_server", str(from_us), str(to_us)],
        cwd=Path(__file__).parents[1],
        pass_fds=(from_us, to_us),
        stdin=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    return os.fdopen(requests, "w"), os.fdopen(replies)


def train(method: str, data: Path, folder: Path, steps: int, *more: object) -> Path:
    command(
        "ns-train", method, "--data", data, "--output-dir", folder / "outputs", "--experiment-name", "x",
        "--timestamp", "t", "--max-num-iterations", steps, "--machine.device-type", "cpu", "--vis", "tensorboard",
        "--steps-per-save", "5", *SMALL, *more, cwd=folder,
    )  # fmt: skip
    return folder / "outputs" / "x" / method / "t" / "config.yml"
