"""Training by several processes: nerfstudio's trainer and its DistributedDataParallel, two processes over gloo.

nerfstudio's launcher wants a GPU for each process; the loop that it launches does not, but for the device that it names
to DistributedDataParallel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from helpers.distributed import METHODS, STEPS, train

INDICATOR = "device_indicator_param"
"""nerfstudio's, by which a model knows its device."""


@pytest.fixture(scope="module")
def trained(talking_dataset, blurred, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two processes")
    mp.spawn(train, args=(talking_dataset, blurred, folder), nprocs=2)  # type: ignore[attr-defined]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_one_model(trained, method):
    first, second = (torch.load(trained / f"{method} {rank}.pt", weights_only=True) for rank in range(2))
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert first["moved"] == second["moved"]
    for part in METHODS[method]:
        assert any(name.startswith(part) for name in first["moved"]), part


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_process_reaches_every_parameter(trained, method):
    """Those under the eyes excepted, which are wide open throughout this clip, so that their condition is zero, and the
    network that the refiner's memory is searched with, which is never trained."""
    for rank in range(2):
        left = torch.load(trained / f"{method} {rank}.pt", weights_only=True)
        missing = left["weights"].keys() - set(left["reached"])
        assert {name for name in missing if ".eyes." not in name and ".key_encoder." not in name} == {INDICATOR}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_process_has_its_own_share(trained, method):
    seen = [torch.load(trained / f"{method} {rank}.pt", weights_only=True)["seen"] for rank in range(2)]
    assert len(seen[0]) == len(seen[1]) == STEPS
    assert not np.isclose(seen[0], seen[1]).any()


@pytest.mark.slow
def test_one_process_reads_what_two_have_saved(trained, talking_dataset):
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(trained / "x" / "talking-portrait-small" / "t" / "config.yml")
    saved = torch.load(trained / "talking-portrait-small 0.pt", weights_only=True)["weights"]
    for name, value in pipeline.model.named_parameters():
        assert torch.equal(value.cpu(), saved[name]), name


@pytest.mark.slow
def test_drive_reads_a_refiner_of_two(trained):
    from nerfstudio_talking.inference.refiner import load_refiner

    refiner = load_refiner(trained / "x" / "memory-gan-small" / "t" / "config.yml", None, "").refiner
    saved = torch.load(trained / "memory-gan-small 0.pt", weights_only=True)["weights"]
    for name, value in refiner.named_parameters():
        assert torch.equal(value, saved[f"refiner.{name}"]), name
