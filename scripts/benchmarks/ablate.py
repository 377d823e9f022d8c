"""Train and score what a configuration file lists, and write the tables.

    python scripts/benchmarks/ablate.py [CONFIG] [--clips obama data/obama man_kitchen data/kitchen]
        [--only er-nerf] [--seeds 1]

Each run is an `ns-train` and an `ns-eval` of its own. A finished run is skipped, one that was killed is run again, so
that the same command goes on where it stopped. The tables stand in docs/benchmarks.md and are written after every run.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import tyro
from ablation_runs import Programs, train_and_score
from ablation_study import RESULT, Run, Study, finished, load_study, runs_of
from ablation_tables import update_page, write_section
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

_CONFIG = Path(__file__).with_name("ablation.yaml")


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
    jobs: int = 1
    """Runs at a time, the CPUs shared out among them."""
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
                raise TalkingError("--only", expected=f"one of {known}", found=name, hint="Mind the spelling.")
        return {variant for name in self.only for variant in study.groups.get(name, (name,))}

    def main(self) -> None:
        """Run what is not finished, and write the tables after each run."""
        study = self.study()
        runs, chosen = runs_of(study), self.chosen(study)
        to_do = [run for run in runs if run.variant_name in chosen and run.load(RESULT) is None]
        failed = [] if self.tables_only else self.run_all(to_do, runs, study)
        text = write_section(finished(runs), study)
        update_page(study.report, "ablation", text)
        CONSOLE.print(Markdown(text))
        CONSOLE.print(f"Written to {study.report}")
        if failed:
            raise TalkingError(
                f"{len(failed)} of {len(to_do)} runs",
                expected="no failure",
                found="; ".join(failed),
                hint="Read their logs; the same command runs them again.",
            )

    def run_all(self, to_do: list[Run], runs: list[Run], study: Study) -> list[str]:
        """Train and score, with progress; what failed and why."""
        failed: list[str] = []
        programs = Programs(max(1, (os.cpu_count() or 1) // self.jobs) if self.jobs > 1 else None)
        bars = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with (
            Progress(TextColumn("{task.description}"), *bars, console=CONSOLE) as progress,
            ThreadPoolExecutor(self.jobs) as pool,
        ):
            whole = progress.add_task("Runs", total=len(to_do))

            def work(run: Run) -> None:
                current = progress.add_task(escape(run.title), total=run.steps)
                try:
                    train_and_score(run, programs, lambda step: progress.update(current, completed=step))
                finally:
                    progress.remove_task(current)

            started = {pool.submit(work, run): run for run in to_do}
            try:
                for done in as_completed(started):
                    error = done.exception()
                    if isinstance(error, TalkingError):
                        failed.append(f"{started[done].title}: {error}")
                        CONSOLE.print(f"[red]{escape(failed[-1])}", soft_wrap=True)
                    elif error is not None:
                        raise error
                    progress.advance(whole)
                    update_page(study.report, "ablation", write_section(finished(runs), study))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                programs.stop()
                raise
        return failed


if __name__ == "__main__":
    # a terminated study takes its training with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        tyro.cli(Ablate, description=__doc__).main()
    except TalkingError as error:
        CONSOLE.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
