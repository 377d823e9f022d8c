import json

import numpy as np
import pytest
from helpers.builders import moving_poses, write_talking_dataset
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.camera_path import camera_path
from nerfstudio_talking.dataset_io.frame_range import parse_frame_range
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.driving_track import driving_track, frame_sequence, smooth_poses


def test_sequences():
    assert frame_sequence(4, 9, "ping-pong").tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert frame_sequence(4, 9, "replay").tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert frame_sequence(4, 9, "hold").tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 3]
    assert frame_sequence(1, 3, "ping-pong").tolist() == [0, 0, 0]
    for mode in ("ping-pong", "replay", "hold"):
        assert frame_sequence(4, 4, mode, first=5).tolist() == frame_sequence(4, 9, mode)[5:].tolist()


def test_smoothing_keeps_rotations_and_calms_them():
    rng = np.random.default_rng(0)
    poses = moving_poses(60)
    noise = Rotation.from_rotvec(0.02 * rng.standard_normal((60, 3))).as_matrix()
    shaken = poses.copy()
    shaken[:, :, :3] = noise @ poses[:, :, :3]
    calm = smooth_poses(shaken, 2.0)
    np.testing.assert_allclose(
        calm[:, :, :3] @ calm[:, :, :3].transpose(0, 2, 1), np.broadcast_to(np.eye(3), (60, 3, 3)), atol=1e-5
    )

    def shake(p):
        return np.abs(np.diff(p[:, :, :3], 2, axis=0)).mean()

    assert shake(calm) < 0.2 * shake(shaken)
    assert smooth_poses(shaken, 0.0) is shaken


def test_another_voice_keeps_the_portrait(tmp_path):
    track = write_talking_dataset(tmp_path / "d")
    driven = driving_track(track, np.zeros((50, 16, 80), np.float32))
    assert driven.num_frames == 50
    assert driven.landmarks is None
    np.testing.assert_array_equal(driven.camera_to_worlds[21], track.camera_to_worlds[21])
    np.testing.assert_array_equal(driven.camera_to_worlds[22], track.camera_to_worlds[20])
    assert (driven.camera, driven.digest) == (track.camera, track.digest)


@pytest.mark.parametrize("pose", ["ping-pong", "replay", "hold"])
@pytest.mark.parametrize("smoothing", [0.0, 1.0, 2.3])
def test_a_piece_equals_the_whole(tmp_path, pose, smoothing):
    track = write_talking_dataset(tmp_path / "d")
    body = np.random.default_rng(0).standard_normal((track.num_frames, 2, 3)).astype(np.float32)
    track = track.replace(body=body, eyes=np.linspace(0, 1, track.num_frames, dtype=np.float32)[:, None])
    audio = np.random.default_rng(1).standard_normal((90, 16, 80)).astype(np.float32)
    whole = driving_track(track, audio, pose, smoothing)
    for start, stop in ((0, 1), (2, 5), (20, 28), (60, 90), (89, 90)):
        piece = driving_track(track, audio[start:stop], pose, smoothing, first=start)
        for name in ("camera_to_worlds", "audio", "eyes", "body"):
            np.testing.assert_array_equal(getattr(piece, name), getattr(whole, name)[start:stop])


def test_the_track_does_not_depend_on_where_the_audio_ends(tmp_path):
    track = write_talking_dataset(tmp_path / "d")
    short, long = (driving_track(track, np.zeros((count, 16, 80), np.float32), smoothing=2.0) for count in (30, 60))
    np.testing.assert_array_equal(short.camera_to_worlds, long.camera_to_worlds[:30])
    # before the first frame the first pose is held: that of the smoothed recording
    np.testing.assert_allclose(short.camera_to_worlds[:8], smooth_poses(track.camera_to_worlds, 2.0)[:8], atol=1e-7)


def test_camera_path_is_read_by_nerfstudio(tmp_path):
    from nerfstudio.cameras.camera_paths import get_path_from_json

    track = write_talking_dataset(tmp_path / "d")
    path = json.loads(json.dumps(camera_path(track.camera, track.camera_to_worlds[2:12], track.times[2:12], track.fps)))
    cameras = get_path_from_json(path)
    assert len(cameras) / path["seconds"] == pytest.approx(25)
    np.testing.assert_allclose(cameras.times[:, 0], track.times[2:12], atol=1e-6)
    np.testing.assert_allclose(cameras.camera_to_worlds, track.camera_to_worlds[2:12], atol=1e-6)
    assert cameras.fx[0].item() == pytest.approx(track.camera.focal, rel=1e-4)
    assert (cameras.width[0].item(), cameras.height[0].item()) == (48, 48)


@pytest.mark.parametrize(("text", "expected"), [(None, (0, 9)), ("2:5", (2, 5)), ("2:", (2, 9)), (":50", (0, 9))])
def test_frame_ranges(text, expected):
    assert parse_frame_range(text, 9) == expected


@pytest.mark.parametrize("text", ["5", "a:b", "5:5", "-3:2", "12:"])
def test_bad_frame_ranges(text):
    with pytest.raises(TalkingError, match="--frames"):
        parse_frame_range(text, 9)
