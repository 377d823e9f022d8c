"""Runs that are broken off and started again: same length, same losses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from helpers.refiners import config_path, on_cpu

from nerfstudio_talking.engine.trainer import TalkingTrainer, folder_of_checkpoints
from nerfstudio_talking.io.errors import TalkingError

STEPS, SAVED, KILLED = 9, 4, 6


def small(method: str, data: Path, folder: Path, steps: int = STEPS) -> Any:
    from nerfstudio.configs.method_configs import all_methods

    config = on_cpu(all_methods[method], data, folder, steps)
    config.steps_per_save, config.steps_per_eval_batch, config.steps_per_eval_image = SAVED, 3, 5
    manager, model = config.pipeline.datamanager, config.pipeline.model
    for name, value in {"train_num_rays_per_batch": 128, "lips_patch_size": 8}.items():
        if hasattr(manager, name):
            setattr(manager, name, value)
    for name, value in {
        "num_samples": 8, "num_levels": 4, "log2_table_size": 10, "max_resolution": 64, "occupancy_resolution": 12,
        "max_gaussians": 400, "relocation_interval": 3,
    }.items():  # fmt: skip
        if hasattr(model, name):
            setattr(model, name, value)
    return config


def run(config: Any, killed_at: int | None = None) -> dict[int, float]:
    """Train as ns-train does; the loss of every step."""
    from nerfstudio.scripts.train import _set_random_seed
    from nerfstudio.utils import writer

    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    config = copy.deepcopy(config)
    config.save_config()
    _set_random_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    losses: dict[int, float] = {}
    step_of = TalkingTrainer.train_iteration

    def noted(self: TalkingTrainer, step: int) -> Any:
        if step == killed_at:
            raise KeyboardInterrupt
        result = step_of(self, step)
        losses[step] = result[0].item()
        return result

    with mock.patch.object(TalkingTrainer, "train_iteration", noted):
        if killed_at is None:
            trainer.train()
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
    return losses


def names(config: Any) -> list[str]:
    return sorted(path.name for path in (config_path(config).parent / "nerfstudio_models").iterdir())


METHODS = ["talking-portrait-small", "ssp-nerf-small", "er-nerf-small", "splat-portrait-small"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_broken_off_ends_as_one_that_was_not(talking_dataset, tmp_path, method):
    whole, broken = (small(method, talking_dataset, tmp_path / name) for name in ("whole", "broken"))
    expected = run(whole)
    run(broken, killed_at=KILLED)
    assert names(broken) == [f"step-{SAVED:09d}.ckpt"]
    found = run(broken)  # the same command
    assert list(found) == list(range(SAVED + 1, STEPS))
    assert found == {step: expected[step] for step in found}
    assert names(broken) == names(whole) == [f"step-{STEPS - 1:09d}.ckpt"]
    states = [
        torch.load(config_path(config).parent / "nerfstudio_models" / names(config)[0], weights_only=True)["pipeline"]
        for config in (whole, broken)
    ]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0, equal_nan=True, msg=name)
    assert run(broken) == {}  # it is complete


def test_a_longer_run_goes_on_to_its_own_length(talking_dataset, tmp_path):
    first = small("talking-portrait-small", talking_dataset, tmp_path / "a", 3)
    run(first)
    longer = small("talking-portrait-small", talking_dataset, tmp_path / "b", 5)
    longer.load_dir = config_path(first).parent  # the run's folder serves too
    assert list(run(longer)) == [3, 4]
    assert names(longer) == ["step-000000004.ckpt"]
    longer.max_num_iterations, longer.output_dir = 3, tmp_path / "c"
    assert run(longer) == {}  # it has them already


def test_other_options_train_anew(talking_dataset, tmp_path):
    config = small("talking-portrait-small", talking_dataset, tmp_path, 2)
    run(config)
    config.pipeline.model.mouth_shape_loss_mult = 0.2
    assert list(run(config)) == [0, 1]


def test_folders_without_checkpoints_are_named(tmp_path):
    with pytest.raises(TalkingError, match="no such folder"):
        folder_of_checkpoints(tmp_path / "gone")
    with pytest.raises(TalkingError, match=r"no step-000000007\.ckpt"):
        folder_of_checkpoints(tmp_path, 7)
    (tmp_path / "nerfstudio_models").mkdir()
    (tmp_path / "nerfstudio_models" / "step-000000007.ckpt").touch()
    assert folder_of_checkpoints(tmp_path) == folder_of_checkpoints(tmp_path / "nerfstudio_models", 7)
