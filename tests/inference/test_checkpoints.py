"""Reading a training run."""

from __future__ import annotations

import pytest
from helpers.refiners import config_path, portrait_config

from nerfstudio_talking.inference.checkpoints import latest_checkpoint
from nerfstudio_talking.io.errors import TalkingError


def test_the_latest_checkpoint_is_found(talking_dataset, tmp_path):
    config = portrait_config(talking_dataset, tmp_path)
    config.save_config()
    with pytest.raises(TalkingError, match="step-"):
        latest_checkpoint(config_path(config))
    config.get_checkpoint_dir().mkdir(parents=True)
    for step in (5, 1000, 20):
        (config.get_checkpoint_dir() / f"step-{step:09d}.ckpt").touch()
    assert latest_checkpoint(config_path(config)).name == "step-000001000.ckpt"


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(TalkingError, match="no such file"):
        latest_checkpoint(tmp_path / "config.yml")
