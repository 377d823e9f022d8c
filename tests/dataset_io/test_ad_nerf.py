"""Folders written here in the family's format, with the traps that real ones hold."""

import json

import numpy as np
import pytest
from helpers.ad_nerf_folders import IDS, write_ad_nerf_dataset
from helpers.builders import moving_poses
from helpers.paths import needs_clips, shared_file

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.features.registry import find_feature_kind, ready_arrays
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.dataset_io.sequence import load_parsing
from nerfstudio_talking.dataset_io.validation import load_any_sequence, sequence_problems
from nerfstudio_talking.io.errors import TalkingError


@pytest.mark.parametrize("audio", ["aud_ds.npy", "aud.npy"])
def test_family_folder(tmp_path, audio):
    write_ad_nerf_dataset(tmp_path / "d", audio=audio)
    clip = load_any_sequence(tmp_path / "d")
    track = clip.track
    assert track.frame_ids.tolist() == IDS
    assert clip.train_frames.tolist() == list(range(9))
    assert clip.eval_frames.tolist() == [9, 10]
    assert (track.width, track.height, track.camera.focal) == (48, 48, 96.0)
    array = np.load(tmp_path / "d" / audio)
    np.testing.assert_array_equal(track.audio, array[IDS])
    np.testing.assert_allclose(track.camera_to_worlds, moving_poses(20)[IDS])
    # a blink in frame 5 only, half closed; the missing rows at the end are held
    np.testing.assert_allclose(track.eyes[:, 0], [1, 1, 1, 1, 0.5, 1, 1, 1, 1, 1, 1])
    assert {CLASS_ID["skin"], CLASS_ID["cloth"], 0} == set(np.unique(load_parsing(clip, 3)))
    assert clip.torso_references.shape == (3, 48, 48, 4)
    assert set(clip.torso_frames) <= set(clip.train_frames)
    assert track.landmarks.shape == (11, 68, 2)
    assert sequence_problems(clip) == []


def test_windows_end_before_the_image(tmp_path):
    write_ad_nerf_dataset(tmp_path / "d", rows=13)
    track = load_ad_nerf_sequence(tmp_path / "d").track
    np.testing.assert_array_equal(track.audio[-1], np.load(tmp_path / "d/aud_ds.npy")[-1])


def test_features_of_its_own_come_with_their_normalisation(tmp_path):
    import soundfile

    write_ad_nerf_dataset(tmp_path / "d")
    assert load_ad_nerf_sequence(tmp_path / "d").track.audio_normalization is None
    (tmp_path / "d/aud_ds.npy").unlink()
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(tmp_path / "d/aud.wav", samples, 16000, subtype="FLOAT")
    track = load_ad_nerf_sequence(tmp_path / "d").track
    expected = extract_features(samples.astype(np.float32), 25.0, IDS[-1] + 1)
    assert track.audio_kind == "logmel"
    np.testing.assert_array_equal(track.audio, expected.windows[IDS])
    np.testing.assert_array_equal(track.audio_normalization.mean, expected.normalization.mean)


def test_parsing_maps_may_be_jpg(tmp_path):
    from PIL import Image

    write_ad_nerf_dataset(tmp_path / "d")
    for path in list((tmp_path / "d/parsing").iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    clip = load_ad_nerf_sequence(tmp_path / "d")
    assert {CLASS_ID["skin"], CLASS_ID["cloth"], 0} <= set(np.unique(load_parsing(clip, 3)))


def test_esperanto_has_one_name(tmp_path):
    write_ad_nerf_dataset(tmp_path / "d", audio="aud_eo.npy")
    np.save(tmp_path / "d/aud_eo.npy", np.random.default_rng(0).standard_normal((14, 44, 16)))
    assert load_ad_nerf_sequence(tmp_path / "d").track.audio_kind == "esperanto"
    assert all(not find_feature_kind(kind).is_computable for _, kind in ready_arrays())


def test_poses_solved_at_another_size(tmp_path):
    write_ad_nerf_dataset(tmp_path / "d")
    for name in ("train", "val"):
        path = tmp_path / "d" / f"transforms_{name}.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "focal_len": 900.0, "cx": 225.0, "cy": 225.0}))
    assert load_ad_nerf_sequence(tmp_path / "d").track.camera.focal == pytest.approx(96.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "gt_imgs/4.jpg").unlink(), "1 of them missing"),
        (lambda d: (d / "aud_ds.npy").unlink(), "aud_ds.npy"),
        (
            lambda d: (d / "parsing/4.png").unlink(),
            r"4\.png: expected a parsing map for each of the 11 frames; found 1",
        ),
        (lambda d: np.save(d / "aud_ds.npy", np.zeros((3, 4))), "deepspeech"),
        (lambda d: np.save(d / "aud_ds.npy", np.array(["a", "b"])), "expected numbers"),
        (lambda d: (d / "aud_ds.npy").write_bytes(b"x"), "a .npy array"),
        (lambda d: (d / "au.csv").write_text("a,b\n1,2"), "AU45_r"),
        (lambda d: (d / "transforms_train.json").write_text('{"frames": [{"img_id": 0}]}'), "transform_matrix"),
    ],
)
def test_damaged_folder(tmp_path, damage, message):
    write_ad_nerf_dataset(tmp_path / "d")
    damage(tmp_path / "d")
    with pytest.raises(TalkingError, match=message):
        load_ad_nerf_sequence(tmp_path / "d")


@needs_clips("formats/AD-NeRF_transforms_val.json")
def test_real_transforms_follow_our_convention():
    """In AD-NeRF's own file the camera stands in front of the face, upright, less than a metre away."""
    record = json.loads(shared_file("formats/AD-NeRF_transforms_val.json").read_text())
    matrices = np.array([frame["transform_matrix"] for frame in record["frames"]])
    assert matrices.shape == (728, 4, 4)
    rotation, position = matrices[:, :3, :3], matrices[:, :3, 3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (728, 3, 3)), atol=1e-5
    )
    assert (position[:, 2] > 0.5).all()
    assert (position[:, 2] < 1.0).all()
    assert (rotation[:, 1, 1] > 0.8).all()
    looking = -rotation[:, :, 2]  # the camera's -z points at the head
    towards = -position / np.linalg.norm(position, axis=1, keepdims=True)
    assert (np.sum(looking * towards, 1) > 0.95).all()
