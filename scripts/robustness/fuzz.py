"""Damage files of every kind that the package reads, and see that each is read or refused in one message.

    python scripts/robustness/fuzz.py [--cases 10000] [--seed 0] [--targets media config] [--json fuzz.json]
    python scripts/robustness/fuzz.py --targets media --only 417        # replays a case, with its traceback

A case takes a target's good files, damages one to three of them (`mutations`), and reads them as commands do
(`targets`).
It has to end in success or in TalkingError, within ten seconds of processor time, and with at most 2 GB of memory more
than before. Anything else is a finding: another exception, a crash of the process, a hang. A case depends on seed,
target and number alone. Exit code 1 where there is a finding.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro
from mutations import damage_bytes, damage_for
from targets import TARGETS, Target, copy_good

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

IMPORTS = ("nerfstudio_talking.inference.checkpoints", "nerfstudio_talking.media.reading", "numba")
"""What the targets import, once for all processes."""
SECONDS = 10
"""Processor time of a case, seconds."""
_HANG = 60.0
"""Seconds without a result after which a process counts as hanging."""
MEMORY = 2 << 30
"""Address space that a case may take besides what the process has, bytes."""


class TooLong(BaseException):
    """A case took more processor time than it may; no reader catches it."""


@dataclass
class Result:
    """What became of a case."""

    target: str
    number: int
    outcome: str
    """'read', 'refused', or what went wrong."""
    detail: str = ""
    """Traceback of a finding, message of a refusal."""


def damage(target: Target, good: Path, work: Path, draw: random.Random) -> list[str]:
    """Damage some of a target's files in a fresh copy.

    Returns:
        The names of the files.
    """
    copy_good(good, work)
    paths = sorted(path for path in work.rglob(target.files) if path.is_file())
    # as often a kind of file as another, however many there are of each
    names: list[str] = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        suffix = draw.choice(sorted({path.suffix for path in paths}))
        path = draw.choice([path for path in paths if path.suffix == suffix])
        others = [other.read_bytes() for other in paths if other.suffix == suffix and other.is_file()][:8]
        if draw.random() < 0.03:
            path.unlink(missing_ok=True)
        elif path.is_file():
            data = path.read_bytes()
            try:
                data = damage_for(path)(data, draw, others)
            except Exception:  # noqa: BLE001 - what reads a file to damage it has met one that is damaged already
                data = damage_bytes(data, draw, others)
            path.write_bytes(data)
        names.append(str(path.relative_to(work)))
    (work / "chosen").write_text(names[0])
    return names


def run_case(target: Target, good: Path, work: Path, seed: int, number: int) -> Result:
    """Run a case in this process, under its limits."""
    draw = random.Random(f"{seed} {target.name} {number}")
    damage(target, good, work, draw)
    try:
        with _limits():
            target.read(work)
    except TalkingError as error:
        return Result(target.name, number, "refused", str(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Result(target.name, number, f"{type(error).__name__}{_place(error)}", traceback.format_exc())
    return Result(target.name, number, "read")


def _place(error: BaseException) -> str:
    """The last line of the package that the exception went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "nerfstudio_talking" in frame.filename]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def run_cases(target: Target, folder: Path, seed: int, count: int) -> Iterator[Result]:
    """Run cases in a process of their own: that it ends or hangs is a finding, and another one goes on after it."""
    number = 0
    while number < count:
        begin, end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(begin)
            _work(target, folder, seed, range(number, count), end)
        os.close(end)
        with os.fdopen(begin) as results:
            first = results.readline()
            if first != "ready\n":
                raise RuntimeError(f"good files of {target.name} cannot be made or read:\n{first}{results.read()}")
            while True:
                ready, _, _ = select.select([results], [], [], _HANG)
                line = results.readline() if ready else ""
                if not line:
                    break
                yield Result(**json.loads(line))
                number += 1
        if number < count:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if number < count:
            code = os.waitstatus_to_exitcode(status)
            yield Result(target.name, number, "hang" if code == -signal.SIGKILL else f"end of the process ({code})")
            number += 1


