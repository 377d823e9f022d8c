"""Options of a dataset that are given once and kept in its folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.ad_nerf_folders import write_ad_nerf_dataset
from helpers.builders import write_talking_dataset

from nerfstudio_talking.cli.main import entrypoint
from nerfstudio_talking.dataparsers.ad_nerf import AdNerfDataParserConfig
from nerfstudio_talking.dataparsers.talking_portrait import TalkingPortraitDataParserConfig
from nerfstudio_talking.dataset_io.dataset_options import OPTIONS_NAME, load_options
from nerfstudio_talking.dataset_io.validation import load_any_sequence
from nerfstudio_talking.io.errors import TalkingError


def test_frame_rate_and_features_are_kept_for_every_command(tmp_path: Path, capsys) -> None:
    data = tmp_path / "d"
    write_ad_nerf_dataset(data)
    np.save(data / "other.npy", np.random.default_rng(0).standard_normal((14, 2, 1024)).astype(np.float32))
    AdNerfDataParserConfig(data=data, fps=30.0, audio="other.npy").settle()
    track = load_any_sequence(data).track
    assert track.fps == 30 and track.audio.shape[1:] == (2, 1024)
    entrypoint(["path", "--data", str(data), "--output", str(tmp_path / "p.json")])
    path = json.loads((tmp_path / "p.json").read_text())
    assert path["fps"] == 30 and path["seconds"] == pytest.approx(11 / 30)
    capsys.readouterr()
    entrypoint(["check", str(data)])
    assert "at 30 frames per second" in capsys.readouterr().out
    later = AdNerfDataParserConfig(data=data)
    later.settle()
    assert (later.fps, later.audio) == (30.0, "other.npy")
    assert OPTIONS_NAME in capsys.readouterr().out  # what was not given here is not taken without a word
    AdNerfDataParserConfig(data=data, fps=25.0).settle()
    assert load_any_sequence(data).track.fps == 25


def test_a_configuration_is_settled_for_good(tmp_path: Path) -> None:
    """A run that was trained with the usual split keeps it, whatever later runs do."""
    write_talking_dataset(tmp_path / "d")
    first, second = (TalkingPortraitDataParserConfig(data=tmp_path / "d", train_fraction=f) for f in (None, 0.5))
    first.settle()
    assert not (tmp_path / "d" / OPTIONS_NAME).exists()
    second.settle()
    assert len(load_any_sequence(tmp_path / "d").train_frames) == 11
    assert len(first.setup().load_sequence().train_frames) == 20
    assert first.train_fraction == 10 / 11 and load_options(tmp_path / "d").train_fraction == 0.5


@pytest.mark.parametrize("text", ["", "[]", '{"fps": -1}', '{"fps": "many"}', '{"speed": 3}', '{"audio": 3}'])
def test_damaged_options_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / OPTIONS_NAME).write_text(text)
    with pytest.raises(TalkingError, match=OPTIONS_NAME):
        load_options(tmp_path)


def test_a_dataset_without_parsing_maps_says_so(tmp_path: Path, capsys) -> None:
    import shutil

    write_ad_nerf_dataset(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "parsing")
    AdNerfDataParserConfig(data=tmp_path / "d").setup().get_dataparser_outputs("train")
    assert "no parsing maps" in capsys.readouterr().out
