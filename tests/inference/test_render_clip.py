"""Camera paths, and where the audio of their frames starts."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from helpers.ad_nerf_folders import write_ad_nerf_dataset

from nerfstudio_talking.cameras.camera_path import camera_path
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.inference.render_clip import frame_starts, path_times, read_camera_path
from nerfstudio_talking.io.errors import TalkingError


def test_a_part_that_starts_after_the_hole(tmp_path):
    folder = tmp_path / "d"
    write_ad_nerf_dataset(folder, rows=150, ids=[*range(10, 60), *range(110, 150)], size=16)
    soundfile.write(folder / "aud.wav", np.zeros(6 * 16000), 16000)
    track = load_ad_nerf_sequence(folder).track
    part = slice(50, 90)
    path = camera_path(track.camera, track.camera_to_worlds[part], track.times[part], track.fps)
    starts, reason = frame_starts(track, path_times(path), 25.0)
    assert reason is None
    np.testing.assert_allclose(starts, np.arange(110, 150) / 25, atol=1e-4)


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
