import dataclasses
import json

import numpy as np
import pytest
from helpers.builders import moving_poses, write_talking_dataset

from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.sequence import load_sequence
from nerfstudio_talking.dataset_io.track import TalkingTrack, load_track, save_track
from nerfstudio_talking.io.errors import TalkingError


def test_track_comes_back(tmp_path):
    track = write_talking_dataset(tmp_path / "d")
    again = load_track(tmp_path / "d")
    for name in ("camera_to_worlds", "audio", "eyes", "lips", "landmarks", "frame_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(track, name))
    assert (again.fps, again.camera.focal, again.audio_kind, again.digest) == (25.0, 96.0, "logmel", "0" * 64)
    assert again.times[0] == 0
    assert again.times[-1] == 1


def test_first_frames_of_every_column():
    columns = {"lips": (), "expression": (52,), "landmarks": (68, 2), "body": (2, 3), "frame_ids": ()}
    rng = np.random.default_rng(0)
    made = {name: rng.random((6, *shape), dtype=np.float32) for name, shape in columns.items()}
    made["frame_ids"] = np.arange(6)
    audio, eyes = rng.random((6, 16, 80), dtype=np.float32), np.ones((6, 2), np.float32)
    track = TalkingTrack(25, PinholeCamera(10, 8, 8), moving_poses(6), audio, "logmel", eyes, **made)
    short = track.first(4)
    assert short.num_frames == 4
    checked = 0
    for field in dataclasses.fields(TalkingTrack):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(short, field.name), value[:4])
            checked += 1
    assert checked == 8  # all there are
    bare = track.replace(body=None, lips=None).first(2)
    assert bare.body is None
    assert bare.num_frames == 2


@pytest.mark.usefixtures("unchecked_shapes")
def test_rows_must_match():
    with pytest.raises(ValueError, match=r"track\.eyes has 3 rows for 4 frames"):
        TalkingTrack(25, PinholeCamera(10, 8, 8), moving_poses(4), np.zeros((4, 16, 80)), "logmel", np.ones((3, 2)))


def test_audio_normalisation_comes_back(tmp_path):
    track = write_talking_dataset(tmp_path / "d")
    assert load_track(tmp_path / "d").audio_normalization is None
    stored = FeatureNormalization(-12.5, -17.25, np.arange(80.0), np.arange(1.0, 81.0))
    save_track(track.replace(audio_normalization=stored), tmp_path / "d")
    again = load_track(tmp_path / "d")
    assert again.audio_normalization is not None
    assert (again.audio_normalization.reference_db, again.audio_normalization.level_db) == (-12.5, -17.25)
    np.testing.assert_array_equal(again.audio_normalization.mean, stored.mean)
    np.testing.assert_array_equal(again.audio_normalization.std, stored.std)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: [record],
        lambda record: {**record, "fps": None},
        lambda record: {**record, "fps": "1e999"},
        lambda record: {**record, "width": [48]},
        lambda record: {**record, "focal": -1},
        lambda record: {**record, "num_frames": "22"},
        lambda record: {name: value for name, value in record.items() if name != "provenance"},
    ],
)
def test_damaged_records_are_named(tmp_path, change):
    write_talking_dataset(tmp_path / "d", frames=6)
    path = tmp_path / "d" / "track.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(TalkingError, match="d"):
        load_track(tmp_path / "d")


@pytest.mark.parametrize("frames", ["[]", "null", "[1e999]", "[99]", "[[0, 1]]"])
def test_damaged_torso_records_are_named(tmp_path, frames):
    write_talking_dataset(tmp_path / "d", frames=6)
    (tmp_path / "d" / "torso" / "torso.json").write_text(f'{{"frames": {frames.replace("1e999", "1e400")}}}')
    with pytest.raises(TalkingError, match=r"torso\.json"):
        load_sequence(tmp_path / "d")
