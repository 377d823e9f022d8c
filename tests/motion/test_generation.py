"""Generated motion: range, seeds, silence, frame rates, files, and a portrait that it drives."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.motions import make_motion_model, make_voice, sway_poses

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.face.linear_face_model import camera_matrices, pose_vectors
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.generation import (
    MotionTrack,
    generate_motion,
    generated_track,
    load_motion,
    motion_for,
    save_motion,
)
from nerfstudio_talking.motion.model import MotionModel, save_model
from nerfstudio_talking.motion.recording import resample_curve


@pytest.fixture(scope="module")
def model():
    return make_motion_model()


def test_five_minutes_stay_within_the_persons_range(model):
    audio = make_voice(300)
    motion = generate_motion(model, audio, seed=1)
    assert motion.num_frames == 7500
    low, high = model.person.process.low, model.person.process.high
    reach = high - low
    assert (motion.pose > low - 0.1 * reach - 1e-9).all() and (motion.pose < high + 0.1 * reach + 1e-9).all()
    assert np.abs(motion.expression).max() <= 2.4
    minutes = motion.pose.reshape(5, 1500, 6)
    scale = model.person.pose_scale
    drift = (minutes.mean(1) - model.person.pose_mean) / scale
    assert np.abs(drift).max() < 1.5  # no drift: a minute's mean is a slow sway's, the last like the first
    assert (minutes.std(1) / scale).min() > 0.4  # nor does the motion fade
    assert np.abs(np.diff(motion.pose, axis=0) / scale).max() < 1.0
    recorded = sway_poses(300)
    shake = np.diff(motion.pose, 2, axis=0).std(0) / np.diff(recorded, 2, axis=0).std(0)
    assert shake.max() < 2.5  # as smooth as the person, except that loudness speeds it up
    yaw = motion.pose[:, 1] - motion.pose[:, 1].mean()
    autocorrelation = np.fft.irfft(np.abs(np.fft.rfft(yaw, 2 * len(yaw))) ** 2)[: len(yaw)]
    autocorrelation = autocorrelation / autocorrelation[0] * len(yaw) / np.arange(len(yaw), 0, -1)
    assert np.abs(autocorrelation[750:5000]).max() < 0.5  # no loop


def test_the_seed_changes_head_and_eyes_but_not_the_mouth(model):
    audio = make_voice(8)
    first, again, other = (generate_motion(model, audio, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pose, again.pose)
    np.testing.assert_array_equal(first.eyes, again.eyes)
    np.testing.assert_array_equal(first.expression, other.expression)
    apart = np.abs(first.pose - other.pose).mean(0) / model.person.pose_scale
    assert apart.min() > 0.3


def test_silence_calms_the_head(model):
    audio = make_voice(60, silent=(30, 60))
    speeds = []
    for seed in range(3):
        motion = generate_motion(model, audio, seed=seed)
        speed = np.linalg.norm(np.diff(motion.pose[:, :3], axis=0), axis=1)
        speeds.append((speed[100:650].mean(), speed[850:].mean()))
    loud, silent = np.mean(speeds, axis=0)
    assert silent < 0.35 * loud
    np.testing.assert_allclose(motion.expression[850:, 0], -1.5, atol=0.01)
    assert np.median(np.abs(motion.expression[:700, 0] + 1.5)) > 0.5  # phrases have pauses too
    nothing = generate_motion(model, np.zeros(16000 * 4, np.float32))
    assert np.isfinite(nothing.pose).all() and nothing.num_frames == 100


def test_motion_at_other_rates(model):
    audio = make_voice(4)
    plain, film = generate_motion(model, audio, 25.0, seed=2), generate_motion(model, audio, 50.0, seed=2)
    assert film.num_frames == 200
    np.testing.assert_allclose(film.pose[::2][:98], resample_curve(plain.pose, 25, 50, 200)[::2][:98], atol=1e-9)


def test_motion_tracks_come_back(model, tmp_path):
    motion = generate_motion(model, make_voice(2), seed=7)
    save_motion(motion, tmp_path / "m.npz")
    read = load_motion(tmp_path / "m.npz")
    np.testing.assert_array_equal(read.pose, motion.pose)
    assert (read.seed, read.digest, read.fps) == (7, "d", 25.0)
    np.savez(tmp_path / "other.npz", pose=np.zeros(3))
    with pytest.raises(TalkingError, match="motion track"):
        load_motion(tmp_path / "other.npz")


def test_motion_is_loaded_or_generated(model, tmp_path):
    """A track is taken as it is, a personal model generates one, a general model is refused."""
    motion = generate_motion(model, make_voice(2), seed=7)
    save_motion(motion, tmp_path / "m.npz")
    save_model(model, tmp_path / "p.pt")
    generated = motion_for(tmp_path / "p.pt", make_voice(2), 25.0, 50, 7)
    np.testing.assert_array_equal(generated.pose, motion.pose)
    assert motion_for(tmp_path / "m.npz", make_voice(2), 25.0, 50, 0).seed == 7
    save_model(MotionModel(model.network, model.network_config, model.basis), tmp_path / "g.pt")
    with pytest.raises(TalkingError, match="finetune"):
        motion_for(tmp_path / "g.pt", make_voice(2), 25.0, 50, 0)


def test_generated_motion_drives_a_portrait(model):
    poses = camera_matrices(sway_poses(40)).astype(np.float32)
    portrait = TalkingTrack(
        25.0, PinholeCamera(150.0, 64, 64), poses, np.zeros((40, 16, 80), np.float32), "logmel", np.ones((40, 2),
        np.float32),
        digest="d", lips=np.zeros(40, np.float32), landmarks=np.zeros((40, 478, 2), np.float32),
    )  # fmt: skip
    audio = np.ones((100, 16, 80), np.float32)
    motion = generate_motion(model, make_voice(4), seed=1)
    track = generated_track(portrait, audio, motion)
    assert track.num_frames == 100
    np.testing.assert_allclose(pose_vectors(track.camera_to_worlds), motion.pose, atol=1e-5)
    np.testing.assert_allclose(track.eyes, np.stack([motion.eyes] * 2, 1), atol=1e-6)
    np.testing.assert_allclose(track.lips, motion.lips, atol=1e-6)
    assert track.landmarks is None
    other = generated_track(portrait.replace(digest="another"), audio, motion)
    mean = pose_vectors(other.camera_to_worlds).mean(0)
    np.testing.assert_allclose(mean, pose_vectors(portrait.camera_to_worlds).mean(0), atol=1e-5)
    with pytest.raises(TalkingError, match="as long as the audio"):
        generated_track(portrait, np.ones((110, 16, 80), np.float32), motion)
    fast = MotionTrack(50.0, *(np.repeat(v, 2, 0) for v in (motion.pose, motion.expression, motion.lips, motion.eyes)))
    assert generated_track(portrait, audio, fast).num_frames == 100
