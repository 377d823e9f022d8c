"""Loading a trained refiner: which sequences and portraits it knows."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.refiners import config_path, run, trainer_config

from nerfstudio_talking.dataset_io.sequence import load_sequence
from nerfstudio_talking.inference.refiner import load_refiner
from nerfstudio_talking.io.errors import TalkingError


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(TalkingError, match="no such file"):
        load_refiner(tmp_path / "config.yml", tmp_path / "config.yml", "")


@pytest.mark.slow
def test_a_refiner_of_two_people_knows_both_sequences(talking_dataset, blurred, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(talking_dataset, other)
    record = json.loads((other / "track.json").read_text())
    (other / "track.json").write_text(json.dumps({**record, "digest": "b" * 64}))
    config = trainer_config(talking_dataset, blurred, tmp_path, 2)
    config.pipeline.datamanager.also = (other,)
    config.pipeline.datamanager.also_rendered = (blurred,)
    run(config)
    shutil.rmtree(other)  # a refiner that is used needs no dataset
    path = config_path(config)
    capsys.readouterr()
    for digest in (load_sequence(talking_dataset).track.digest, "b" * 64):
        assert 0 < load_refiner(path, None, digest).roi[0] < 0.5
        assert "another sequence" not in capsys.readouterr().out
    assert load_refiner(path, None, "c" * 64).roi == (0, 0, 1, 1)
    assert "another sequence" in capsys.readouterr().out
