"""Folders of a machine that stages work in, and its cache of outputs that many stages read.

Owners hold a lock on a file beside their folder for as long as they live. A folder whose lock is free belongs to a
process that died, and whoever comes next removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nerfstudio_talking.io.errors import TalkingError


class Workspace:
    """The scratch space of a machine, shared by its workers.

    Args:
        root: its folder; None takes one of this user's in the system's temporary folder.
        cache_gb: gigabytes of outputs that are kept for other stages.
    """

    def __init__(self, root: Path | None = None, cache_gb: float = 20.0) -> None:
        self.root = root or Path(tempfile.gettempdir()) / f"ns-talking-batch-{os.getuid()}"
        self.cache_bytes = cache_gb * 1e9
        try:
            for folder in (self._work, self._cache):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            hint = "Name another folder with --scratch."
            raise TalkingError(self.root, expected="a scratch folder", found=str(error), hint=hint) from error
        owner = self.root.stat().st_uid
        if owner != os.getuid():  # who can write portraits here can run code as this user
            hint = "Name another folder with --scratch."
            raise TalkingError(self.root, expected="a folder of this user", found=f"one of user {owner}", hint=hint)

    @property
    def _work(self) -> Path:
        return self.root / "work"

    @property
    def _cache(self) -> Path:
        return self.root / "cache"

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder, which is gone after the block. Folders that dead workers left are removed first."""
        self._remove_leftovers()
        path = self._work / uuid.uuid4().hex[:12]
        with _locked(_lock_of(path), fcntl.LOCK_EX):  # before the folder exists: nobody takes it for a leftover
            path.mkdir()
            try:
                yield path
            finally:
                shutil.rmtree(path)
                _lock_of(path).unlink()

    def _remove_leftovers(self) -> None:
        for path in self._work.iterdir():
            if path.is_dir():
                with _try_lock(_lock_of(path)) as mine:
                    if mine:
                        shutil.rmtree(path, ignore_errors=True)
                        _lock_of(path).unlink(missing_ok=True)

    @contextmanager
    def cached(self, key: str, fill: Callable[[Path], object]) -> Iterator[Path]:
        """A folder that stages on this machine read; it stays while the block lasts.

        Args:
            key: its name.
            fill: puts the files into the folder that it is given, where they are not there yet.
        """
        path = self._cache / key
        while True:
            with _locked(_lock_of(path), fcntl.LOCK_SH) as file:
                if path.is_dir() and _same_file(file, _lock_of(path)):
                    os.utime(path)
                    yield path
                    return
            with _locked(_lock_of(path), fcntl.LOCK_EX) as file:
                if not path.is_dir() and _same_file(file, _lock_of(path)):
                    part = self._cache / f"{key}.part"
                    shutil.rmtree(part, ignore_errors=True)
                    fill(part)
                    self._make_room(_size(part))
                    os.replace(part, path)

    def _make_room(self, size: float) -> None:
        """Remove the folders that were read longest ago and that nobody reads, until there is room."""
        folders = [path for path in self._cache.iterdir() if path.is_dir() and path.suffix != ".part"]
        sizes = {path: _size(path) for path in folders}
        total = size + sum(sizes.values())
        for path in sorted(folders, key=lambda path: path.stat().st_mtime if path.exists() else 0):
            if total <= self.cache_bytes:
                return
            with _try_lock(_lock_of(path)) as mine:
                if mine:
                    shutil.rmtree(path, ignore_errors=True)
                    _lock_of(path).unlink(missing_ok=True)
                    total -= sizes[path]


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _same_file(file: IO[bytes], path: Path) -> bool:
    """Whether the locked file is still the one of that name; its last owner may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path, mode: int) -> Iterator[IO[bytes]]:
    with path.open("ab") as file:
        fcntl.flock(file, mode)
        yield file


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Whether the lock is free; it is held during the block then."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # removed by another worker meanwhile
            continue
    return total
