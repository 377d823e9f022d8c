"""The audio of camera paths: it follows the frames, or the video is silent and says why."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from helpers.ad_nerf_folders import write_ad_nerf_dataset
from helpers.media_files import grey

from nerfstudio_talking.cameras.camera_path import camera_path
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.inference.render_clip import camera_path_starts, read_camera_path, render_with_audio
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio
from nerfstudio_talking.media.writing import VideoWriter

IDS = [*range(10, 60), *range(110, 150)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Frames 10 to 59 and 110 to 149 of a clip that beeps at every whole second."""
    folder = tmp_path_factory.mktemp("clip") / "d"
    write_ad_nerf_dataset(folder, rows=150, ids=IDS, size=16)
    time = np.arange(6 * 16000) / 16000
    beeps = np.where(time % 1 < 0.01, np.sin(2 * np.pi * 1000 * time), 0)
    soundfile.write(folder / "aud.wav", beeps, 16000)
    return folder


@pytest.fixture(scope="module")
def config(folder) -> Path:
    from nerfstudio_talking.dataparsers.ad_nerf import AdNerfDataParserConfig
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    run = copy.deepcopy(talking_portrait_small.config)
    run.pipeline.datamanager.data = folder
    run.pipeline.datamanager.dataparser = AdNerfDataParserConfig()
    path = folder.parent / "config.yml"
    path.write_text(yaml.dump(run))
    return path


def path_of(folder: Path, frames: slice = slice(None)) -> dict:
    track = load_ad_nerf_sequence(folder).track
    return camera_path(track.camera, track.camera_to_worlds[frames], track.times[frames], track.fps)


def render(config: Path, path: dict, folder: Path) -> tuple[Path, str | None]:
    (folder / "p.json").write_text(json.dumps(path))
    count, fps = len(path["camera_path"]), len(path["camera_path"]) / path["seconds"]

    def write_grey(silent: Path) -> None:
        with VideoWriter(silent, fps, 48, 32) as writer:
            for _ in range(count):
                writer.write(grey(100))

    return folder / "o.mp4", render_with_audio(config, folder / "p.json", folder / "o.mp4", write_grey)


def test_audio_follows_the_ids_of_the_frames(config, folder, tmp_path):
    output, reason = render(config, path_of(folder), tmp_path)
    assert reason is None
    audio = np.abs(read_audio(output))
    loud = np.flatnonzero(audio > 0.3 * audio.max()) / 16000
    np.testing.assert_allclose(loud[np.diff(loud, prepend=-1) > 0.1], [0.6, 1.6, 2.6], atol=0.01)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mp4", "p.json"]


def test_a_part_that_starts_after_the_hole(folder):
    starts, reason = camera_path_starts(load_ad_nerf_sequence(folder).track, path_of(folder, slice(50, 90)))
    assert reason is None
    np.testing.assert_allclose(starts, np.arange(110, 150) / 25, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cameras: [camera | {"render_time": 0.5} for camera in cameras], "one moment"),
        (lambda cameras: cameras[::-1], "backwards"),
        (lambda cameras: cameras[::3], "3 times its speed"),
        (lambda cameras: [{k: v for k, v in c.items() if k != "render_time"} for c in cameras], "first frame"),
        (lambda cameras: [*cameras[:-1], cameras[-1] | {"render_time": None}], "first frame"),
    ],
)
def test_other_times_are_silent_and_say_why(config, folder, tmp_path, change, reason):
    path = path_of(folder)
    path["camera_path"] = change(path["camera_path"])
    path["seconds"] = len(path["camera_path"]) / path["fps"]
    output, found = render(config, path, tmp_path)
    assert found is not None and reason in found
    assert not probe_video(output).has_audio


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        "3",
        '{"camera_path": [], "seconds": 1, "render_height": 2, "render_width": 2}',
        '{"camera_path": [{}], "seconds": 1, "render_height": 2, "render_width": 2}',
        '{"camera_path": [{"camera_to_world": [1]}], "seconds": 1, "render_height": 2, "render_width": 2}',
        '{"camera_path": [3], "seconds": 0, "render_height": 2, "render_width": 2}',
    ],
)
def test_damaged_camera_paths_are_named(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(TalkingError, match=r"p\.json: expected a camera path"):
        read_camera_path(tmp_path / "p.json")
