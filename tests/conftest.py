"""Shared fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from helpers import shape_checker
from PIL import Image, ImageFilter

shape_checker.install()

# two torch processes on two cores starve each other while their threads spin
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """For a test that hands over wrong shapes on purpose, to see what the function itself says of them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def talking_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny dataset folder of our own layout."""
    from helpers.builders import write_talking_dataset

    folder = tmp_path_factory.mktemp("talking data")
    write_talking_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def blurred(talking_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset's frames as a poor renderer would show them."""
    folder = tmp_path_factory.mktemp("rendered")
    for path in (talking_dataset / "images").iterdir():
        with Image.open(path) as image:
            image.filter(ImageFilter.GaussianBlur(1.5)).save(folder / f"{path.stem}.png")
    return folder
