"""A batch on a cluster as numbers: what each stage costs, what the machines offer, and the bounds that follow."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STAGES = ("process", "train", "drive", "score")


@dataclass(frozen=True)
class StageCost:
    """What one run of a stage takes, linear in its units: seconds of video, or training steps."""

    fixed_s: float
    """Seconds of one core that every run takes: start of the command, loading."""
    per_unit_s: float
    """Seconds of one core per unit."""
    fixed_bytes: float = 0.0
    """Bytes of the output that every run has."""
    per_unit_bytes: float = 0.0
    """Bytes of the output per unit."""

    def seconds(self, units: float) -> float:
        """Seconds of one core of a run."""
        return self.fixed_s + self.per_unit_s * units

    def size(self, units: float) -> float:
        """Bytes of a run's output."""
        return self.fixed_bytes + self.per_unit_bytes * units


def fit_costs(path: Path) -> dict[str, StageCost]:
    """Costs of the stages from measured runs: the line through them by least squares, with no negative part.

    Args:
        path: JSON with `stages: {NAME: {runs: [{units, cpu_s, bytes}]}}`.
    """
    stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
    return {name: _fit(stages[name]["runs"]) for name in STAGES}


def _fit(runs: list[dict[str, float]]) -> StageCost:
    units = np.array([run["units"] for run in runs])

    def line(key: str) -> tuple[float, float]:
        values = np.array([run[key] for run in runs])
        if np.ptp(units) == 0:
            return 0.0, float(values.mean() / units[0])
        slope, offset = np.polyfit(units, values, 1)
        if offset < 0:  # no start-up time: the line through the origin
            return 0.0, float(units @ values / (units @ units))
        return (float(offset), float(slope)) if slope > 0 else (float(values.mean()), 0.0)

    return StageCost(*line("cpu_s"), *line("bytes"))


@dataclass(frozen=True)
class Workload:
    """What is to be made."""

    portraits: int = 10_000
    """Number of portraits, each of a recording of its own."""
    recording_minutes: float = 2.0
    """Minutes of each recording."""
    train_steps: int = 3000
    """Training steps of each portrait."""
    video_minutes: float = 1_000_000.0
    """Minutes of speaking video in all, spread evenly over the portraits."""
    minutes_per_video: float = 5.0
    """Minutes of each speaking video."""
    scored: float = 0.01
    """Share of the videos that are scored."""
    recording_bytes_per_s: float = 500e3
    """Bytes of a recording per second, as it is uploaded."""

    @property
    def videos_per_portrait(self) -> int:
        """Number of speaking videos of each portrait."""
        return max(1, round(self.video_minutes / self.portraits / self.minutes_per_video))

    @property
    def scores(self) -> int:
        """Number of scores in all."""
        return self.scores_up_to(self.portraits)

    def scores_up_to(self, portrait: int) -> int:
        """Number of scores of the portraits below a number; over all portraits their share is `scored`."""
        return math.floor(portrait * self.videos_per_portrait * self.scored + 1e-9)

    def units(self, stage: str) -> float:
        """Units of one run of a stage."""
        if stage == "train":
            return self.train_steps
        return 60 * (self.recording_minutes if stage == "process" else self.minutes_per_video)


@dataclass(frozen=True)
class Cluster:
    """The machines."""

    nodes: int = 100
    """Number of machines."""
    cores: int = 32
    """Cores of each."""
    speed: float = 1.0
    """Speed of a core relative to the one that was measured."""
    node_gbit: float = 10.0
    """Network of each machine, gigabits per second."""
    storage_gbit: float = 100.0
    """What the storage serves in all, gigabits per second."""
    node_price: float = 1.0
    """Price of a machine per hour."""
    storage_price: float = 23.0
    """Price of a terabyte stored for a month."""
    cached_portraits: int = 100
    """Number of portraits with dataset that a machine's cache holds."""
    losses_per_node_hour: float = 0.0
    """How often a machine is taken away per hour of its life; the stages on it start anew."""


@dataclass(frozen=True)
class Bound:
    """What no schedule can beat."""

    hours: dict[str, float]
    """Least hours by what limits them."""
    core_hours: dict[str, float]
    """Hours of one core by stage."""
    stored_tb: dict[str, float]
    """Terabytes in the storage by what they are."""

    @property
    def bottleneck(self) -> str:
        """What limits most."""
        return max(self.hours, key=lambda name: self.hours[name])


def bound(costs: dict[str, StageCost], work: Workload, cluster: Cluster) -> Bound:
    """Work over capacity, for cores and for the storage, and the longest chain of stages.

    The storage's part counts what every schedule moves: every recording and every output once, and the datasets once
    more to train on.
    """
    portraits, videos = work.portraits, work.portraits * work.videos_per_portrait
    runs = {"process": portraits, "train": portraits, "drive": videos, "score": work.scores}
    seconds = {name: costs[name].seconds(work.units(name)) / cluster.speed for name in STAGES}
    sizes = {name: costs[name].size(work.units(name)) for name in STAGES}
    core_hours = {name: runs[name] * seconds[name] / 3600 for name in STAGES}
    recording = work.recording_bytes_per_s * 60 * work.recording_minutes
    names = ("datasets", "portraits", "videos", "scores")
    stored = {name: runs[stage] * sizes[stage] for name, stage in zip(names, STAGES)}
    stored["recordings"] = portraits * recording
    moved = sum(stored.values()) + stored["datasets"]
    chain = sum(seconds[name] for name in STAGES[:3]) + (seconds["score"] if work.scores else 0)
    hours = {
        "cores": sum(core_hours.values()) / (cluster.nodes * cluster.cores),
        "storage bandwidth": moved * 8 / (cluster.storage_gbit * 1e9) / 3600,
        "longest chain": chain / 3600,
    }
    return Bound(hours, core_hours, {name: size / 1e12 for name, size in stored.items()})
