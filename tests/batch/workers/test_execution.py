"""One run of a stage, without Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nerfstudio_talking.batch import Resources, Stage, Storage
from nerfstudio_talking.batch.stages import InputFile
from nerfstudio_talking.batch.storage import stream_digest
from nerfstudio_talking.batch.workers.execution import Execution, command_environment, failure_message, run_stage


def shell(script: str):
    """A builder of commands that run a script; OUTPUT in it is the folder for the output."""
    return lambda stage, inputs, output: ["sh", "-c", script.replace("OUTPUT", str(output))]


def how(folder: Path, script: str) -> Execution:
    return Execution(Storage(str(folder / "storage")), shell(script), folder / "scratch")


STAGE = Stage("process", "anna")
WELL = "echo '{}' > OUTPUT/track.json"


def test_an_output_is_stored_and_not_made_again(tmp_path):
    outcome = run_stage(STAGE, how(tmp_path, WELL))
    assert outcome.state == "done" and outcome.manifest is not None
    assert [file.path for file in outcome.manifest.files] == ["track.json"]
    assert outcome.record["name"] == "anna" and 0 < outcome.record["wall_s"] < 60
    again = run_stage(STAGE, how(tmp_path, "exit 1"))
    assert again.state == "done" and again.manifest == outcome.manifest
    assert list((tmp_path / "scratch" / "work").iterdir()) == []


def test_usage_is_that_of_the_command_and_what_it_started(tmp_path):
    code = "import subprocess, sys; b = bytearray(200_000_000); [i for i in range(10_000_000)]"
    record = run_stage(STAGE, how(tmp_path, f"{sys.executable} -c '{code}'; {WELL}")).record
    assert record["cpu_s"] > 0.1
    assert record["memory_gb"] > 0.2  # no upper bound: a fork counts what this process has until it starts the command


@pytest.mark.parametrize(
    "script, message, final",
    [
        ("echo 'Error: anna.mp4: expected a face; found none. Look.'; exit 1", "anna.mp4: expected a face", False),
        ("printf 'a bar\\rthe end\\n' >&2; exit 3", "exit code 3; its last line: the end", False),
        ("exit 2", "exit code 2; its last line: it printed nothing", True),
        ("echo almost; kill -9 $$", "ended by SIGKILL, perhaps out of memory; its last line: almost", False),
        ("true", "without an error and without track.json", False),
    ],
)
def test_a_failure_says_why_and_stores_nothing(tmp_path, script, message, final):
    outcome = run_stage(STAGE, how(tmp_path, script))
    assert outcome.state == "failed" and message in outcome.message and outcome.final == final
    assert Storage(str(tmp_path / "storage")).finished() == set()
    assert list((tmp_path / "scratch" / "work").iterdir()) == []


def test_the_end_of_the_log_is_kept(tmp_path):
    outcome = run_stage(STAGE, how(tmp_path, "for i in $(seq 100); do echo line $i; done; exit 1"))
    assert outcome.record["log"][-1] == "line 100" and len(outcome.record["log"]) < 100


def test_an_input_is_named_as_the_user_knows_it(tmp_path):
    video = tmp_path / "anna.MP4"
    video.write_text("x")
    stage = Stage("process", "anna", {"video": InputFile(str(video), stream_digest(str(video)))})
    build = lambda stage, inputs, output: ["sh", "-c", f"echo 'Error: {inputs['video']}: bad'; exit 1"]  # noqa: E731
    outcome = run_stage(stage, Execution(Storage(str(tmp_path / "storage")), build, tmp_path / "scratch"))
    assert outcome.message == f"{video}: bad"


def test_an_input_that_changed_during_the_run_is_refused(tmp_path):
    video = tmp_path / "anna.mp4"
    video.write_text("x")
    stage = Stage("process", "anna", {"video": InputFile(str(video), "0" * 64)})
    assert "It was changed during the run" in run_stage(stage, how(tmp_path, WELL)).message


def test_time_is_limited(tmp_path):
    stage = Stage("process", "anna", resources=Resources(timeout_min=0.005))
    start = time.monotonic()
    assert run_stage(stage, how(tmp_path, "sleep 60")).message == "not ended after 0.005 minutes"
    assert time.monotonic() - start < 30


def test_what_a_command_leaves_running_is_ended(tmp_path):
    assert run_stage(STAGE, how(tmp_path, f"sleep 61 & echo $! > {tmp_path}/id; {WELL}")).state == "done"
    pid = int((tmp_path / "id").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


WORKER = """
import sys
from pathlib import Path
from nerfstudio_talking.batch import Stage, Storage
from nerfstudio_talking.batch.workers.execution import Execution, run_stage
build = lambda stage, inputs, output: ["sh", "-c", f"echo $$ > {sys.argv[1]}/id; exec sleep 62"]
run_stage(Stage("process", "anna"), Execution(Storage(sys.argv[1] + "/storage"), build, Path(sys.argv[1]) / "scratch"))
"""


def test_a_command_ends_with_its_worker(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    while not (tmp_path / "id").exists() or not (tmp_path / "id").read_text().strip():
        assert worker.poll() is None
        time.sleep(0.05)
    command = psutil.Process(int((tmp_path / "id").read_text()))
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    psutil.wait_procs([command], timeout=20)
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE


def test_threads_and_devices():
    stage = Stage("train", "anna/splat", resources=Resources(cpus=3.5))
    found = command_environment({"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1"}, stage)
    assert found["OMP_NUM_THREADS"] == found["NUMBA_NUM_THREADS"] == "3"
    assert found["CUDA_VISIBLE_DEVICES"] == "" and found["PATH"] == "/bin"
    gpu = Stage("train", "anna/splat", resources=Resources(cpus=0.5, gpus=0.25))
    found = command_environment({"CUDA_VISIBLE_DEVICES": "1"}, gpu)
    assert found["CUDA_VISIBLE_DEVICES"] == "1" and found["OMP_NUM_THREADS"] == "1"


def test_another_version_on_a_machine_is_refused(tmp_path):
    outcome = run_stage(STAGE, Execution(Storage(str(tmp_path)), shell(WELL), tmp_path, package_version="0.0.9"))
    assert outcome.final and "other versions of nerfstudio-talking" in outcome.message


def test_wrong_options_are_named():
    box = ["╭─ Unrecognized options ─╮", "│ Unrecognized options: --sise │", "│ ──── │", "│ Perhaps: │", "╰────╯"]
    assert failure_message(2, ["before", *box]) == "exit code 2: Unrecognized options: --sise"


def test_a_report_is_json_of_plain_values(tmp_path):
    json.dumps(run_stage(STAGE, how(tmp_path, WELL)).record)
