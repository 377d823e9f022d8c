"""Shared fixtures."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from helpers import shape_checker
from PIL import Image, ImageFilter

shape_checker.install()

# two torch processes on two cores starve each other while their threads spin
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# videos that tests write are not signed by the user's key
os.environ["NERFSTUDIO_TALKING_SIGNING"] = os.path.join(tempfile.gettempdir(), f"nerfstudio-talking-keys-{os.getuid()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that workers end together; skip the tests of the GPU where there is none."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        for item in gpu_tests:
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With pytest-xdist, tests that share a fixture of their file or folder go to one worker, so that no portrait is
    trained twice; all others are dealt out singly."""
    from xdist.scheduler import LoadScopeScheduling

    @functools.cache
    def shared(path: Path, scope: str) -> bool:
        return path.is_file() and f'@pytest.fixture(scope="{scope}")' in path.read_text(encoding="utf-8")

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = config.rootpath / nodeid.split("::")[0]
            if shared(file.parent / "conftest.py", "package"):
                return str(file.parent)
            return str(file) if shared(file, "module") else nodeid

    config.option.loadscopereorder = False  # as collected, not by the number of tests
    return Scheduling(config, log)


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


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Torchvision's AlexNet with random weights, convolutions only: its file, and its features."""
    import torch
    from torchvision.models import alexnet

    torch.manual_seed(0)
    features = alexnet(weights=None).features.eval()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return path, features
