from __future__ import annotations

from pathlib import Path

import pytest
from helpers.motions import write_sample_motion
from helpers.paths import SAMPLE

from nerfstudio_talking.cli.main import entrypoint
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.motion.generation import load_motion


def test_train_finetune_generate_show(tmp_path, capsys):
    sample_data = write_sample_motion(tmp_path / "sample")
    general, personal, motion = tmp_path / "g.pt", tmp_path / "p.pt", tmp_path / "m.npz"
    entrypoint(
        ["motion", "train", "--data", str(sample_data), "--output", str(general), "--epochs", "2", "--expression", "4"]
    )
    options = ["--frames", "120", "--epochs", "2", "--output", str(personal)]
    entrypoint(["motion", "finetune", "--model", str(general), "--data", str(sample_data), *options])
    assert "Held-out losses" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.work"))
    voice_path = str(SAMPLE / "other_voice.flac")
    entrypoint(["motion", "generate", "--model", str(personal), "--audio", voice_path, "--output", str(motion)])
    track = load_motion(motion)
    assert track.num_frames == round(len(read_audio(Path(voice_path))) / 640)
    assert track.digest == "sample"
    entrypoint(
        ["motion", "show", "--model", str(personal), "--data", str(sample_data), "--output", str(tmp_path / "f.obj")]
    )
    assert (tmp_path / "f.obj").stat().st_size > 10000
    with pytest.raises(SystemExit):
        drive = ["drive", "--load-config", str(tmp_path / "c.yml"), "--audio", voice_path, "--output", str(motion)]
        entrypoint([*drive, "--pose", "generated"])
    assert "--motion" in capsys.readouterr().out
    for bad in (["--model", str(general)], ["--model", str(tmp_path / "none")]):
        with pytest.raises(SystemExit):
            entrypoint(["motion", "generate", *bad, "--audio", voice_path, "--output", str(motion)])
