"""Reading a training run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.refiners import config_path, portrait_config

from nerfstudio_talking.inference.checkpoints import latest_checkpoint, read_run, write_baked_config
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


def test_the_baked_configuration_differs_in_the_bake_alone(talking_dataset, tmp_path):
    config = portrait_config(talking_dataset, tmp_path)
    config.save_config()
    own = config_path(config).read_bytes()
    written = write_baked_config(config_path(config), config_path(config).with_name("baked.pt"))
    assert sorted(path.name for path in written.parent.iterdir()) == ["config.yml", "config_baked.yml"]
    assert config_path(config).read_bytes() == own
    baked, run = read_run(written), read_run(config_path(config))
    assert baked.get_checkpoint_dir() == run.get_checkpoint_dir()
    assert baked.pipeline.baked == config_path(config).with_name("baked.pt")
    assert baked != run
    baked.pipeline.baked = None
    assert baked == run


@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_bakes_path_is_absolute_where_the_outputs_are(talking_dataset, tmp_path, monkeypatch, is_absolute):
    monkeypatch.chdir(tmp_path)
    config = portrait_config(talking_dataset, tmp_path / "outputs" if is_absolute else Path("outputs"))
    config.save_config()
    load_config = Path("outputs/x/talking-portrait-small/t/config.yml")
    assert load_config.is_file()
    baked = read_run(write_baked_config(load_config, load_config.with_name("baked.pt"))).pipeline.baked
    assert baked == (tmp_path if is_absolute else Path()) / load_config.with_name("baked.pt")
