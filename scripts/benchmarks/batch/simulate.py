"""A batch of many portraits on a cluster that is not there: wall time, throughput, storage, cost, bottleneck.

    python scripts/benchmarks/batch/simulate.py
    python scripts/benchmarks/batch/simulate.py --nodes 400 --cores 16 --storage-gbit 20 --node-price 0.4

A discrete-event simulation: a run of a stage takes a core of a machine for its transfers and its computation. The
storage serves one transfer after another at its rate, each at most at its machine's. A machine reads a portrait once
while its cache holds it, and Ray gives a run to any machine with a free core. Times of the stages are those of
stage_times.json, measured in CPU seconds with one thread each.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from batch_model import STAGES, Bound, Cluster, StageCost, Workload, bound, fit_costs
from rich.table import Table

from nerfstudio_talking.io.console import CONSOLE

TIMES = Path(__file__).with_name("stage_times.json")


@dataclass
class Result:
    """What a simulation found."""

    hours: float = 0.0
    """From the first start to the last end."""
    busy_hours: float = 0.0
    """Hours of cores that were occupied, with transfers and lost runs."""
    lost_runs: int = 0
    """Runs that started anew."""
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    """Runs that ended well, by stage."""
    read_tb: float = 0.0
    """Terabytes that machines read."""
    written_tb: float = 0.0
    """Terabytes that machines wrote."""
    cache_hits: float = 0.0
    """Share of the reads of a portrait that the machine's cache answered."""

    def transfer_hours(self, cluster: Cluster) -> float:
        """Hours that the storage was busy."""
        return 8e12 * (self.read_tb + self.written_tb) / (cluster.storage_gbit * 1e9) / 3600

    def utilisation(self, cluster: Cluster) -> float:
        """Share of all cores' time that they were occupied."""
        return self.busy_hours / (self.hours * cluster.nodes * cluster.cores)


class Simulation:
    """One run of a batch.

    Args:
        costs: the stages.
        work: what is to be made.
        cluster: the machines.
        spread: standard deviation of the logarithm of a run's time; its mean stays.
        seed: of spreads and losses.
    """

    def __init__(
        self, costs: dict[str, StageCost], work: Workload, cluster: Cluster, spread: float = 0.0, seed: int = 0
    ) -> None:
        self.costs, self.work, self.cluster, self.spread = costs, work, cluster, spread
        self.draw = random.Random(seed)
        self.result = Result()
        self._link_free = 0.0
        self._slots = [node for node in range(cluster.nodes) for _ in range(cluster.cores)]
        self._caches: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(cluster.nodes)]
        self._asked = self._found = 0
        self._ready: dict[str, deque[tuple[int, int]]] = {name: deque() for name in STAGES}
        self._unscored = [work.scores_up_to(i + 1) - work.scores_up_to(i) for i in range(work.portraits)]
        self._times = {name: costs[name].seconds(work.units(name)) / cluster.speed for name in STAGES}
        self._sizes = {name: costs[name].size(work.units(name)) for name in STAGES}

    def run(self) -> Result:
        """Simulate until everything is made."""
        self._ready["process"].extend((portrait, 0) for portrait in range(self.work.portraits))
        events: list[tuple[float, int, str, int, int, int, bool]] = []
        now, number = 0.0, 0
        while True:
            while self._slots and (task := self._next()) is not None:
                stage, portrait, video = task
                node = self._take_slot()
                end, well = self._place(now, node, stage, portrait)
                self.result.busy_hours += (end - now) / 3600
                heapq.heappush(events, (end, number, stage, portrait, video, node, well))
                number += 1
            if not events:
                break
            now, _, stage, portrait, video, node, well = heapq.heappop(events)
            self._slots.append(node)
            if well:
                self._end(stage, portrait, video)
            else:
                self.result.lost_runs += 1
                self._ready[stage].appendleft((portrait, video))
        self.result.hours = now / 3600
        self.result.cache_hits = self._found / max(1, self._asked)
        return self.result

    def _take_slot(self) -> int:
        """The machine of a free core, any of them."""
        index = self.draw.randrange(len(self._slots))
        self._slots[index], self._slots[-1] = self._slots[-1], self._slots[index]
        return self._slots.pop()

    def _next(self) -> tuple[str, int, int] | None:
        """The stage that runs next: those at the end of the chain first, as the batch submits them."""
        for stage in reversed(STAGES):
            if self._ready[stage]:
                return stage, *self._ready[stage].popleft()
        return None

    def _place(self, now: float, node: int, stage: str, portrait: int) -> tuple[float, bool]:
        """When a run that starts now ends, and whether its machine lives to see it."""
        read = self._inputs(stage, portrait, node)
        loaded = self._transfer(now, read)
        noise = self.draw.lognormvariate(-(self.spread**2) / 2, self.spread) if self.spread else 1.0
        computed = loaded + self._times[stage] * noise
        rate = self.cluster.losses_per_node_hour
        lost = now + 3600 * self.draw.expovariate(rate) if rate else float("inf")
        self.result.read_tb += read / 1e12
        if lost < computed:
            self._caches[node].clear()
            return lost, False
        self.result.written_tb += self._sizes[stage] / 1e12
        # its place in the storage's queue is taken when it starts: exact where the storage is not the limit, and the
        # right rate where it is
        return max(computed, self._transfer(now, self._sizes[stage])), True

    def _inputs(self, stage: str, portrait: int, node: int) -> float:
        """Bytes that a run reads on a machine."""
        if stage == "process":
            return self.work.recording_bytes_per_s * 60 * self.work.recording_minutes
        if stage == "train":
            return self._sizes["process"]
        if stage == "score":
            return self._sizes["drive"] + self.work.recording_bytes_per_s * 60 * self.work.recording_minutes
        cache = self._caches[node]
        self._asked += 1
        if portrait in cache:
            cache.move_to_end(portrait)
            self._found += 1
            return 0.0
        cache[portrait] = None
        if len(cache) > self.cluster.cached_portraits:
            cache.popitem(last=False)
        return self._sizes["process"] + self._sizes["train"]

    def _transfer(self, now: float, size: float) -> float:
        """When a transfer that is asked for now ends."""
        if not size:
            return now
        start = max(now, self._link_free)
        self._link_free = start + 8 * size / (self.cluster.storage_gbit * 1e9)
        return max(self._link_free, start + 8 * size / (self.cluster.node_gbit * 1e9))

    def _end(self, stage: str, portrait: int, video: int) -> None:
        self.result.runs[stage] += 1
        if stage == "process":
            self._ready["train"].append((portrait, 0))
        elif stage == "train":
            self._ready["drive"].extend((portrait, i) for i in range(self.work.videos_per_portrait))
        elif stage == "drive" and self._unscored[portrait]:
            self._unscored[portrait] -= 1
            self._ready["score"].append((portrait, video))


