"""Resumable stages: each writes its result atomically and then marks itself as done.

A stage's key is a digest of its name, its settings and the keys of the stages it depends on. A mark with the same key
means that running the stage again would give the result that is on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nerfstudio_talking.dataset_io.track import (
    AUDIO_NAME,
    BACKGROUND_NAME,
    IMAGE_DIR,
    PARSING_DIR,
    TORSO_DIR,
    TRACK_JSON,
    TRACK_NPZ,
)
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import publish, write_json

WORK_DIR = ".work"
_DATASET_FILES = (IMAGE_DIR, PARSING_DIR, TORSO_DIR, BACKGROUND_NAME, AUDIO_NAME, TRACK_NPZ)


class Workspace:
    """The output folder while the dataset is being made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / WORK_DIR

    def open(self) -> None:
        """Make the folders; refuse a folder that holds files of the same names from elsewhere.

        Raises:
            TalkingError: the folder cannot be written, or holds files from elsewhere.
        """
        try:
            foreign = [name for name in _DATASET_FILES if (self.folder / name).exists()]
            if foreign and not self.work.is_dir() and not (self.folder / TRACK_JSON).is_file():
                raise TalkingError(
                    self.folder,
                    expected="an empty folder or an unfinished dataset",
                    found=f"{', '.join(foreign)} from elsewhere",
                    hint="Choose another --output.",
                )
            self.work.mkdir(parents=True, exist_ok=True)
            probe = self.work / "probe.part"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise TalkingError(
                self.folder,
                expected="a folder that can be written",
                found=error.strerror or str(error),
                hint="Choose another --output.",
            ) from error

    def invalidate(self) -> None:
        """Delete track.json, without which the folder is not a dataset, before anything in it changes."""
        (self.folder / TRACK_JSON).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.work)

    def is_done(self, stage: str, key: str) -> bool:
        """Whether a stage's result of this key is on disk."""
        try:
            return json.loads((self.work / f"{stage}.json").read_text(encoding="utf-8"))["key"] == key
        except (OSError, ValueError, KeyError):
            return False

    def mark(self, stage: str, key: str, **record: Any) -> None:
        """Mark a stage as done; `record` is stored with the mark."""
        write_json({"key": key, **record}, self.work / f"{stage}.json")

    def record(self, stage: str) -> dict[str, Any]:
        """What was stored with a stage's mark."""
        return json.loads((self.work / f"{stage}.json").read_text(encoding="utf-8"))

    @contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        """A folder of the dataset, filled in the scratch folder and moved if the block ends without an exception."""
        aside, final = self.work / f"{name}.part", self.folder / name
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        yield aside
        if final.exists():
            shutil.rmtree(final)
        os.replace(aside, final)

    @contextmanager
    def new_file(self, path: Path) -> Iterator[Path]:
        """A file written in the scratch folder and moved if the block ends without an exception; its suffix stays."""
        aside = self.work / f"part-{path.name}"
        yield aside
        publish(aside, path)

    def save_arrays(self, stage: str, **arrays: Any) -> None:
        """Save a stage's arrays in the scratch folder."""
        with self.new_file(self.work / f"{stage}.npz") as aside, aside.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]

    def load_arrays(self, stage: str) -> dict[str, np.ndarray]:
        """The arrays that `save_arrays` saved."""
        with np.load(self.work / f"{stage}.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def stage_key(stage: str, *parents: str, **settings: Any) -> str:
    """Digest of a stage's name, the keys of the stages it depends on and its settings."""
    text = json.dumps([stage, parents, settings], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
