"""Trains and scores one run of an ablation study, in programs of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ablation_study import RESULT, Run
from machine import machine, versions

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.registry import score_infos

_PACKAGES = ("nerfstudio-talking", "nerfstudio", "torch", "mediapipe")
_TRAINED = "trained.json"
_STEP = re.compile(r"^\W*(\d+) \(\d+\.\d+%\)")
_LEFT_OUT = re.compile(r"Without (\w+): (.+)")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def count_parameters(checkpoint: Path) -> int:
    """Parameters that were trained: those that the optimisers have a state of."""
    optimizers = torch.load(checkpoint, map_location="cpu", weights_only=True)["optimizers"]
    states = [state for optimizer in optimizers.values() for state in optimizer["state"].values()]
    return sum(state["exp_avg"].numel() for state in states)


class Programs:
    """Starts programs with a number of threads each, and can stop those that run.

    Args:
        threads: of each program; as many as it likes where not given.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._running: set[subprocess.Popen[str]] = set()

    def run(self, command: list[str], log: Path, on_line: Callable[[str], None]) -> tuple[float, float]:
        """Run a program, its output in a file.

        Returns:
            Seconds on the clock, and of the CPUs.

        Raises:
            TalkingError: it fails.
        """
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "240"}
        if self.threads is not None:
            environment.update(dict.fromkeys(_THREADS, str(self.threads)))
        program = Path(command[0])
        environment["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as file:
            file.write(" ".join(command) + "\n")
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
            )
            assert process.stdout is not None
            self._running.add(process)
            try:
                for line in process.stdout:
                    file.write(line)
                    on_line(line)
            except BaseException:
                process.terminate()
                raise
            finally:
                process.stdout.close()
                # of this program alone: others may run beside it
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                self._running.discard(process)
        if process.returncode != 0:
            raise TalkingError(
                program.name,
                expected="exit status 0",
                found=f"{process.returncode}",
                hint=f"Its output is in {log}; the same command tries again.",
            )
        return time.monotonic() - started, usage.ru_utime + usage.ru_stime

    def stop(self) -> None:
        """End what runs; each `run` then raises."""
        for process in list(self._running):
            process.terminate()


def train_and_score(run: Run, start: Programs, on_step: Callable[[int], None]) -> None:
    """Train, unless a whole training is there, and score; a half one is thrown away."""
    programs = Path(sys.executable).parent
    trained = run.load(_TRAINED)
    if trained is None:
        shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True)

        def follow(line: str) -> None:
            step = _STEP.match(line)
            if step:
                on_step(int(step[1]))

        wall, cpu = start.run(run.train_command(programs / "ns-train"), run.folder / "train.log", follow)
        trained = {"train_seconds": wall, "train_cpu_seconds": cpu}
        run.save(_TRAINED, trained)
    on_step(run.steps)
    left_out: dict[str, str] = {}

    def note(line: str) -> None:
        found = _LEFT_OUT.search(line)
        if found:
            left_out[found[1]] = found[2].strip()

    evaluation = run.folder / "eval.json"
    arguments = ["--load-config", str(run.folder / "config.yml"), "--output-path", str(evaluation)]
    wall, _ = start.run([str(programs / "ns-eval"), *arguments], run.folder / "eval.log", note)
    results: dict[str, Any] = json.loads(evaluation.read_text(encoding="utf-8"))["results"]
    known = score_infos()
    scores = {
        name.removeprefix("video_"): value
        for name, value in results.items()
        if name in known or name.startswith("video_")
    }
    checkpoint = max((run.folder / "nerfstudio_models").glob("*.ckpt"))
    record = {
        **trained,
        "evaluate_seconds": wall,
        "parameters": count_parameters(checkpoint),
        "scores": scores,
        "left_out": left_out,
        "machine": machine() + (f", {start.threads} threads per run" if start.threads else ""),
        "versions": versions(*_PACKAGES),
    }
    run.save(RESULT, record)
