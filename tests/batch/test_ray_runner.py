"""Batches on a real Ray of this machine: twenty small jobs, with commands of a fraction of a second."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.batch_commands import JOBS, build_small
from helpers.paths import ROOT

from nerfstudio_talking.batch import RayOptions, Report, RetryPolicy, RunOptions, Storage, collect, load_jobs, plan, run
from nerfstudio_talking.batch.ray_runner import connected
from nerfstudio_talking.io.errors import TalkingError

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="needs the extra batch")


@pytest.fixture(scope="module", autouse=True)
def ray(s3_server: str) -> Iterator[Any]:
    """One Ray of two CPUs for all tests of this file; its workers import what tests import, and reach the S3 server."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(ROOT / "tests"), str(ROOT), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with connected(RayOptions(num_cpus=2)) as started:
        children = psutil.Process().children(recursive=True)
        yield started
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    _, alive = psutil.wait_procs([child for child in children if any("ray" in word for word in words(child))], 30)
    assert [words(child) for child in alive] == [], "Ray's processes have ended"


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty once it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def write_jobs(folder: Path, text: str = JOBS, **changed: str) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "hello.wav", "again.wav"):
        (folder / name).write_text(changed.get(Path(name).stem, name) + "\n")
    path = folder / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def options(folder: Path, **changed: Any) -> RunOptions:
    values = {"build": build_small, "scratch": folder / "scratch", "show": False, "policy": RetryPolicy(1, 10, 0.1)}
    return RunOptions(**{**values, **changed})


def run_jobs(folder: Path, storage: Storage, **changed: Any) -> Report:
    return run(plan(load_jobs(folder / "jobs.yaml"), storage), storage, options(folder, **changed))


def column(report: Report, key: str) -> dict[str, Any]:
    return {label: entry.get(key) for label, entry in report.record["stages"].items()}


def digests(report: Report, storage: Storage) -> dict[str, str]:
    """The digest of every stage's output, from its manifest."""
    found = {label: storage.manifest(address) for label, address in column(report, "address").items()}
    return {label: manifest.digest for label, manifest in found.items() if manifest is not None}


@pytest.fixture(scope="module")
def undisturbed(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Storage, Report]:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_jobs(folder)
    storage = Storage(str(folder / "storage"))
    return folder, storage, run_jobs(folder, storage)


def test_twenty_jobs(undisturbed):
    _, storage, report = undisturbed
    assert report.record["counts"] == {"done": 20} and not report.failed
    report.raise_for_failures()
    assert storage.read_json("report.json") == json.loads(json.dumps(report.record))
    found = digests(report, storage)
    assert len(set(found.values())) == 20 and found == column(report, "output_digest")
    assert all(seconds > 0.3 for seconds in column(report, "wall_s").values()), "what is measured is reported"


def test_the_same_again_does_nothing(undisturbed):
    folder, storage, report = undisturbed
    again = run_jobs(folder, storage, build=None)  # would fail
    assert again.record["counts"] == {"cached": 20}
    assert digests(again, storage) == digests(report, storage)


def test_what_is_missing_is_made_and_nothing_else(undisturbed, tmp_path):
    _, storage, report = undisturbed
    before = digests(report, storage)
    write_jobs(tmp_path, d="another")
    other = run_jobs(tmp_path, storage)
    states = column(other, "state")
    assert {label for label, state in states.items() if state == "done"} == {
        "process d", "train d/x", "drive d/x/hello", "drive d/x/again", "score d/x/hello",
    }  # fmt: skip
    after = digests(other, storage)
    assert {label for label in before if before[label] != after[label]} == {
        label for label in before if label.split()[1][0] == "d"
    }


def busy_workers() -> list[psutil.Process]:
    """Worker processes of our Ray that run a stage."""
    found = []
    for process in psutil.Process().children(recursive=True):
        title = words(process)
        if title and title[0].startswith(("ray::process", "ray::train", "ray::drive", "ray::score")):
            found.append(process)
    return found


def kill_workers(count: int, over: threading.Event, killed: list[int]) -> None:
    draw = random.Random(7)
    while len(killed) < count and not over.is_set():
        time.sleep(draw.uniform(0.05, 0.4))
        workers = busy_workers()
        if workers:
            victim = draw.choice(workers)
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)
            psutil.wait_procs([victim], timeout=10)


