"""What a batch consists of: stages, the files they read, the resources they need, the addresses of their outputs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["process", "train", "bake", "drive", "score"]
KINDS: tuple[Kind, ...] = ("process", "train", "bake", "drive", "score")
"""In the order of their dependencies."""

ADDRESS_FORMAT = 1
"""Part of every address: a change of what outputs hold makes new ones."""


@dataclass(frozen=True)
class Resources:
    """What one run of a stage occupies on a machine while it lasts."""

    cpus: float = 1
    """Number of CPU cores; the command gets as many threads, at least one."""
    gpus: float = 0
    """Number of GPUs, or a fraction of one; 0 runs the command on the CPU."""
    memory_gb: float = 2
    """Gigabytes of memory that are reserved."""
    timeout_min: float | None = None
    """Minutes after which a run counts as failed; no limit where not given."""

    @property
    def threads(self) -> int:
        """Number of threads of the command."""
        return max(1, math.floor(self.cpus))


DEFAULT_RESOURCES: Mapping[Kind, Resources] = {
    "process": Resources(memory_gb=3),
    "train": Resources(memory_gb=4),
    "bake": Resources(memory_gb=4),
    "drive": Resources(memory_gb=3),
    "score": Resources(memory_gb=3),
}


@dataclass(frozen=True)
class InputFile:
    """A file that a stage reads and that no stage makes."""

    url: str
    """A path of this machine, or a URL that fsspec reads."""
    digest: str
    """SHA-256 of its bytes."""

    @property
    def suffix(self) -> str:
        """`.mp4` of `s3://raw/anna.MP4`; commands tell some formats by it."""
        return PurePosixPath(self.url).suffix.lower()


Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class FileOption:
    """An option's value that is a file: the command gets the path of its copy."""

    role: str
    """Its key in `Stage.files`."""


OptionValue = Scalar | FileOption | tuple[Scalar | FileOption, ...]


@dataclass(frozen=True)
class Stage:
    """One run of one command.

    Two stages of the same kind, method, options and inputs are the same stage, whatever they are called.
    """

    kind: Kind
    """Which command."""
    name: str
    """`anna` (process), `anna/splat` (train, bake), `anna/splat/hello` (drive, score)."""
    files: Mapping[str, InputFile] = field(default_factory=dict)
    """Files that it reads, by role."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Addresses of the stages whose outputs it reads, by role."""
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    """Options of the command, without the dashes in front."""
    method: str = ""
    """The method that is trained."""
    resources: Resources = Resources()
    """What it occupies; no part of the address."""
    package_version: str = ""
    """Version of this package, part of the address: another version may compute something else."""
    address: str = field(init=False)
    """SHA-256 of all that determines the output: where it is found in the storage."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _address(self))

    @property
    def label(self) -> str:
        """For messages: `train anna/splat`."""
        return f"{self.kind} {self.name}"


def _address(stage: Stage) -> str:
    recipe = {
        "format": ADDRESS_FORMAT,
        "package": stage.package_version,
        "kind": stage.kind,
        "method": stage.method,
        "options": {name: _canonical(value) for name, value in stage.options.items()},
        "files": {role: [file.digest, file.suffix] for role, file in stage.files.items()},
        "needs": dict(stage.needs),
    }
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _canonical(value: OptionValue) -> object:
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    return {"file": value.role} if isinstance(value, FileOption) else value
