"""Where tests find files: the committed sample, and real clips that do not belong to the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "sample"
SHARED = ROOT.parent / "shared"


def shared_file(name: str) -> Path:
    """A file of the collection of real clips, voices and models; the test is skipped where it is missing."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {name} of the collection of real clips, which is not part of the repository")
    return path
