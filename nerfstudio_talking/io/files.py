"""Files that are whole or not there: they grow under another name and get their own once they are on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def part_of(path: Path) -> Path:
    """Where a file grows before it is whole."""
    return path.with_name(path.name + ".part")


def publish(part: Path, path: Path) -> None:
    """Give a whole file its name, once it is on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, published when the block ends well: a reader finds the old one or the new, never a part."""
    with part_of(path).open("wb") as file:
        yield file
    publish(part_of(path), path)


def write_json(record: dict[str, Any], path: Path) -> None:
    """Write JSON atomically: a reader finds the old file or the new one, never a part."""
    with new_file(path) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8"))


def save_atomically(record: dict[str, Any], path: Path) -> None:
    """Write with torch.save: a reader finds the old file or the new one, never a part."""
    import torch

    with new_file(path) as file:
        torch.save(record, file)
