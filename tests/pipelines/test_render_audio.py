"""The audio of the renderer's videos: it follows the frames, or the video is silent and says why."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
import torch
from helpers.ad_nerf_folders import write_ad_nerf_dataset
from helpers.media_files import grey

from nerfstudio_talking.cameras.camera_path import camera_path
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.inference.render_clip import path_times
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video, read_audio
from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE, VideoWriter
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.pipelines.render_audio import with_audio

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


def path_of(folder: Path, frames: slice = slice(None)) -> dict:
    track = load_ad_nerf_sequence(folder).track
    return camera_path(track.camera, track.camera_to_worlds[frames], track.times[frames], track.fps)


class Portrait(PortraitModel):
    """What the renderer's video needs to know of a portrait."""

    def __init__(self, folder: Path) -> None:
        torch.nn.Module.__init__(self)
        self.track = load_ad_nerf_sequence(folder).track


def render(folder: Path, path: dict, output: Path, wanted: bool = True) -> Path:
    """A grey video as nerfstudio's renderer would write it, through what the pipeline puts around that."""
    times, count = path_times(path), len(path["camera_path"])
    poses = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (count, 3, 4))
    cameras = PinholeCamera(50.0, 48, 32).to_nerfstudio(poses.copy(), np.zeros(count))
    cameras.times = None if times is None else torch.from_numpy(times).float()[:, None]

    def write_grey(pipeline, cameras, output_filename, seconds, output_format="video"):
        with VideoWriter(output_filename, len(cameras) / seconds, 48, 32, metadata={"comment": ""}) as writer:
            for _ in range(len(cameras)):
                writer.write(grey(100))

    pipeline = SimpleNamespace(model=Portrait(folder), config=SimpleNamespace(render_audio=wanted))
    with_audio(write_grey)(pipeline, cameras, output, seconds=path["seconds"])
    return output


def test_audio_follows_the_ids_of_the_frames(folder, tmp_path):
    output = render(folder, path_of(folder), tmp_path / "o.mp4")
    audio = np.abs(read_audio(output))
    loud = np.flatnonzero(audio > 0.3 * audio.max()) / 16000
    np.testing.assert_allclose(loud[np.diff(loud, prepend=-1) > 0.1], [0.6, 1.6, 2.6], atol=0.01)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mp4"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cameras: [camera | {"render_time": 0.5} for camera in cameras], "one moment"),
        (lambda cameras: cameras[::-1], "it plays the clip backwards"),
        (lambda cameras: cameras[::3], "it plays the clip at 3 times its speed"),
        (
            lambda cameras: [{k: v for k, v in c.items() if k != "render_time"} for c in cameras],
            "not all cameras have a time",
        ),
        (lambda cameras: [*cameras[:-1], cameras[-1] | {"render_time": None}], "not all cameras have a time"),
    ],
)
def test_other_times_are_silent_and_say_why(folder, tmp_path, capsys, change, reason):
    path = path_of(folder)
    path["camera_path"] = change(path["camera_path"])
    path["seconds"] = len(path["camera_path"]) / path["fps"]
    output = render(folder, path, tmp_path / "o.mp4")
    shown = " ".join(capsys.readouterr().out.split())
    assert "The video is silent: " in shown and reason in shown
    assert not probe_video(output).has_audio
    with av.open(str(output)) as container:
        assert container.metadata["comment"] == SYNTHETIC_NOTICE


def test_audio_can_be_declined(folder, tmp_path):
    assert not probe_video(render(folder, path_of(folder), tmp_path / "o.mp4", wanted=False)).has_audio


def test_audio_that_cannot_be_read_stops_before_the_rendering(folder, tmp_path):
    copied = tmp_path / "d"
    shutil.copytree(folder, copied)
    (copied / "aud.wav").write_text("no audio")
    with pytest.raises(TalkingError, match=r"aud\.wav"):
        render(copied, path_of(folder), tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()
