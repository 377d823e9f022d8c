"""Scratch folders and the cache of a machine, with processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nerfstudio_talking.batch.workers.scratch import Workspace
from nerfstudio_talking.io.errors import TalkingError

HOLD = """
import sys, time
from pathlib import Path
from nerfstudio_talking.batch.workers.scratch import Workspace
with Workspace(Path(sys.argv[1])).folder() as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_is_gone_after_its_block(tmp_path):
    with Workspace(tmp_path).folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists() and list((tmp_path / "work").iterdir()) == []


def test_what_a_dead_worker_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    theirs = Path(worker.stdout.readline().strip())
    with Workspace(tmp_path).folder():
        assert (theirs / "file").is_file()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    with Workspace(tmp_path).folder() as ours:
        assert not theirs.exists() and ours.is_dir()
    worker.stdout.close()


def fill(size: int):
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * size)

    return write


def test_the_cache_is_filled_once(tmp_path):
    workspace, filled = Workspace(tmp_path), []

    def read() -> None:
        with workspace.cached("a", lambda folder: (filled.append(1), fill(10)(folder))) as folder:
            assert (folder / "file").stat().st_size == 10

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1


def test_what_was_read_longest_ago_makes_room(tmp_path):
    workspace = Workspace(tmp_path, cache_gb=250e-9)
    for number, name in enumerate("ab"):
        with workspace.cached(name, fill(100)) as folder:
            os.utime(folder, (number, number))
    with workspace.cached("c", fill(100)):
        assert sorted(path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()) == ["b", "c"]


def test_what_is_read_stays(tmp_path):
    workspace = Workspace(tmp_path, cache_gb=150e-9)
    with workspace.cached("a", fill(100)) as a, workspace.cached("b", fill(100)) as b:
        assert (a / "file").is_file() and (b / "file").is_file()


def test_a_broken_off_filling_is_not_mistaken_for_a_whole_one(tmp_path):
    workspace = Workspace(tmp_path)

    def half(folder: Path) -> None:
        fill(10)(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), workspace.cached("a", half):
        pass
    with workspace.cached("a", fill(20)) as folder:
        assert (folder / "file").stat().st_size == 20


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(TalkingError, match="a folder of this user"):
        Workspace(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TalkingError, match="a scratch folder"):
        Workspace(tmp_path / "file")
