"""`ns-talking render-frames`, and a refiner that is trained on its frames and then used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.refiners import config_path, portrait_config, run, trainer_config

from nerfstudio_talking.cli.main import entrypoint
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.media.images import read_image


@pytest.fixture(scope="module")
def portrait(talking_dataset, tmp_path_factory) -> Path:
    config = portrait_config(talking_dataset, tmp_path_factory.mktemp("portrait"))
    run(config)
    return config_path(config)


@pytest.fixture(scope="module")
def frames(portrait, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("render") / "frames"
    entrypoint(["render-frames", "--load-config", str(portrait), "--output", str(folder)])
    return folder


@pytest.mark.slow
def test_every_frame_is_the_models_own_and_the_record_names_its_origin(portrait, frames, talking_dataset):
    from nerfstudio.utils.eval_utils import eval_setup

    track = json.loads((talking_dataset / "track.json").read_text())
    record = json.loads((frames / "rendered.json").read_text())
    checkpoint = next((portrait.parent / "nerfstudio_models").iterdir())
    assert record == {
        "checkpoint": file_digest(checkpoint),
        "sequence": track["digest"],
        "num_frames": 22,
        "train_fraction": pytest.approx(20 / 22),
    }
    assert sorted(path.name for path in frames.glob("*.png")) == [f"{k:06d}.png" for k in range(22)]
    _, pipeline, _, _ = eval_setup(portrait, test_mode="inference")
    dataset = pipeline.datamanager.eval_dataset
    for row, frame in enumerate((20, 21)):  # the two evaluation frames, by nerfstudio's own cameras
        rgb = pipeline.model.get_outputs_for_camera(dataset.cameras[row : row + 1])["rgb"]
        expected = (rgb * 255).round().to(torch.uint8).numpy()
        np.testing.assert_array_equal(read_image(frames / f"{frame:06d}.png", "RGB"), expected)


@pytest.mark.slow
def test_an_interrupted_rendering_resumes(portrait, frames, tmp_path, capsys):
    folder = tmp_path / "frames"
    shutil.copytree(frames, folder)
    (folder / "rendered.json").rename(folder / "rendered.unfinished.json")
    (folder / "000003.png").unlink()
    kept = (folder / "000004.png").stat().st_mtime_ns
    entrypoint(["render-frames", "--load-config", str(portrait), "--output", str(folder)])
    assert (folder / "000003.png").read_bytes() == (frames / "000003.png").read_bytes()
    assert (folder / "000004.png").stat().st_mtime_ns == kept
    assert (folder / "rendered.json").read_bytes() == (frames / "rendered.json").read_bytes()
    assert not (folder / "rendered.unfinished.json").exists()
    (folder / "rendered.json").unlink()
    with pytest.raises(SystemExit):  # images of unknown origin
        entrypoint(["render-frames", "--load-config", str(portrait), "--output", str(folder)])


@pytest.mark.slow
def test_a_refiner_of_these_frames_drives_their_portrait(portrait, frames, talking_dataset, tmp_path, capsys):
    import soundfile

    from nerfstudio_talking.media.reading import read_frames

    config = trainer_config(talking_dataset, frames, tmp_path, 40, end=40)  # fewer steps change less than coding does
    run(config)
    refiner = config_path(config)
    soundfile.write(tmp_path / "voice.wav", 0.1 * np.ones(16000 // 5), 16000)
    videos = []
    for name, options in (("plain", []), ("refined", ["--refine", str(refiner)])):
        output = tmp_path / f"{name}.mp4"
        capsys.readouterr()
        arguments = ["--load-config", str(portrait), "--audio", str(tmp_path / "voice.wav"), "--output", str(output)]
        arguments += ["--crf", "0"]
        entrypoint(["drive", *arguments, *options])
        assert "The refiner was trained on" not in capsys.readouterr().out
        videos.append(np.stack(list(read_frames(output))))
    assert videos[0].shape == videos[1].shape == (5, 48, 48, 3)
    assert not np.array_equal(*videos)
    with pytest.raises(SystemExit):  # a portrait is no refiner
        entrypoint(["drive", *arguments, "--refine", str(portrait)])
