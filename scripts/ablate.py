"""Train and score what a configuration file lists, and write the tables.

    python scripts/ablate.py [CONFIG] [--clips obama data/obama man_kitchen data/kitchen] [--only er-nerf] [--seeds 1]

Each run is an `ns-train` and an `ns-eval` of its own. A finished run is skipped, one that was killed is run again, so
that the same command goes on where it stopped. The tables stand in docs/benchmarks.md and are written after every run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from ablation_study import RESULT, Run, Study, finished, load_study, runs_of
from ablation_tables import update_page, write_section
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nerfstudio_talking.errors import TalkingError

_CONFIG = Path(__file__).with_name("ablation.yaml")
_TRAINED = "trained.json"
_STEP = re.compile(r"^\W*(\d+) \(\d+\.\d+%\)")
_LEFT_OUT = re.compile(r"Without (\w+): (.+)")


def machine() -> str:
    """Processor, cores and accelerator."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        models = re.findall(r"model name\s*: (.+)", cpus.read_text())
        name = models[0] if models else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}"


def versions() -> str:
    """Of what the figures depend on."""
    packages = ("nerfstudio-talking", "nerfstudio", "torch", "mediapipe")
    found = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def count_parameters(checkpoint: Path) -> int:
    """Parameters that were trained: those that the optimisers have a state of."""
    optimizers = torch.load(checkpoint, map_location="cpu", weights_only=True)["optimizers"]
    states = [state for optimizer in optimizers.values() for state in optimizer["state"].values()]
    return sum(state["exp_avg"].numel() for state in states)


def run_logged(command: list[str], log: Path, on_line: Callable[[str], None]) -> tuple[float, float]:
    """Run a program, its output in a file.

    Returns:
        Seconds on the clock, and of the processors.

    Raises:
        TalkingError: it fails.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "240"}
    program = Path(command[0])
    environment["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w", encoding="utf-8") as file:
        file.write(" ".join(command) + "\n")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    file.write(line)
                    on_line(line)
            except BaseException:
                process.terminate()
                raise
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise TalkingError(
            program.name,
            expected="exit status 0",
            found=f"{process.returncode}",
            mend=f"Its output is in {log}; the same command tries again.",
        )
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.monotonic() - started, seconds


def train_and_score(run: Run, on_step: Callable[[int], None]) -> None:
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

        wall, cpu = run_logged(run.train_command(programs / "ns-train"), run.folder / "train.log", follow)
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
    wall, _ = run_logged([str(programs / "ns-eval"), *arguments], run.folder / "eval.log", note)
    results: dict[str, Any] = json.loads(evaluation.read_text(encoding="utf-8"))["results"]
    scores = {name.removeprefix("video_"): value for name, value in results.items() if name.startswith("video_")}
    checkpoint = max((run.folder / "nerfstudio_models").glob("*.ckpt"))
    record = {
        **trained,
        "evaluate_seconds": wall,
        "parameters": count_parameters(checkpoint),
        "scores": scores,
        "left_out": left_out,
        "machine": machine(),
        "versions": versions(),
    }
    run.save(RESULT, record)


@dataclass
class Ablate:
    """Train and score variants over clips and seeds; finished runs are skipped."""

    config: tyro.conf.Positional[Path] = _CONFIG
    """The configuration file."""
    clips: dict[str, Path] | None = None
    """Data folders by name, instead of the file's."""
    seeds: tuple[int, ...] | None = None
    """Instead of the file's."""
    steps: int | None = None
    """Instead of the file's."""
    rays: int | None = None
    """Rays per step, instead of the file's."""
    output: Path | None = None
    """Folder of the runs, instead of the file's."""
    report: Path | None = None
    """Page whose section is written, instead of the file's."""
    only: tuple[str, ...] = ()
    """Names of variants or groups to run; all where not given."""
    tables_only: bool = False
    """Run nothing, write the tables of what is finished."""

    def study(self) -> Study:
        """The configuration, with what the command line says."""
        study = load_study(self.config)
        for name in ("clips", "seeds", "steps", "rays", "output", "report"):
            if getattr(self, name) is not None:
                setattr(study, name, getattr(self, name))
        return study

    def chosen(self, study: Study) -> set[str]:
        """Names of the variants to run.

        Raises:
            TalkingError: a name is neither a variant's nor a group's.
        """
        if not self.only:
            return set(study.variants)
        for name in self.only:
            if name not in study.variants and name not in study.groups:
                known = ", ".join([*study.variants, *study.groups])
                raise TalkingError("--only", expected=f"one of {known}", found=name, mend="Mind the spelling.")
        return {variant for name in self.only for variant in study.groups.get(name, (name,))}

    def main(self) -> None:
        """Run what is not finished, and write the tables after each run."""
        study = self.study()
        runs, chosen = runs_of(study), self.chosen(study)
        to_do = [run for run in runs if run.variant_name in chosen and run.load(RESULT) is None]
        failed: list[str] = []
        if not self.tables_only:
            columns = (
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            columns = [TextColumn(column) if isinstance(column, str) else column for column in columns]
            with Progress(*columns, console=CONSOLE) as progress:
                whole = progress.add_task("Runs", total=len(to_do))
                for run in to_do:
                    title = f"{run.clip}, {run.variant_name}, seed {run.seed}"
                    current = progress.add_task(escape(title), total=run.steps)
                    try:
                        train_and_score(run, lambda step, task=current: progress.update(task, completed=step))
                    except TalkingError as error:
                        failed.append(f"{title}: {error}")
                        CONSOLE.print(f"[red]{escape(failed[-1])}", soft_wrap=True)
                    progress.remove_task(current)
                    progress.advance(whole)
                    update_page(study.report, "ablation", write_section(finished(runs), study))
        text = write_section(finished(runs), study)
        update_page(study.report, "ablation", text)
        CONSOLE.print(Markdown(text))
        CONSOLE.print(f"Written to {study.report}")
        if failed:
            raise TalkingError(
                f"{len(failed)} of {len(to_do)} runs",
                expected="no failure",
                found="; ".join(failed),
                mend="Read their logs; the same command runs them again.",
            )


if __name__ == "__main__":
    # a terminated study takes its training with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        tyro.cli(Ablate, description=__doc__).main()
    except TalkingError as error:
        CONSOLE.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
