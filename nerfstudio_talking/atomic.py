"""Files that are whole or not there: they grow under another name and get their own once they are on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
