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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of the GPU where there is none; send tests that share a fixture of their module to one worker of
    pytest-xdist (`--dist loadgroup`), so that no portrait is trained twice."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
        for item in gpu_tests:
            item.add_marker(no_gpu)
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if isinstance(item, pytest.Function) and shares_module_fixture(item):
                item.add_marker(pytest.mark.xdist_group(item.path.stem))


def shares_module_fixture(item: pytest.Function) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()
    return any(definition[-1].scope == "module" for definition in definitions)


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
