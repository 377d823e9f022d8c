"""What a run shows while it lasts and leaves when it is over: table, report.json, readable names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from nerfstudio_talking.batch.planning import Plan
from nerfstudio_talking.batch.scheduling import STATES, Schedule
from nerfstudio_talking.batch.stages import KINDS, Kind
from nerfstudio_talking.batch.storage import Storage
from nerfstudio_talking.batch.workers.execution import Outcome
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.version import __version__

REPORT_NAME = "report.json"


class Monitor:
    """The progress table, and the record of every run that ended. A context manager: the table lives in its block.

    Args:
        schedule: the run.
        show: whether the table is shown.
    """

    def __init__(self, schedule: Schedule, show: bool = True) -> None:
        self.schedule, self.show = schedule, show
        self.outcomes: dict[str, Outcome] = {}
        self.started = datetime.now(timezone.utc)
        self._start = time.monotonic()
        self._live = Live(console=CONSOLE, auto_refresh=False, transient=True)

    def __enter__(self) -> Monitor:
        if self.show:
            self._live.start()
            self._refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self.show:
            self._live.stop()
            CONSOLE.print(self.table())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def watch(self, schedule: Schedule, address: str, outcome: Outcome | None) -> None:
        """See `ray_runner.Watcher`: keep what came of a run, and say so where it failed."""
        if outcome is not None:
            self.outcomes[address] = outcome
            progress = schedule.progress[address]
            if outcome.state == "failed" and self.show:
                label = schedule.plan.stages[address].label
                what = "[red]Set aside[/]" if progress.state == "failed" else "[yellow]Tried again[/]"
                CONSOLE.print(f"{what} {escape(label)}: {escape(outcome.message)}", soft_wrap=True, highlight=False)
        if self.show:
            self._refresh()

    def _refresh(self) -> None:
        self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Number of stages by kind and state."""
        minutes, seconds = divmod(int(self.elapsed), 60)
        table = Table("stage", *STATES, title=f"{minutes}:{seconds:02d} min", title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for kind in KINDS:
            counts = [self.schedule.count(kind, state) for state in STATES]
            if any(counts):
                table.add_row(kind, *(str(count) if count else "" for count in counts))
        return table

    def report(self, job_file: str, storage: Storage) -> dict[str, Any]:
        """What report.json holds."""
        plan, stages = self.schedule.plan, {}
        for (kind, name), address in plan.names.items():
            progress, outcome = self.schedule.progress[address], self.outcomes.get(address)
            record: Mapping[str, Any] = outcome.record if outcome is not None else {}
            entry: dict[str, Any] = {
                "kind": kind,
                "name": name,
                "state": progress.state,
                "address": address,
                "failures": progress.failures,
                "lost_workers": progress.deaths,
            }
            if progress.message:
                entry["message"] = progress.message
            entry |= {key: record[key] for key in ("machine", "wall_s", "cpu_s", "memory_gb") if key in record}
            if outcome is not None and outcome.manifest is not None:
                manifest = outcome.manifest
                entry |= {"bytes": manifest.size, "output_digest": manifest.digest}
                entry["files"] = storage.locate(manifest.folder)
            stages[f"{kind} {name}"] = entry
        counts = Counter(entry["state"] for entry in stages.values())
        return {
            "format": 1,
            "package": __version__,
            "job_file": job_file,
            "output": storage.url,
            "started": self.started.isoformat(timespec="seconds"),
            "elapsed_s": round(self.elapsed, 1),
            "counts": {state: counts[state] for state in STATES if counts[state]},
            "stages": stages,
        }


def plan_table(plan: Plan, finished: Iterable[str]) -> Table:
    """What a plan would do: number of stages by kind, those that exist already, and what one run of each occupies."""
    done = set(finished)
    table = Table("stage", "all", "finished", "to do", "CPUs", "GPUs", "memory", title="Plan", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    by_kind: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for address, stage in plan.stages.items():
        by_kind[stage.kind].append(address)
    for kind, addresses in by_kind.items():
        if addresses:
            resources = plan.stages[addresses[0]].resources
            there = len(done.intersection(addresses))
            numbers = (len(addresses), there, len(addresses) - there)
            table.add_row(
                kind, *map(str, numbers), f"{resources.cpus:g}", f"{resources.gpus:g}", f"{resources.memory_gb:g} GB"
            )
    return table
