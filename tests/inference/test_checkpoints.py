"""Reading a training run."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from helpers.ad_nerf_folders import write_ad_nerf_dataset
from helpers.builders import write_talking_dataset
from helpers.refiners import config_path, portrait_config, run

from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.dataset_io.sequence import load_sequence
from nerfstudio_talking.inference.checkpoints import (
    latest_checkpoint,
    load_portrait,
    located_config,
    read_run,
    write_baked_config,
)
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


def registered_methods():
    from importlib.metadata import entry_points

    return sorted(entry.name for entry in entry_points(group="nerfstudio.method_configs"))


@pytest.mark.parametrize("method", registered_methods())
def test_every_registered_method_is_read_as_it_was_written(method, tmp_path):
    """By the loader that builds registered classes only, with the dataset options of both layouts."""
    from nerfstudio.configs.dataparser_configs import all_dataparsers
    from nerfstudio.configs.method_configs import all_methods

    path = tmp_path / "config.yml"
    for parser in ("talking-portrait-data", "ad-nerf-data"):
        config = copy.deepcopy(all_methods[method])
        config.data = config.pipeline.datamanager.data = tmp_path / "ein Ordner"
        config.pipeline.datamanager.dataparser = copy.deepcopy(all_dataparsers[parser])
        if "memory-gan" not in method:
            config.pipeline.baked = tmp_path / "baked.pt"
        config.timestamp, config.load_step = "t", 3
        path.write_text(yaml.dump(config), encoding="utf-8")
        found = read_run(path)
        assert found == config and yaml.dump(found) == yaml.dump(config)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("data: null", "data: !!python/object/apply:os.system ['touch ran']", "os.system"),
        ("!!python/name:torch.optim.adam.Adam ''", "!!python/name:subprocess.Popen ''", "subprocess.Popen"),
        ("method_name: splat-portrait", "method_name: none-such", "none-such"),
        ("method_name: splat-portrait", "method_name: ssp-nerf", "FullImageDataManagerConfig in a run of ssp-nerf"),
        ("video_scores: true", "video_scores: 3", "video_scores = 3"),
    ],
)
def test_a_changed_configuration_is_refused_by_what_was_changed(tmp_path, monkeypatch, old, new, found):
    from nerfstudio.configs.method_configs import all_methods

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yml"
    text = yaml.dump(all_methods["splat-portrait"])
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(TalkingError, match=re.escape(found)):
        load_portrait(path)
    assert not (tmp_path / "ran").exists()


def test_a_method_of_nerfstudios_own_is_named(tmp_path):
    from nerfstudio.configs.method_configs import all_methods

    (tmp_path / "config.yml").write_text(yaml.dump(all_methods["nerfacto"]), encoding="utf-8")
    with pytest.raises(TalkingError, match="found method nerfacto"):
        load_portrait(tmp_path / "config.yml")


def test_nerfstudio_reads_what_was_built_and_not_the_file(talking_dataset, tmp_path, monkeypatch):
    """What the file has besides (here a field that no class has) does not reach a loader that would run it."""
    config = portrait_config(talking_dataset, tmp_path)
    config.save_config()
    path = config_path(config)
    path.write_text(path.read_text(encoding="utf-8") + "unheard_of: 1\n", encoding="utf-8")
    with located_config(path) as located:
        assert located != path and "unheard_of" not in located.read_text(encoding="utf-8")


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
    baked, own_run = read_run(written), read_run(config_path(config))
    assert baked.get_checkpoint_dir() == own_run.get_checkpoint_dir()
    assert baked.pipeline.baked == config_path(config).with_name("baked.pt")
    assert baked != own_run
    baked.pipeline.baked = None
    assert baked == own_run


@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_bakes_path_is_absolute_where_the_outputs_are(talking_dataset, tmp_path, monkeypatch, is_absolute):
    monkeypatch.chdir(tmp_path)
    config = portrait_config(talking_dataset, tmp_path / "outputs" if is_absolute else Path("outputs"))
    config.save_config()
    load_config = Path("outputs/x/talking-portrait-small/t/config.yml")
    assert load_config.is_file()
    baked = read_run(write_baked_config(load_config, load_config.with_name("baked.pt"))).pipeline.baked
    assert baked == (tmp_path if is_absolute else Path()) / load_config.with_name("baked.pt")


@pytest.mark.slow
def test_a_run_and_its_data_may_move(talking_dataset, tmp_path):
    """The copy of a run loads its own checkpoint, and finds its dataset in the folder that `--data` names."""
    data = shutil.copytree(talking_dataset, tmp_path / "data")
    config = portrait_config(data, tmp_path / "first")
    run(config)
    copied = shutil.copytree(config_path(config).parent, tmp_path / "copy") / "config.yml"
    checkpoint = latest_checkpoint(copied)
    assert checkpoint.parent == copied.parent / "nerfstudio_models"
    state = torch.load(checkpoint, weights_only=True)
    name = next(name for name in state["pipeline"] if name.endswith("field.grid.table") or "table" in name)
    state["pipeline"][name] += 1.0
    torch.save(state, checkpoint)
    data.rename(tmp_path / "moved")
    with pytest.raises(TalkingError, match="--data DIR"):
        load_portrait(copied)
    _, model = load_portrait(copied, tmp_path / "moved")
    assert torch.equal(model.state_dict()[name.removeprefix("_model.")], state["pipeline"][name])
    with located_config(copied, tmp_path / "moved") as located:
        assert read_run(located).get_checkpoint_dir() == checkpoint.parent
    whole = dict(state["pipeline"])
    del state["pipeline"][name]
    torch.save(state, checkpoint)
    with pytest.raises(TalkingError, match="expected all weights"):
        load_portrait(copied, tmp_path / "moved")
    torch.save({"pipeline": {}}, checkpoint)
    with pytest.raises(TalkingError, match="step-"):
        load_portrait(copied, tmp_path / "moved")
    checkpoint.write_bytes(b"PK damaged")
    with pytest.raises(TalkingError, match="step-"):
        load_portrait(copied, tmp_path / "moved")
    write_talking_dataset(tmp_path / "other", seed=1)
    torch.save(state | {"pipeline": whole}, checkpoint)
    with pytest.raises(TalkingError, match="trained on clip"):
        load_portrait(copied, tmp_path / "other")


def test_the_family_of_a_dataset_is_named(talking_dataset, tmp_path):
    write_ad_nerf_dataset(tmp_path / "d")
    with pytest.raises(TalkingError, match="Add ad-nerf-data"):
        load_sequence(tmp_path / "d")
    with pytest.raises(TalkingError, match="Leave ad-nerf-data out"):
        load_ad_nerf_sequence(talking_dataset)
