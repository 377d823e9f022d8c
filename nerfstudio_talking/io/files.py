"""Atomic files: written under another name and renamed once they are on the disk, so that no reader finds a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def part_of(path: Path) -> Path:
    """Path under which a file is written before it is renamed."""
    return path.with_name(path.name + ".part")


def publish(part: Path, path: Path) -> None:
    """Flush a written file to the disk and rename it."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, renamed to `path` if the block ends without an exception."""
    with part_of(path).open("wb") as file:
        yield file
    publish(part_of(path), path)


def write_json(record: dict[str, Any], path: Path) -> None:
    """Write JSON atomically."""
    with new_file(path) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8"))


def save_atomically(record: dict[str, Any], path: Path) -> None:
    """Write with torch.save, atomically."""
    import torch

    with new_file(path) as file:
        torch.save(record, file)
