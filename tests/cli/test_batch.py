"""`ns-talking batch`: what is refused before anything runs, and the plan without running it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from nerfstudio_talking.cli.batch import Batch
from nerfstudio_talking.io.errors import TalkingError


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "anna.mp4").write_bytes(b"a video")
    (tmp_path / "jobs.yaml").write_text(
        "videos: {anna: anna.mp4}\nportraits: {splat: {method: splat-portrait-small}}\n"
    )
    return tmp_path / "jobs.yaml"


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "--output"),
        ({"output": "out", "retries": -1}, "--retries: expected at least 0; found -1"),
        ({"output": "out", "num_cpus": 0}, "--num-cpus"),
        ({"output": "out", "address": "auto", "num_cpus": 2}, "no --address with it"),
        ({"output": "out", "cache_gb": -1.0}, "--cache-gb"),
        ({"output": "nonsense://bucket", "dry_run": True}, "a protocol that fsspec knows"),
    ],
)
def test_what_cannot_be_run_is_said(jobs, options, message):
    with pytest.raises(TalkingError, match=message):
        Batch(jobs=jobs, **options).main()


def test_the_plan_is_printed_and_nothing_runs(jobs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    output = jobs.parent / "out"
    Batch(jobs=jobs, output=str(output), dry_run=True).main()
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines() if "│" in line
    ]
    assert rows == [["process", "1", "0", "1", "1", "0", "3 GB"], ["train", "1", "0", "1", "1", "0", "4 GB"]]
    assert [path.name for path in output.iterdir()] == ["input_digests.json"]


def test_a_wrong_address_is_said_at_once(jobs):
    pytest.importorskip("ray")
    with socket.socket() as probe:  # bound, and nobody listens
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(TalkingError, match=f"--address {address}: expected Ray to answer; found .*refused"):
            Batch(jobs=jobs, output=str(jobs.parent / "out"), address=address).main()


def test_without_ray_it_says_what_to_install(jobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TalkingError, match=r'pip install "nerfstudio-talking\[batch\]"'):
        Batch(jobs=jobs, output=str(jobs.parent / "out")).main()
    assert not (jobs.parent / "out" / "report.json").exists()