def prepare(target: Target, folder: Path) -> tuple[Path, Path]:
    """Make a target's good files and read them once: imports and compilation do not count as a case's.

    Returns:
        The folder of the good files, and the one to work in.
    """
    good, work = folder / "good", folder / "work"
    shutil.rmtree(good, ignore_errors=True)
    good.mkdir()
    target.make(good)
    copy_good(good, work)
    for path in sorted(path for path in work.rglob(target.files) if path.is_file()):
        (work / "chosen").write_text(path.name)
        with contextlib.suppress(TalkingError):  # a file of audio is no video
            target.read(work)
        if path.parent != work:
            break
    return good, work


def _work(target: Target, folder: Path, seed: int, numbers: range, end: int) -> None:
    """The child's part: one line of JSON for each case, then the end of the process. The parent has no threads: what
    they hold would be held for ever in a child."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)  # decoders complain there
    CONSOLE.file = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    warnings.simplefilter("ignore")
    try:
        good, work = prepare(target, folder)
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        os.write(end, traceback.format_exc().encode())
        os._exit(1)
    os.write(end, b"ready\n")
    for number in numbers:
        line = json.dumps(vars(run_case(target, good, work, seed, number))) + "\n"
        data = line.encode()
        while data:
            data = data[os.write(end, data) :]
    os._exit(0)


@dataclass
class Fuzz:
    """Damage files of every kind that the package reads."""

    cases: int = 10_000
    """Number of cases, over all targets."""
    seed: int = 0
    """Seed of the damages."""
    targets: tuple[str, ...] = tuple(TARGETS)
    """Which kinds of files."""
    only: int | None = None
    """The one case to run, in this process, with its traceback."""
    json: Path | None = None
    """The file for figures and findings."""
    results: list[Result] = field(default_factory=list, init=False)

    def main(self) -> int:
        """Run all cases; returns the exit code."""
        chosen = [TARGETS[name] for name in self.targets]
        total = sum(target.share for target in chosen)
        figures: dict[str, Any] = {}
        for name in IMPORTS:
            import_module(name)
        with tempfile.TemporaryDirectory() as folder:
            for target in chosen:
                if self.only is not None:
                    good, work = prepare(target, Path(folder))
                    result = run_case(target, good, work, self.seed, self.only)
                    CONSOLE.print(f"{result.outcome}\n{result.detail}", markup=False)
                    continue
                start = time.monotonic()
                count = max(round(self.cases * target.share / total), 1)
                results = list(run_cases(target, Path(folder), self.seed, count))
                self.results += results
                figures[target.name] = self._report(target, results, time.monotonic() - start)
        findings = self.findings()
        if self.json is not None:
            record = {"seed": self.seed, "figures": figures, "findings": [vars(finding) for finding in findings]}
            self.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
        return 1 if findings else 0

    def findings(self) -> list[Result]:
        """Cases that ended otherwise than they may."""
        return [result for result in self.results if result.outcome not in ("read", "refused")]

    def _report(self, target: Target, results: list[Result], seconds: float) -> dict[str, int]:
        counts = Counter(result.outcome for result in results)
        text = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
        CONSOLE.print(f"{target.name}: {len(results)} cases in {seconds:.0f} s: {text}", markup=False, soft_wrap=True)
        shown: set[str] = set()
        for result in results:
            if result.outcome not in ("read", "refused") and result.outcome not in shown:
                shown.add(result.outcome)
                CONSOLE.print(
                    f"  --targets {target.name} --seed {self.seed} --only {result.number}: {result.outcome}",
                    markup=False,
                )
        return dict(counts)


if __name__ == "__main__":
    sys.exit(tyro.cli(Fuzz, description=__doc__).main())
