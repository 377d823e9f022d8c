"""A batch from its job file to its report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nerfstudio_talking.batch.commands import SCORES_NAME, VIDEO_NAME, CommandBuilder, build_command
from nerfstudio_talking.batch.input_files import digest_inputs, upload_inputs
from nerfstudio_talking.batch.job_file import Jobs
from nerfstudio_talking.batch.planning import Plan, make_plan
from nerfstudio_talking.batch.progress import REPORT_NAME, Monitor
from nerfstudio_talking.batch.ray_runner import RayOptions, check_resources, connected, run_on_ray
from nerfstudio_talking.batch.scheduling import RetryPolicy, Schedule
from nerfstudio_talking.batch.storage import Storage
from nerfstudio_talking.batch.workers.execution import Execution, Outcome
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

_COLLECTED = "collected.json"
_READABLE = {"drive": (VIDEO_NAME, ".mp4"), "score": (SCORES_NAME, ".json")}


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run."""

    ray: RayOptions = field(default_factory=RayOptions)
    """Where Ray runs."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    """How often a stage is tried."""
    retry_failed: bool = True
    """Whether stages that an earlier run set aside are tried again."""
    scratch: Path | None = None
    """Scratch folder on each machine; one in the system's temporary folder where None."""
    cache_gb: float = 20.0
    """Gigabytes of outputs that each machine keeps for other stages."""
    build: CommandBuilder = build_command
    """Makes the command lines of the stages."""
    show: bool = True
    """Whether progress is shown."""


@dataclass(frozen=True)
class Report:
    """What a run did."""

    record: Mapping[str, Any]
    """What report.json in the storage holds."""

    @property
    def failed(self) -> dict[str, str]:
        """Messages of the stages that were set aside, by kind and name."""
        return self._messages("failed")

    @property
    def skipped(self) -> dict[str, str]:
        """Stages that were not tried, since one that they need failed; with its name."""
        return self._messages("skipped")

    def _messages(self, state: str) -> dict[str, str]:
        stages = self.record["stages"].items()
        return {label: entry.get("message", "") for label, entry in stages if entry["state"] == state}

    def raise_for_failures(self) -> None:
        """Raise one error that names what failed, if anything did.

        Raises:
            TalkingError: a stage was set aside.
        """
        failed = self.failed
        if not failed:
            return
        first = "; ".join(f"{label}: {message}" for label, message in list(failed.items())[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        total = len(self.record["stages"])
        raise TalkingError(
            self.record["job_file"] or "batch",
            expected=f"{total} stages done",
            found=f"{len(failed)} failed and {len(self.skipped)} skipped for it ({first}{more})",
            hint=f"All messages are in {self.record['output'].rstrip('/')}/{REPORT_NAME}, the ends of the logs under "
            "set_aside/ beside it. Run the same command again to try them again.",
        )


def plan(jobs: Jobs, storage: Storage | None = None) -> Plan:
    """Read the inputs of a job file and make its stages.

    Args:
        jobs: what `load_jobs` read.
        storage: where digests of inputs are kept, so that files which have not changed are not read again; None reads
            every file.

    Raises:
        TalkingError: an input is missing.
    """
    return make_plan(jobs, digest_inputs(jobs, storage))


def run(plan: Plan, storage: Storage, options: RunOptions | None = None, job_file: str = "") -> Report:
    """Run what is missing of a plan and write report.json.

    Args:
        plan: the stages.
        storage: where their outputs are and go to. Whatever it holds already is not made again.
        options: how; the defaults start Ray on this machine.
        job_file: its name, for the report.

    Returns:
        The report. A stage that failed is no exception: see `Report.raise_for_failures`.

    Raises:
        TalkingError: Ray is missing or gone, no machine has room for a stage, or the storage does not answer.
    """
    options = options or RunOptions()
    finished = storage.finished()
    aside = storage.set_aside().intersection(plan.stages)
    messages = {} if options.retry_failed else {address: _set_aside_message(storage, address) for address in aside}
    missing = any(address not in finished and address not in messages for address in plan.stages)
    if missing:
        plan = _reachable(plan, finished, storage)
    schedule = Schedule(plan, finished, options.policy, messages)
    how = Execution(storage, options.build, options.scratch, options.cache_gb)
    monitor = Monitor(schedule, options.show)

    def watch(schedule: Schedule, address: str, outcome: Outcome | None) -> None:
        monitor.watch(schedule, address, outcome)
        if outcome is None:
            return
        if schedule.progress[address].state == "failed":
            storage.write_json(_aside_key(address), _aside_record(schedule, address, outcome))
        elif outcome.state == "done" and address in aside:
            storage.remove(_aside_key(address))

    if missing and not schedule.over:
        with connected(options.ray) as ray:
            for sentence in check_resources(ray, plan, growing=options.ray.address is not None):
                CONSOLE.print(f"[yellow]{sentence}", soft_wrap=True)
            with monitor:
                run_on_ray(ray, schedule, how, watch)
    elif options.show:
        CONSOLE.print(monitor.table())
    report = monitor.report(job_file, storage)
    storage.write_json(REPORT_NAME, report)
    return Report(report)


def _reachable(plan: Plan, finished: set[str], storage: Storage) -> Plan:
    """The plan with inputs where every machine reads them; addresses stay, as they depend on contents alone."""
    open_stages = [stage for address, stage in plan.stages.items() if address not in finished]
    places = upload_inputs({file.url: file for stage in open_stages for file in stage.files.values()}, storage)
    stages = {
        address: replace(stage, files={role: places.get(file.url, file) for role, file in stage.files.items()})
        for address, stage in plan.stages.items()
    }
    return Plan(stages, plan.names)


def _aside_key(address: str) -> str:
    return f"set_aside/{address}.json"


def _set_aside_message(storage: Storage, address: str) -> str:
    record = storage.read_json(_aside_key(address)) or {}
    return str(record.get("message", "set aside"))


def _aside_record(schedule: Schedule, address: str, outcome: Outcome) -> dict[str, Any]:
    progress = schedule.progress[address]
    return {
        "stage": schedule.plan.stages[address].label,
        "message": progress.message,
        "failures": progress.failures,
        "lost_workers": progress.deaths,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **outcome.record,
    }


def collect(plan: Plan, storage: Storage, target: str) -> int:
    """Copy finished videos and scores to readable names: VIDEO/RECIPE/VOICE.mp4 and .json.

    Args:
        plan: the stages.
        storage: the outputs.
        target: a folder or URL; what it holds already of the same contents is not copied again.

    Returns:
        Number of files copied.

    Raises:
        TalkingError: one of the two does not answer.
    """
    goal = Storage(target)
    there: dict[str, Any] = goal.read_json(_COLLECTED) or {}
    finished, copied, written = storage.finished(), 0, time.monotonic()
    for (kind, name), address in plan.names.items():
        if kind not in _READABLE or address not in finished:
            continue
        file_name, suffix = _READABLE[kind]
        manifest = storage.manifest(address)
        file = next((file for file in manifest.files if file.path == file_name), None) if manifest else None
        if manifest is None or file is None or manifest.packed or there.get(name + suffix) == file.digest:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file_name
            storage.get_file(f"{manifest.folder}/{file_name}", path)
            goal.put_file(path, name + suffix)
        there[name + suffix] = file.digest
        copied += 1
        if time.monotonic() - written > 30:
            goal.write_json(_COLLECTED, there)
            written = time.monotonic()
    if copied:
        goal.write_json(_COLLECTED, there)
    return copied
