"""One run of one stage, on the machine that it was given to: fetch the inputs, run the command, store the output."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nerfstudio_talking.batch.commands import EXPECTED, CommandBuilder, build_command
from nerfstudio_talking.batch.stages import Stage
from nerfstudio_talking.batch.storage import Manifest, Storage, fetch_file
from nerfstudio_talking.batch.workers import launch
from nerfstudio_talking.batch.workers.scratch import Workspace
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.version import __version__

_LOG_LINES = 60
_USAGE_ERROR = 2
"""Exit code of a command whose options are wrong: a further try cannot help."""
_POLL_SECONDS = 0.1
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Execution:
    """How stages are run; the same for all of a batch."""

    storage: Storage
    """Where outputs are."""
    build: CommandBuilder = build_command
    """Makes the command lines."""
    scratch: Path | None = None
    """Scratch folder on each machine; one in the system's temporary folder where None."""
    cache_gb: float = 20.0
    """Gigabytes of outputs that each machine keeps for other stages."""
    package_version: str = __version__
    """Version of this package that the plan was made with."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    state: Literal["done", "failed"]
    """Whether the output is in the storage."""
    manifest: Manifest | None = None
    """The output."""
    message: str = ""
    """Why it failed."""
    final: bool = False
    """Whether another try cannot help."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Command, machine, seconds, and the end of what the command printed."""


def run_stage(stage: Stage, how: Execution) -> Outcome:
    """Run a stage, unless its output exists already.

    Args:
        stage: the stage; the outputs that it needs exist.
        how: storage, commands, scratch folder.

    Returns:
        What came of it. A command that fails is an outcome, not an exception.
    """
    if how.package_version != __version__:
        found = f"{__version__} on {platform.node()}, {how.package_version} where the batch was started"
        return Outcome("failed", message=f"other versions of nerfstudio-talking: {found}", final=True)
    existing = how.storage.manifest(stage.address)
    if existing is not None:
        return Outcome("done", existing, record=existing.record)
    try:
        workspace = Workspace(how.scratch, how.cache_gb)
        with workspace.folder() as folder, ExitStack() as stack:
            inputs = _fetch_inputs(stage, how.storage, workspace, folder, stack)
            return _run_in(stage, how, inputs, folder)
    except TalkingError as error:
        return Outcome("failed", message=str(error))
    except OSError as error:  # a full disk, above all
        return Outcome("failed", message=f"{type(error).__name__} on {platform.node()}: {error}")


def _fetch_inputs(
    stage: Stage, storage: Storage, workspace: Workspace, folder: Path, stack: ExitStack
) -> dict[str, Path]:
    inputs = {}
    for number, (role, file) in enumerate(sorted(stage.files.items())):
        path = folder / f"input_{number}" / f"{role.split()[0]}{file.suffix}"
        found = fetch_file(file.url, path)
        if found != file.digest:
            hint = "It was changed during the run; run again."
            raise TalkingError(file.url, expected=f"SHA-256 {file.digest}", found=found, hint=hint)
        inputs[role] = path
    for role, address in stage.needs.items():
        cached = stack.enter_context(workspace.cached(address, lambda part, key=address: storage.get(key, part)))
        if stage.kind == "bake":  # it writes beside config.yml
            inputs[role] = folder / role
            shutil.copytree(cached, inputs[role])
        else:
            inputs[role] = cached
    return inputs


def _run_in(stage: Stage, how: Execution, inputs: Mapping[str, Path], folder: Path) -> Outcome:
    output, log = folder / "output", folder / "log.txt"
    output.mkdir()
    command = how.build(stage, inputs, output)
    code, usage = run_command(command, folder, log, stage)
    lines = _lines(log)
    record = {
        "kind": stage.kind,
        "name": stage.name,
        "command": shlex.join(command),
        "machine": platform.node(),
        "package": __version__,
        **usage,
    }
    if code != 0:
        message = failure_message(code, lines, stage.resources.timeout_min)
        for role, file in stage.files.items():  # as the user knows them
            message = message.replace(str(inputs[role]), file.url)
        return Outcome(
            "failed", message=message, final=code == _USAGE_ERROR, record={**record, "log": lines[-_LOG_LINES:]}
        )
    expected = EXPECTED[stage.kind]
    if not any(output.glob(expected)):
        message = f"the command ended without an error and without {expected}"
        return Outcome("failed", message=message, record={**record, "log": lines[-_LOG_LINES:]})
    return Outcome("done", how.storage.put(stage.address, output, record), record=record)


def run_command(command: list[str], folder: Path, log: Path, stage: Stage) -> tuple[int | None, dict[str, float]]:
    """Run a program as a process of its own, with the stage's threads and GPUs, until it ends or its time is over.

    Args:
        command: program and arguments.
        folder: the folder it starts in.
        log: the file that gets what it prints.
        stage: the stage.

    Returns:
        Its exit code, negative for a signal, None when its time was over; and its wall-clock seconds, CPU seconds and
        largest memory in gigabytes, with the programs that it started and waited for.
    """
    environment = command_environment(os.environ, stage)
    starter = [sys.executable, "-S", "-E", str(launch.__file__), str(os.getpid())]
    start = time.monotonic()
    limit = None if stage.resources.timeout_min is None else 60 * stage.resources.timeout_min
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*starter, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timed_out = False
        try:
            while True:
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                if limit is not None and time.monotonic() - start > limit and not timed_out:
                    timed_out = True
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(_POLL_SECONDS)
        except BaseException:  # Ctrl-C, or Ray cancels the task
            os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it left running
    usage = {
        "wall_s": time.monotonic() - start,
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_gb": used.ru_maxrss * 1024 / 1e9,
    }
    return (None if timed_out else process.returncode), {name: round(value, 3) for name, value in usage.items()}


def command_environment(environment: Mapping[str, str], stage: Stage) -> dict[str, str]:
    """The environment of a stage's command: as many threads as it has CPUs, no GPU unless it asked for one, and this
    package where the worker has it."""
    threads = str(stage.resources.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_MAX_THREADS")
    found = {
        **environment,
        **dict.fromkeys(names, threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "160",
    }
    if not stage.resources.gpus:
        found["CUDA_VISIBLE_DEVICES"] = ""
    return found


def failure_message(code: int | None, lines: list[str], timeout_min: float | None = None) -> str:
    """One sentence on a failed command: its own error where it printed one, else how it ended and its last line.

    Args:
        code: its exit code, negative for a signal; None when its time was over.
        lines: what it printed.
        timeout_min: its time, minutes.
    """
    if code is None:
        return f"not ended after {timeout_min:g} minutes"
    ours = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    if ours:
        return ours[-1]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    if code < 0:
        name = signal.Signals(-code).name
        note = ", perhaps out of memory" if -code == signal.SIGKILL else ""
        return f"ended by {name}{note}; its last line: {last}"
    tops = [number for number, line in enumerate(lines) if line.startswith("╭")]
    boxed = [line.strip("│ ") for line in lines[tops[-1] :] if line.startswith("│")] if tops else []
    if boxed:  # what tyro says of wrong options: the first line names them
        return f"exit code {code}: {boxed[0]}"
    return f"exit code {code}; its last line: {last}"


def _lines(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    # of a progress bar, only what stood there last
    return [_ANSI.sub("", line.rsplit("\r", 1)[-1]).rstrip() for line in text.split("\n") if line.strip()]