def test_killed_workers_lose_nothing(undisturbed, tmp_path):
    _, whole_storage, whole = undisturbed
    write_jobs(tmp_path)
    storage = Storage(str(tmp_path / "storage"))
    over, killed = threading.Event(), []
    killer = threading.Thread(target=kill_workers, args=(10, over, killed))
    killer.start()
    try:
        report = run_jobs(tmp_path, storage)
    finally:
        over.set()
        killer.join()
    assert len(set(killed)) == 10, "in a run of twenty jobs"
    assert report.record["counts"] == {"done": 20}
    lost = column(report, "lost_workers")
    assert 1 <= sum(lost.values()) <= 10, "a worker may have stored its output just before"
    assert max(column(report, "failures").values()) <= 1, "Ray calls some kills failures; they are tried again"
    assert digests(report, storage) == digests(whole, whole_storage)
    leftovers = list((tmp_path / "scratch" / "work").glob("*/log.txt"))
    assert len(leftovers) <= 2, "each stage removed what dead workers had left before it"


def test_a_bad_input_is_set_aside_and_the_others_go_on(tmp_path):
    mended = tmp_path / "mended"
    write_jobs(tmp_path, b=f"broken unless {mended}")
    storage = Storage(str(tmp_path / "storage"))
    report = run_jobs(tmp_path, storage)
    message = "b: expected a video; found a broken file. Convert it."
    assert report.failed == {"process b": message}
    assert report.record["stages"]["process b"]["failures"] == 2, "one retry"
    assert report.skipped == dict.fromkeys(
        ["train b/x", "drive b/x/hello", "drive b/x/again", "score b/x/hello"], "process b failed"
    )
    assert report.record["counts"] == {"done": 15, "failed": 1, "skipped": 4}
    with pytest.raises(TalkingError, match=r"1 failed and 4 skipped .*process b: b: expected a video"):
        report.raise_for_failures()
    (address,) = storage.set_aside()
    record = storage.read_json(f"set_aside/{address}.json")
    assert record is not None and record["stage"] == "process b" and "Error: " + message in record["log"]

    kept = run_jobs(tmp_path, storage, retry_failed=False)
    assert kept.failed == {"process b": message} and kept.record["counts"]["cached"] == 15
    mended.touch()
    report = run_jobs(tmp_path, storage)
    assert report.record["counts"] == {"done": 5, "cached": 15} and storage.set_aside() == set()


def test_object_storage(s3_server, tmp_path):
    """Inputs of this machine are brought to the storage; results come back under their names."""
    write_jobs(tmp_path, "videos: {a: a.mp4}\nvoices: voices/*.wav\nportraits: {x: {method: m}}\ndrives: [{}]\n")
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "hello.wav").write_text("hello.wav\n")
    storage = Storage(f"{s3_server}/on-ray")
    report = run_jobs(tmp_path, storage)
    assert report.record["counts"] == {"done": 3}
    stages = plan(load_jobs(tmp_path / "jobs.yaml"), storage)
    video = stages.stages[stages.names["process", "a"]].files["video"]
    assert storage.manifest(stages.names["process", "a"]) is not None
    target = tmp_path / "collected"
    assert collect(stages, storage, str(target)) == 1 and collect(stages, storage, str(target)) == 0
    assert len((target / "a/x/hello.mp4").read_text()) > 64
    assert run_jobs(tmp_path, storage, build=None).record["counts"] == {"cached": 3}
    assert video.digest in str(storage.read_json("input_digests.json"))


def test_a_stage_that_no_machine_has_room_for(tmp_path):
    write_jobs(tmp_path, JOBS + "resources: {train: {gpus: 2}}\n")
    with pytest.raises(
        TalkingError, match=r"expected 1 CPUs, 2 GPUs, 4\.0 GB of memory for train; found 2 CPUs, 0 GPUs"
    ):
        run_jobs(tmp_path, Storage(str(tmp_path / "storage")))


def test_an_exception_in_a_worker_is_a_failure_with_its_message(tmp_path):
    write_jobs(tmp_path, "videos: {a: a.mp4}\n")
    report = run_jobs(tmp_path, Storage(str(tmp_path / "storage")), build=None)
    assert "'NoneType' object is not callable" in report.failed["process a"]
