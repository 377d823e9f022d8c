"""Atomic files: written under another name and renamed once they are on the disk, so that no reader finds a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from nerfstudio_talking.io.errors import TalkingError


def part_of(path: Path) -> Path:
    """Path under which a file is written before it is renamed."""
    return path.with_name(path.name + ".part")


def publish(part: Path, path: Path) -> None:
    """Flush a written file to the disk and rename it."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def writing(path: Path, part: Path | None = None) -> Iterator[None]:
    """Report errors of the file system as of a file that cannot be written.

    Args:
        path: the file or folder, for the message.
        part: removed on any exception, where given.

    Raises:
        TalkingError: the block raised an OSError.
    """
    try:
        yield
    except BaseException as error:
        if part is not None:
            discard(part)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: Exception) -> TalkingError:
    """What to raise where a file or folder cannot be written."""
    blocked = isinstance(error, FileExistsError | NotADirectoryError)
    return TalkingError(
        path,
        expected="a place to write to",
        found="a file where a folder belongs" if blocked else getattr(error, "strerror", None) or str(error),
        hint="Free some space, or name another folder that exists and can be written.",
    )


def discard(part: Path) -> None:
    """Remove an unfinished file, if that is possible."""
    with suppress(OSError):  # a read-only file system refuses this too; the first error is reported
        part.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, renamed to `path` if the block ends without an exception.

    Raises:
        TalkingError: it cannot be written; nothing is left.
    """
    part = part_of(path)
    with writing(path, part):
        with part.open("wb") as file:
            yield file
        publish(part, path)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        TalkingError: it cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def require_writable(path: Path) -> None:
    """Refuse a place that cannot be written to before the work, not after it. Makes the folders above it.

    Raises:
        TalkingError: a file of this name cannot be written.
    """
    make_folder(path.absolute().parent)
    part = part_of(path)
    with writing(path, part):
        if path.is_dir():
            raise IsADirectoryError(None, "a folder of this name")
        part.open("wb").close()
        part.unlink()


def write_json(record: dict[str, Any], path: Path) -> None:
    """Write JSON atomically.

    Raises:
        TalkingError: it cannot be written.
    """
    with new_file(path) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8"))


def save_atomically(record: dict[str, Any], path: Path) -> None:
    """Write with torch.save, atomically.

    Raises:
        TalkingError: it cannot be written.
    """
    import torch

    try:
        with new_file(path) as file:
            torch.save(record, file)
    except RuntimeError as error:  # torch's writer counts bytes only, and reports a full disk as wrong counts
        if "unexpected pos" not in str(error) and "PytorchStreamWriter" not in str(error):
            raise
        raise cannot_write(path, OSError(0, "less room than the file needs")) from error
