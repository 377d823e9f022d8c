"""Where tests find files: the committed sample, and real clips that do not belong to the repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "sample"
_CLIPS_VARIABLE = "NERFSTUDIO_TALKING_CLIPS"
_COLLECTION = Path(os.environ.get(_CLIPS_VARIABLE, ROOT.parent / "shared"))


def shared_file(name: str) -> Path:
    """A file of the collection of real clips, face models and formats, which is not part of the repository.

    A test that calls this is decorated with `needs_clips` of the same name, and so skipped where the file is missing.
    """
    return _COLLECTION / name


def needs_clips(*names: str) -> Callable[[Any], Any]:
    """Decorator of a test that reads real files: gives it the marker `needs_clips` and skips it where one is missing.

    The collection is the folder that the environment variable NERFSTUDIO_TALKING_CLIPS names, else `shared` beside
    the repository.
    """
    missing = [name for name in names if not shared_file(name).is_file()]
    reason = f"no {', '.join(missing)} in {_COLLECTION}: {_CLIPS_VARIABLE} names the folder of real clips"

    def decorate(test: Any) -> Any:
        return pytest.mark.needs_clips(pytest.mark.skipif(bool(missing), reason=reason)(test))

    return decorate
