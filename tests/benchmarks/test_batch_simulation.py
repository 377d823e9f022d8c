"""The simulated batch against bounds that hold for every schedule, and against sums by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from batch_model import Cluster, StageCost, Workload, bound, fit_costs
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import TIMES, Simulation

COSTS = {
    "process": StageCost(10, 2),  # 130 s for a minute
    "train": StageCost(20, 0.1),  # 120 s for 1000 steps
    "drive": StageCost(5, 1),  # 65 s for a minute
    "score": StageCost(0, 0.5),  # 30 s for a minute
}
"""Without outputs, so that nothing is transferred but recordings."""
WORK = Workload(
    portraits=3, recording_minutes=1, train_steps=1000, video_minutes=6, minutes_per_video=1, scored=0.5,
    recording_bytes_per_s=0,
)  # fmt: skip
ONE = Cluster(nodes=1, cores=1)


def test_one_core_does_one_thing_after_another():
    """3 portraits x (130 + 120 + 2 videos x 65 s + 1 score x 30 s) = 3 x 410 s."""
    result = Simulation(COSTS, WORK, ONE).run()
    assert result.runs == {"process": 3, "train": 3, "drive": 6, "score": 3}
    assert result.hours == pytest.approx(1230 / 3600) and result.utilisation(ONE) == pytest.approx(1)
    least = bound(COSTS, WORK, ONE)
    assert least.hours["cores"] == pytest.approx(1230 / 3600) and least.bottleneck == "cores"
    assert least.core_hours["drive"] == pytest.approx(390 / 3600)


def test_with_cores_enough_the_longest_chain_remains():
    many = Cluster(nodes=100, cores=10)
    result = Simulation(COSTS, WORK, many).run()
    assert result.hours == pytest.approx((130 + 120 + 65 + 30) / 3600)
    assert bound(COSTS, WORK, many).hours["longest chain"] == pytest.approx(result.hours)
    twice = Simulation(COSTS, WORK, replace(many, speed=2)).run()
    assert twice.hours == pytest.approx(result.hours / 2)


@settings(max_examples=40, deadline=None)
@given(
    portraits=st.integers(1, 40),
    videos=st.integers(1, 8),
    nodes=st.integers(1, 6),
    cores=st.integers(1, 5),
    scored=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_the_wall_time_is_between_the_bounds(portraits, videos, nodes, cores, scored):
    """No core idles while a run is ready: at most work over cores plus the longest chain (Graham 1969), and at least
    either of them."""
    work = replace(WORK, portraits=portraits, video_minutes=portraits * videos, scored=scored)
    cluster = Cluster(nodes=nodes, cores=cores)
    least = bound(COSTS, work, cluster).hours
    hours = Simulation(COSTS, work, cluster).run().hours
    assert max(least["cores"], least["longest chain"]) <= hours * (1 + 1e-9)
    assert hours <= (least["cores"] + least["longest chain"]) * (1 + 1e-9)


def test_storage_can_be_the_limit():
    """1000 datasets of 1 GB written, read for training, and read again by each video: 4 TB at 8 Gbit/s are 4000 s."""
    costs = {**{name: StageCost(1, 0) for name in COSTS}, "process": StageCost(1, 0, 1e9)}
    work = replace(WORK, portraits=1000, video_minutes=2000, scored=0)
    cluster = Cluster(nodes=50, cores=20, storage_gbit=8, cached_portraits=1)
    least = bound(costs, work, cluster)
    assert least.bottleneck == "storage bandwidth" and least.hours["storage bandwidth"] == pytest.approx(2000 / 3600)
    result = Simulation(costs, work, cluster).run()
    assert result.written_tb == pytest.approx(1) and result.read_tb == pytest.approx(3 - result.cache_hits * 2)
    assert result.transfer_hours(cluster) == pytest.approx((result.read_tb + result.written_tb) * 1000 / 3600)
    assert result.transfer_hours(cluster) <= result.hours < 4100 / 3600


def test_a_cache_saves_reads():
    costs = {**COSTS, "process": StageCost(10, 2, 1e9)}
    work = replace(WORK, portraits=5, video_minutes=100, scored=0)
    result = Simulation(costs, work, Cluster(nodes=1, cores=4, cached_portraits=5)).run()
    assert result.cache_hits == pytest.approx(95 / 100) and result.read_tb == pytest.approx((5 + 5) * 1e9 / 1e12)


def test_lost_machines_cost_time_and_nothing_else():
    work = replace(WORK, portraits=100, video_minutes=400)
    cluster = Cluster(nodes=4, cores=2)
    calm = Simulation(COSTS, work, cluster, spread=0.3, seed=1).run()
    wild = Simulation(COSTS, work, replace(cluster, losses_per_node_hour=5), spread=0.3, seed=1).run()
    assert wild.runs == calm.runs and calm.lost_runs == 0 < wild.lost_runs
    assert wild.hours > calm.hours and wild.busy_hours > calm.busy_hours


def test_a_line_is_fitted(tmp_path: Path):
    def write(*runs: tuple[float, float, float]) -> Path:
        stage = {"runs": [{"units": units, "cpu_s": seconds, "bytes": size} for units, seconds, size in runs]}
        path = tmp_path / "times.json"
        path.write_text(json.dumps({"stages": dict.fromkeys(COSTS, stage)}))
        return path

    cost = fit_costs(write((10, 25, 100), (20, 45, 200)))["drive"]
    assert (cost.fixed_s, cost.per_unit_s) == pytest.approx((5, 2)) and cost.seconds(100) == pytest.approx(205)
    assert (cost.fixed_bytes, cost.per_unit_bytes) == pytest.approx((0, 10), abs=1e-9)
    cost = fit_costs(write((10, 25, 7)))["train"]
    assert (cost.fixed_s, cost.per_unit_s) == (0, 2.5)
    cost = fit_costs(write((10, 10, 7), (20, 30, 7)))["train"]
    assert cost.fixed_s == 0 and cost.per_unit_s == pytest.approx(700 / 500), "no time before the start"


def test_measured_times_make_a_plan():
    """The plan of docs/batch.md at a hundredth of its size: within a tenth of what cores alone allow."""
    costs = fit_costs(TIMES)
    work, cluster = Workload(portraits=100, video_minutes=10_000), Cluster(nodes=1)
    least = bound(costs, work, cluster)
    result = Simulation(costs, work, cluster, spread=0.3).run()
    assert result.runs["drive"] == 2000
    assert 0.97 * max(least.hours.values()) < result.hours < 1.1 * least.hours["cores"]
