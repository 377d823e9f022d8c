"""Shared fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
# two torch processes on two cores starve each other while their threads spin
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def talking_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny dataset folder of our own layout."""
    from builders import write_talking_dataset

    folder = tmp_path_factory.mktemp("talking data")
    write_talking_dataset(folder)
    return folder
