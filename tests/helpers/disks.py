"""Disks that take no more, and folders that cannot be written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def full_after(num_bytes: int) -> Iterator[None]:
    """No file of this process grows over a size: writing more raises as on a full disk (EFBIG for ENOSPC)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def locked_folder(folder: Path) -> Path:
    """A folder that nobody can write to, nor make; that a mode forbids it does not bind the superuser."""
    folder.mkdir(exist_ok=True)
    (folder / "a file").write_bytes(b"")
    return folder / "a file" / "below"
