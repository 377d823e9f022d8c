import json
import shutil

import numpy as np
import pytest
from helpers.builders import moving_poses, write_talking_dataset
from PIL import Image

from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.cameras.head_box import head_box
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, class_mask, from_ad_nerf, from_bisenet
from nerfstudio_talking.dataset_io.sequence import load_parsing, load_sequence, split_frames
from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.dataset_io.validation import load_any_sequence, sequence_problems
from nerfstudio_talking.io.errors import TalkingError


def test_split_is_the_fields():
    train, evaluate = split_frames(7999)
    assert (len(train), len(evaluate)) == (7271, 728)  # the real val file of AD-NeRF's Obama holds 728 frames
    assert evaluate[0] == 7271
    assert [len(part) for part in split_frames(2)] == [1, 1]
    assert [len(part) for part in split_frames(1)] == [1, 1]


def test_track_comes_back(tmp_path):
    track = write_talking_dataset(tmp_path / "d")
    again = load_track(tmp_path / "d")
    for name in ("camera_to_worlds", "audio", "eyes", "lips", "landmarks", "frame_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(track, name))
    assert (again.fps, again.camera.focal, again.audio_kind, again.digest) == (25.0, 96.0, "logmel", "0" * 64)
    assert again.times[0] == 0
    assert again.times[-1] == 1


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


def test_first_frames_of_every_column():
    import dataclasses

    from nerfstudio_talking.dataset_io.track import TalkingTrack

    columns = {"lips": (), "expression": (52,), "landmarks": (68, 2), "body": (2, 3), "frame_ids": ()}
    rng = np.random.default_rng(0)
    made = {name: rng.random((6, *shape)) for name, shape in columns.items()}
    track = TalkingTrack(
        25, PinholeCamera(10, 8, 8), moving_poses(6), rng.random((6, 16, 80)), "logmel", np.ones((6, 2)), **made
    )
    short = track.first(4)
    assert short.num_frames == 4
    checked = 0
    for field in dataclasses.fields(TalkingTrack):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(short, field.name), value[:4])
            checked += 1
    assert checked == 8  # all there are
    np.testing.assert_array_equal(track.span(2, 5).lips, track.lips[2:5])
    bare = track.replace(body=None, lips=None).first(2)
    assert bare.body is None
    assert bare.num_frames == 2


def test_rows_must_match():
    from nerfstudio_talking.dataset_io.track import TalkingTrack

    with pytest.raises(ValueError, match=r"track\.eyes has 3 rows for 4 frames"):
        TalkingTrack(25, PinholeCamera(10, 8, 8), moving_poses(4), np.zeros((4, 16, 80)), "logmel", np.ones((3, 2)))


def test_whole_dataset_has_no_problem(talking_dataset):
    sequence = load_any_sequence(talking_dataset)
    assert sequence_problems(sequence) == []
    assert load_parsing(sequence, 0).max() <= 10


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "track.json").unlink(), "never finished"),
        (lambda d: (d / "track.npz").write_bytes((d / "track.npz").read_bytes()[:500]), "readable track"),
        (lambda d: (d / "track.json").write_text("{"), "readable track"),
        (lambda d: (d / "images/000004.jpg").unlink(), "1 of them missing"),
        (lambda d: (d / "background.png").unlink(), "no such file"),
        (lambda d: (d / "torso/torso.json").unlink(), "references"),
        (lambda d: Image.new("RGB", (9, 9)).save(d / "images/000000.jpg"), "48x48"),
    ],
)
def test_truncated_dataset_is_refused(talking_dataset, tmp_path, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    damage(copy)
    with pytest.raises(TalkingError, match=message):
        load_sequence(copy)


def test_other_schema_is_refused(talking_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    record = json.loads((copy / "track.json").read_text())
    (copy / "track.json").write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(TalkingError, match="schema 1"):
        load_sequence(copy)


def test_check_names_every_problem(talking_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    track = load_track(copy)
    poses = track.camera_to_worlds.copy()
    poses[:, :, 3] *= 1000
    poses[3, :, :3] *= 2
    save_track(track.replace(camera_to_worlds=poses, audio=np.zeros_like(track.audio)), copy)
    image = copy / "images/000007.jpg"
    image.write_bytes(image.read_bytes()[:400])
    problems = "\n".join(sequence_problems(load_sequence(copy)))
    for word in ("no rotations", "metres", "silent", "000007.jpg"):
        assert word in problems


def test_head_box_holds_the_disc(talking_dataset):
    sequence = load_sequence(talking_dataset)
    masks = [class_mask(load_parsing(sequence, i), ("skin", "hair", "eyes", "lips")) for i in range(5)]
    box = head_box(masks, sequence.track.camera_to_worlds[:5], sequence.track.camera, margin=0.0)
    # a disc of radius 0.1 m, 5 % of the image above the middle: 0.05 * 48 px / 96 px * 0.8 m = 0.02 m
    np.testing.assert_allclose(box[:, 1], [-0.08, 0.12], atol=0.015)
    assert box[0, 0] < -0.09
    assert box[1, 0] > 0.09


def test_foreign_parsing():
    colours = np.array([[(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (2, 3, 250)]], np.uint8)
    names = ("skin", "neck", "cloth", "background", "skin")
    assert from_ad_nerf(colours)[0].tolist() == [CLASS_ID[name] for name in names]
    ids = from_bisenet(np.array([[0, 1, 2, 5, 6, 8, 10, 11, 13, 14, 16, 17, 18]], np.uint8))
    expected = [
        "background",
        "skin",
        "brows",
        "eyes",
        "background",
        "ears",
        "nose",
        "inner_mouth",
        "lips",
        "neck",
        "cloth",
        "hair",
        "background",
    ]
    assert ids[0].tolist() == [CLASS_ID[name] for name in expected]