def tables(least: Bound, result: Result, work: Workload, cluster: Cluster) -> list[Table]:
    """What a person wants to know."""
    price = cluster.nodes * result.hours * cluster.node_price
    stored = sum(least.stored_tb.values())
    video_minutes = result.runs["drive"] * work.minutes_per_video
    shares = {
        "computing on cores": least.hours["cores"] / result.hours,
        "storage bandwidth": result.transfer_hours(cluster) / result.hours,
        "longest chain": least.hours["longest chain"] / result.hours,
    }
    summary = Table("", "value", title="Batch", title_justify="left")
    for name, value in (
        ("wall time", f"{result.hours:.1f} h"),
        ("throughput", f"{video_minutes / result.hours:,.0f} minutes of video per hour"),
        ("cores occupied", f"{100 * result.utilisation(cluster):.0f} %"),
        ("lost runs", f"{result.lost_runs:,}"),
        ("read, written", f"{result.read_tb:.1f} TB, {result.written_tb:.1f} TB"),
        ("portraits found in a cache", f"{100 * result.cache_hits:.0f} %"),
        ("stored", f"{stored:.1f} TB, {stored * cluster.storage_price:,.0f} per month"),
        ("machines", f"{price:,.0f}: {1000 * price / video_minutes:.2f} per 1000 minutes of video"),
        *((f"share of the wall time: {name}", f"{100 * share:.0f} %") for name, share in shares.items()),
        ("bottleneck", max(shares, key=lambda name: shares[name])),
    ):
        summary.add_row(name, value)
    bounds = Table("limit", "least hours", title="What no schedule can beat", title_justify="left")
    for name, hours in least.hours.items():
        bounds.add_row(name, f"{hours:.1f}")
    stages = Table("stage", "runs", "core hours", "share", title="Stages", title_justify="left")
    total = sum(least.core_hours.values())
    for name in STAGES:
        hours = least.core_hours[name]
        stages.add_row(name, f"{result.runs[name]:,}", f"{hours:,.0f}", f"{100 * hours / total:.0f} %")
    storage = Table("stored", "TB", title="Storage", title_justify="left")
    for name, size in least.stored_tb.items():
        storage.add_row(name, f"{size:.2f}")
    return [summary, bounds, stages, storage]


def main(
    work: tyro.conf.OmitArgPrefixes[Workload],
    cluster: tyro.conf.OmitArgPrefixes[Cluster],
    times: Path = TIMES,
    spread: Annotated[float, tyro.conf.arg(help="Standard deviation of the logarithm of a run's time.")] = 0.3,
    seed: int = 0,
) -> None:
    """Simulate a batch and print what it takes.

    Args:
        work: what is to be made.
        cluster: the machines.
        times: measured times of the stages.
        spread: standard deviation of the logarithm of a run's time.
        seed: seed of spreads and losses.
    """
    costs = fit_costs(times)
    result = Simulation(costs, work, cluster, spread, seed).run()
    for table in tables(bound(costs, work, cluster), result, work, cluster):
        CONSOLE.print(table)


if __name__ == "__main__":
    tyro.cli(main)
