"""Which stage runs next, which is tried again, which is set aside: the state of a run, without any machine."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nerfstudio_talking.batch.planning import Plan, dependents
from nerfstudio_talking.batch.stages import KINDS, Kind

State = Literal["waiting", "running", "done", "cached", "failed", "skipped"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "cached", "failed", "skipped")
FINAL: frozenset[State] = frozenset({"done", "cached", "failed", "skipped"})


@dataclass(frozen=True)
class RetryPolicy:
    """How often a stage is tried."""

    retries: int = 2
    """Number of further tries of a command that failed."""
    worker_deaths: int = 10
    """Number of lost workers that a stage survives; a machine that is taken away is not the command's fault."""
    delay: float = 2.0
    """Seconds before the first further try; each later one waits twice as long."""


@dataclass
class Progress:
    """What happened to a stage so far."""

    state: State = "waiting"
    """Where it stands."""
    failures: int = 0
    """Number of tries that failed."""
    deaths: int = 0
    """Number of tries whose worker was lost."""
    message: str = ""
    """Why it failed or was skipped."""


@dataclass
class Schedule:
    """The state machine of a run.

    Args:
        plan: the stages.
        finished: addresses of outputs that exist already.
        policy: how often a stage is tried.
        set_aside: messages of stages that are not tried, by address.
    """

    plan: Plan
    finished: Collection[str] = ()
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    set_aside: Mapping[str, str] = field(default_factory=dict)
    progress: dict[str, Progress] = field(init=False, default_factory=dict)
    """By address."""

    def __post_init__(self) -> None:
        self._dependents = dependents(self.plan)
        finished = set(self.finished)
        self._missing: dict[str, int] = {}
        self._ready: dict[Kind, deque[str]] = {kind: deque() for kind in KINDS}
        self._delayed: list[tuple[float, int, str]] = []
        self._counts: dict[Kind, Counter[State]] = {kind: Counter() for kind in KINDS}
        self._number = 0
        self._open = len(self.plan.stages)
        for address, stage in self.plan.stages.items():
            self.progress[address] = Progress()
            self._counts[stage.kind]["waiting"] += 1
            self._missing[address] = len(set(stage.needs.values()) - finished)
        for address in self.plan.stages:
            if address in finished:
                self._set(address, "cached")
        for address, message in self.set_aside.items():
            if address in self.progress and self.progress[address].state == "waiting":
                self._give_up(address, message)
        for address, stage in self.plan.stages.items():
            if self.progress[address].state == "waiting" and not self._missing[address]:
                self._ready[stage.kind].append(address)

    @property
    def over(self) -> bool:
        """Whether every stage is done, cached, failed or skipped."""
        return not self._open

    def count(self, kind: Kind, state: State) -> int:
        """Number of stages of a kind in a state."""
        return self._counts[kind][state]

    def start(self, kind: Kind, now: float) -> str | None:
        """Take a stage of a kind whose inputs exist; it is running from now on.

        Args:
            kind: the kind.
            now: seconds of a clock that does not go back.

        Returns:
            Its address; None if none can start.
        """
        while self._delayed and self._delayed[0][0] <= now:
            address = heapq.heappop(self._delayed)[2]
            self._ready[self.plan.stages[address].kind].appendleft(address)
        if not self._ready[kind]:
            return None
        address = self._ready[kind].popleft()
        self._set(address, "running")
        return address

    def succeed(self, address: str) -> None:
        """A running stage's output exists; what waited for it alone can start."""
        self._set(address, "done")
        for other in self._dependents[address]:
            self._missing[other] -= 1
            if not self._missing[other] and self.progress[other].state == "waiting":
                self._ready[self.plan.stages[other].kind].append(other)

    def fail(self, address: str, message: str, now: float, final: bool = False) -> bool:
        """A running stage's command failed.

        Args:
            address: the stage.
            message: why.
            now: seconds of the clock of `start`.
            final: whether another try cannot help.

        Returns:
            Whether it is set aside; else it is tried again later.
        """
        progress = self.progress[address]
        progress.failures += 1
        progress.message = message
        if final or progress.failures > self.policy.retries:
            self._give_up(address, message)
            return True
        self._again(address, now + self.policy.delay * 2 ** (progress.failures - 1))
        return False

    def lose(self, address: str, message: str, now: float) -> bool:
        """A running stage's worker died.

        Returns:
            Whether it is set aside; else it is tried again.
        """
        progress = self.progress[address]
        progress.deaths += 1
        if progress.deaths > self.policy.worker_deaths:
            self._give_up(address, message)
            return True
        self._again(address, now)
        return False

    def _again(self, address: str, when: float) -> None:
        self._set(address, "waiting")
        self._number += 1
        heapq.heappush(self._delayed, (when, self._number, address))

    def _give_up(self, address: str, message: str) -> None:
        self.progress[address].message = message
        self._set(address, "failed")
        label = self.plan.stages[address].label
        below = list(self._dependents[address])
        while below:
            other = below.pop()
            if self.progress[other].state == "waiting":
                self.progress[other].message = f"{label} failed"
                self._set(other, "skipped")
                below += self._dependents[other]

    def _set(self, address: str, state: State) -> None:
        progress, counts = self.progress[address], self._counts[self.plan.stages[address].kind]
        counts[progress.state] -= 1
        counts[state] += 1
        progress.state = state
        self._open -= state in FINAL
