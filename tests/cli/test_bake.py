"""`ns-talking bake`: finer settings by itself, one line per try, a refusal with all results."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.portraits import train_in_process

from nerfstudio_talking.baking.config import LADDER, BakeConfig, finer_settings
from nerfstudio_talking.baking.file_format import load_bake
from nerfstudio_talking.baking.validation import BakeValidation
from nerfstudio_talking.cli.bake import BakePortrait
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.io.errors import TalkingError

COARSE = BakeConfig(cell=8.0, views=12, rays_per_view=2048, conditions=24)


def _write_baked_config(load_config: Path, bake: Path) -> Path:
    assert bake.is_file()
    path = load_config.with_name("config_baked.yml")
    path.touch()
    return path


@pytest.fixture(scope="module")
def pipeline(talking_dataset):
    return train_in_process(talking_dataset, 30)


@pytest.fixture
def losses(pipeline, monkeypatch) -> list[float]:
    """What the tries to come lose, dB."""
    # the module that reads runs imports all of nerfstudio's methods
    loader = SimpleNamespace(
        BAKED_CONFIG_NAME="config_baked.yml",
        load_portrait=lambda *_: (pipeline, pipeline.model),
        write_baked_config=_write_baked_config,
    )
    monkeypatch.setitem(sys.modules, "nerfstudio_talking.inference.checkpoints", loader)
    lost: list[float] = []
    monkeypatch.setattr(
        "nerfstudio_talking.baking.validation.validate_bake",
        lambda *_: BakeValidation(30.0, 30.0 - lost.pop(0), 40.0, 25.0, 25.0),
    )
    return lost


def test_every_setting_is_finer_than_the_one_before():
    tries = list(finer_settings(BakeConfig(cell=2.0, conditions=50)))
    assert (tries[0].cell, tries[0].conditions) == (2.0, 50)
    assert [(one.cell, one.conditions) for one in tries] == [(2.0 * cell, 50 * n) for cell, n in LADDER]
    for before, after in pairwise(tries):
        assert after.cell <= before.cell and after.conditions >= before.conditions
        assert after != before
        assert replace(after, cell=before.cell, conditions=before.conditions) == before


def test_the_first_bake_within_the_bound_is_written(pipeline, losses, tmp_path, capsys):
    losses += [0.5, 0.3, 0.1]
    output = tmp_path / "[b]baked.pt"  # not markup
    BakePortrait(tmp_path / "config.yml", output, bake=COARSE).main()
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("Try")]) == 3
    assert str(output) in lines[-2]
    assert lines[-1].endswith(f"--load-config {tmp_path / 'config_baked.yml'}")
    assert losses == []
    bake = load_bake(output, weights_digest(pipeline.model))
    assert bake.metrics["baked"] == pytest.approx(29.9)
    # it is the finest of those made
    assert bake.grid.shape[0] > 1.3 * 8 / 8


def test_a_bake_that_stays_beyond_the_bound_is_refused_with_all_results(losses, tmp_path):
    losses += [0.9, 0.81, 0.72, 0.63]
    output = tmp_path / "baked.pt"
    with pytest.raises(TalkingError, match=r"at most 0\.2 dB") as caught:
        BakePortrait(tmp_path / "config.yml", output, bake=COARSE).main()
    for loss in ("0.90 dB", "0.81 dB", "0.72 dB", "0.63 dB"):
        assert loss in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert losses == []
