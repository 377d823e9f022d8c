"""A plan on Ray: one task for each run of a stage. Ray places tasks; what is tried again is decided by the schedule."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nerfstudio_talking.batch.planning import Plan
from nerfstudio_talking.batch.scheduling import Schedule
from nerfstudio_talking.batch.stages import KINDS, Stage
from nerfstudio_talking.batch.workers.execution import Execution, Outcome, run_stage
from nerfstudio_talking.io.errors import TalkingError

_WINDOW = 500
"""Most tasks of a kind that Ray holds at once: enough for any scheduler to see the demand, little to keep in mind."""
_WAIT_SECONDS = 0.5
_INIT_TRIES = 3
_OBJECT_STORE = 80 * 2**20
"""Bytes of the object store of a local Ray: files pass through the storage."""


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs."""

    address: str | None = None
    """Address of a cluster; None starts Ray on this machine, 'auto' finds the one that runs here."""
    num_cpus: float | None = None
    """Number of CPUs of a local Ray; as many as there are cores where None."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `ray.init`."""


Watcher = Callable[[Schedule, str, "Outcome | None"], None]
"""Called with the schedule, an address and what came of its last run; with an empty address from time to time."""


def require_ray() -> Any:
    """Ray.

    Raises:
        TalkingError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        hint = 'Install the extra: pip install "nerfstudio-talking[batch]".'
        raise TalkingError("ns-talking batch", expected="Ray", found=str(error), hint=hint) from error
    return ray


@contextmanager
def connected(options: RayOptions) -> Iterator[Any]:
    """Ray, started or connected to for the block. One that the caller has initialised is used and left running.

    Raises:
        TalkingError: Ray is not installed, or there is no cluster at the address.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.address is None:
        arguments |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE, "address": "local"}
        if options.num_cpus is not None:
            arguments["num_cpus"] = options.num_cpus
    else:
        arguments["address"] = options.address
    _initialise(ray, {**arguments, **options.settings}, options.address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _initialise(ray: Any, arguments: dict[str, Any], address: str | None) -> None:
    """Start or find Ray. On a busy machine its processes may come too late for each other: it is tried again."""
    for number in range(1, _INIT_TRIES + 1):
        try:
            _look_for_cluster(address)
            ray.init(**arguments)
            return
        except Exception as error:
            ray.shutdown()
            if address is None and number < _INIT_TRIES:
                continue
            if address is None:
                what, hint = "Ray on this machine", "The logs are in /tmp/ray/session_latest/logs. Is the machine busy?"
            else:
                what = f"--address {address}"
                hint = "Give the address that `ray start --head` printed, or leave it out to run on this machine."
            found = " ".join(str(error).split())[:300]
            raise TalkingError(what, expected="Ray to answer", found=found, hint=hint) from error


def _look_for_cluster(address: str | None) -> None:
    """Whether anybody listens at HOST:PORT; Ray itself takes minutes to find out that nobody does.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def check_resources(ray: Any, plan: Plan, growing: bool) -> list[str]:
    """Kinds of stages that no machine has room for.

    Args:
        ray: Ray, connected.
        plan: the stages.
        growing: whether machines may join later.

    Returns:
        A sentence for each, where machines may join.

    Raises:
        TalkingError: there is one, and no machine will join.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sentences = []
    for kind in KINDS:
        stage = next((stage for stage in plan.stages.values() if stage.kind == kind), None)
        if stage is None:
            continue
        wanted = _demand(stage)
        if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            continue
        needs = f"{_amounts(wanted)} for {kind}"
        has = "; ".join(sorted({_amounts({name: node.get(name, 0) for name in wanted}) for node in nodes}))
        if not growing:
            hint = f"Ask for less under resources: {kind} in the job file, or give a cluster with --address."
            raise TalkingError("this machine", expected=needs, found=has, hint=hint)
        sentences.append(f"No machine of the cluster has {needs} (they have {has}): these stages wait for one.")
    return sentences


def _demand(stage: Stage) -> dict[str, float]:
    wanted = {"CPU": stage.resources.cpus, "GPU": stage.resources.gpus, "memory": stage.resources.memory_gb * 1e9}
    return {name: amount for name, amount in wanted.items() if amount}


def _amounts(resources: dict[str, float]) -> str:
    return ", ".join(
        f"{amount / 1e9:.1f} GB of memory" if name == "memory" else f"{amount:g} {name}s"
        for name, amount in resources.items()
    )


def run_on_ray(ray: Any, schedule: Schedule, how: Execution, watch: Watcher) -> None:
    """Run a schedule until it is over.

    Args:
        ray: Ray, connected.
        schedule: what is to be done; it is advanced.
        how: storage and commands.
        watch: called for every run that ends.

    Raises:
        TalkingError: the cluster is gone.
    """
    task = ray.remote(run_stage)
    running: dict[Any, str] = {}
    try:
        while not schedule.over:
            for kind in reversed(KINDS):
                while schedule.count(kind, "running") < _WINDOW:
                    address = schedule.start(kind, time.monotonic())
                    if address is None:
                        break
                    stage = schedule.plan.stages[address]
                    running[_submit(task, stage, how)] = address
            watch(schedule, "", None)
            if not running:  # all that is left waits for its next try
                time.sleep(_WAIT_SECONDS)
                continue
            ended, _ = ray.wait(list(running), num_returns=len(running), timeout=_WAIT_SECONDS)
            for reference in ended:
                address = running.pop(reference)
                watch(schedule, address, _settle(ray, schedule, reference, address, how))
    except ConnectionError as error:
        hint = "Run the same command again when it is back: it goes on from what is in the storage."
        raise TalkingError("Ray", expected="a cluster that answers", found=str(error), hint=hint) from error
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _submit(task: Any, stage: Stage, how: Execution) -> Any:
    resources = stage.resources
    return task.options(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        memory=resources.memory_gb * 1e9,
        max_retries=0,  # the schedule counts
        name=stage.label,
    ).remote(stage, how)


def _settle(ray: Any, schedule: Schedule, reference: Any, address: str, how: Execution) -> Outcome:
    """Tell the schedule what came of a task."""
    exceptions = ray.exceptions
    now = time.monotonic()
    try:
        outcome: Outcome = ray.get(reference)
    except (exceptions.OutOfMemoryError, exceptions.RuntimeEnvSetupError) as error:
        outcome = Outcome("failed", message=_first_line(error))
    except exceptions.RayTaskError as error:
        outcome = Outcome("failed", message=_first_line(error.cause or error))
    except exceptions.RayError as error:  # the worker or its machine is gone
        manifest = how.storage.manifest(address)
        if manifest is None:
            message = f"its worker was lost {schedule.progress[address].deaths + 1} times: {_first_line(error)}"
            schedule.lose(address, message, now)
            return Outcome("failed", message=message)
        outcome = Outcome("done", manifest, record=manifest.record)  # it had just stored its output
    if outcome.state == "done":
        schedule.succeed(address)
    else:
        schedule.fail(address, outcome.message, now, outcome.final)
    return outcome


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: " + (str(error).strip().split("\n")[0] or "no message")
