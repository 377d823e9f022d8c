"""The sample clip against its truth: the tracker must find what was put in."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfstudio_talking.media import probe_video, read_audio, read_frames
from nerfstudio_talking.process.faces import track_faces
from nerfstudio_talking.process.head_shape import mean_shape, rigid_points
from nerfstudio_talking.process.measure import lid_gap, lip_opening
from nerfstudio_talking.process.pose import bundle_adjust

SAMPLE = Path(__file__).parent / "data/sample"


@pytest.fixture(scope="module")
def truth():
    with np.load(SAMPLE / "truth.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def landmarks():
    return track_faces(read_frames(SAMPLE / "sample.mp4")).landmarks


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def test_clip_is_small_and_whole():
    info = probe_video(SAMPLE / "sample.mp4")
    assert (info.width, info.height, info.fps) == (256, 256, 25)
    assert info.duration == pytest.approx(10)
    assert len(read_audio(SAMPLE / "sample.mp4")) / 16000 == pytest.approx(10, abs=0.04)
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 1_000_000


def test_lips_and_eyes_are_found(landmarks, truth):
    assert np.isfinite(landmarks).all()
    assert correlation(lip_opening(landmarks), truth["lips"]) > 0.95
    assert correlation(lid_gap(landmarks).mean(1), truth["eyes"]) > 0.85


def test_poses_are_found(landmarks, truth):
    """Turns relative to the first frame, about each axis of the photograph."""
    points = landmarks.astype(np.float64)
    shape = mean_shape(points)
    rigid = rigid_points(shape)
    poses = bundle_adjust(points[:, rigid, :2], shape[rigid], 256, 256)
    found = poses.camera_to_worlds[:, :, :3].transpose(0, 2, 1).astype(np.float64)  # head to camera
    true = truth["rotation"].astype(np.float64)
    angles = [Rotation.from_matrix(r @ r[0].T).as_rotvec(degrees=True) for r in (found, true)]
    assert correlation(angles[0][:, 0], angles[1][:, 0]) > 0.9  # pitch
    assert correlation(angles[0][:, 1], angles[1][:, 1]) > 0.98  # yaw
    assert correlation(angles[0][:, 2], angles[1][:, 2]) > 0.95  # roll
    assert np.abs(angles[0] - angles[1]).mean() < 2.5
    assert np.median(poses.error) < 0.8


def test_sound_is_in_time(truth):
    from nerfstudio_talking.audio.sync import estimate_offset

    samples = read_audio(SAMPLE / "sample.mp4")
    found = estimate_offset(truth["lips"], samples, 25.0)
    assert found.significant
    assert abs(found.lag_frames) <= 1
    late = np.concatenate([np.zeros(5 * 640, np.float32), samples])
    assert estimate_offset(truth["lips"], late, 25.0).lag_frames == pytest.approx(found.lag_frames + 5, abs=1)
