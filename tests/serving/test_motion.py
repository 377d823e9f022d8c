"""Head motion of a session without end: no jump at the seams, blinks in a still head, ways over from one to another."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import write_talking_dataset

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.motion.driving_track import driving_track
from nerfstudio_talking.serving.motion import MotionLoop, SessionMotion, motion_loop

WINDOWS = np.zeros((6, 16, 80), np.float32)


@pytest.fixture(scope="module")
def track(tmp_path_factory) -> TalkingTrack:
    track = write_talking_dataset(tmp_path_factory.mktemp("data"))
    eyes = np.linspace(0.8, 1.0, track.num_frames, dtype=np.float32)[:, None].repeat(2, axis=1)
    return track.replace(eyes=eyes)


@pytest.fixture(scope="module")
def loop(track) -> MotionLoop:
    return motion_loop(track, 1.0, seed=0)


def shown(motion: SessionMotion, frames: range) -> TalkingTrack:
    """Frame by frame, as a stream asks for them: four before and three after each."""
    tracks = [motion.make_track(max(f - 4, 0), np.zeros((min(f, 4) + 4, 16, 80), np.float32)) for f in frames]
    rows = [t.span(min(f, 4), min(f, 4) + 1) for f, t in zip(frames, tracks)]
    names = ("camera_to_worlds", "audio", "eyes", "mouth_activity")
    return rows[0].replace(**{name: np.concatenate([getattr(row, name) for row in rows]) for name in names})


def test_the_loop_goes_forth_and_back_without_a_jump(track, loop):
    assert len(loop) == 2 * (track.num_frames - 1)
    poses = loop.track.camera_to_worlds
    forth = driving_track(track, np.zeros((60, 16, 80), np.float32), "ping-pong", 1.0)
    np.testing.assert_allclose(poses[5:40], forth.camera_to_worlds[5:40], atol=1e-6)
    steps = np.abs(np.diff(poses, axis=0, append=poses[:1])).max(axis=(1, 2))
    assert steps[-1] <= steps.max() and steps.max() < 0.06


def test_recorded_motion_goes_on_round_the_loop(loop):
    motion = SessionMotion({"recorded": loop}, 25.0, lambda time: 1.0)
    seen = shown(motion, range(2 * len(loop)))
    np.testing.assert_array_equal(seen.camera_to_worlds[: len(loop)], loop.track.camera_to_worlds)
    np.testing.assert_array_equal(seen.camera_to_worlds[len(loop) :], loop.track.camera_to_worlds)
    np.testing.assert_array_equal(seen.eyes[: len(loop)], loop.track.eyes)


def test_audio_passes_as_it_is_under_the_limit_of_the_mouth(loop):
    motion = SessionMotion({"recorded": loop}, 25.0, lambda time: 0.5 if time >= 0.08 else 1.0)
    windows = np.random.default_rng(0).standard_normal((6, 16, 80)).astype(np.float32)
    made = motion.make_track(0, windows)
    np.testing.assert_array_equal(made.audio, windows)
    np.testing.assert_array_equal(made.mouth_activity, [1, 1, 0.5, 0.5, 0.5, 0.5])
    motion.mouth_gain = 2.0
    np.testing.assert_array_equal(motion.make_track(1, windows).mouth_activity, [2, 1, 1, 1, 1, 1])


def test_a_still_head_keeps_its_pose_and_blinks(loop):
    motion = SessionMotion({"recorded": loop}, 25.0, lambda time: 1.0, "still", phase=3)
    seen = shown(motion, range(1500))
    assert (seen.camera_to_worlds == loop.track.camera_to_worlds[3]).all()
    closed = seen.eyes[:, 0] < 0.4
    blinks = int((np.diff(closed.astype(int)) == 1).sum())
    assert 6 <= blinks <= 40  # per minute
    assert np.median(seen.eyes) == pytest.approx(0.9, abs=0.1)


def test_the_way_from_one_motion_to_another_is_smooth(track, loop):
    turned = track.camera_to_worlds.copy()
    turned[:, :, 3] += [0.1, 0.0, 0.0]
    other = motion_loop(track.replace(camera_to_worlds=turned), 1.0, seed=1)
    motion = SessionMotion({"recorded": loop, "generated": other}, 25.0, lambda time: 1.0)
    shown(motion, range(20))
    motion.mode = "generated"
    seen = shown(motion, range(20, 60))
    steps = np.linalg.norm(np.diff(seen.camera_to_worlds[:, :, 3], axis=0), axis=1)
    usual = np.linalg.norm(np.diff(loop.track.camera_to_worlds[:, :, 3], axis=0), axis=1).max()
    assert steps.max() < usual + 0.1 * 1.5 / 15 + 0.02
    rotations = seen.camera_to_worlds[:, :, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(40, 0), atol=1e-5)
    ahead = 23  # 20 frames, three of the encoder's after them
    expected = other.track.camera_to_worlds[(ahead + np.arange(20, 36)) % len(other)]
    assert any(np.allclose(seen.camera_to_worlds[24:40], np.roll(expected, k, 0), atol=1e-6) for k in range(-8, 9)) or (
        np.abs(seen.camera_to_worlds[-1][0, 3] - expected[:, 0, 3]).min() < 0.02
    )


def test_a_clip_of_one_frame_is_a_loop(track):
    loop = motion_loop(track.first(1), 1.0, seed=0)
    seen = shown(SessionMotion({"recorded": loop}, 25.0, lambda time: 1.0), range(3))
    np.testing.assert_allclose(seen.camera_to_worlds, track.camera_to_worlds[:1].repeat(3, 0), atol=1e-6)
