"""The sample clip: tracker, parser and sync score must find its ground truth."""

import json

import numpy as np
import pytest
from helpers.paths import SAMPLE
from scipy.spatial.transform import Rotation

from nerfstudio_talking.audio.sync import estimate_offset
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.head_pose.bundle_adjustment import bundle_adjust
from nerfstudio_talking.face.head_shape import mean_shape, rigid_points
from nerfstudio_talking.face.measurements import lid_gap, lip_opening
from nerfstudio_talking.face.tracking import person_masks, track_faces
from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames
from nerfstudio_talking.process.parsing.clip_parsing import parse_clip


@pytest.fixture(scope="module")
def gt():
    with np.load(SAMPLE / "ground_truth.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def frames():
    return list(read_frames(SAMPLE / "sample.mp4"))


@pytest.fixture(scope="module")
def landmarks(frames):
    return track_faces(frames).landmarks


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def rotations(camera_to_worlds):
    return camera_to_worlds[:, :, :3].transpose(0, 2, 1).astype(np.float64)


def test_clip_is_small_and_complete():
    info = probe_video(SAMPLE / "sample.mp4")
    assert (info.width, info.height, info.fps, info.num_frames) == (256, 256, 25, 250)
    assert info.duration == pytest.approx(10)
    assert len(read_audio(SAMPLE / "sample.mp4")) / 16000 == pytest.approx(10, abs=0.04)
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 1_000_000


def test_gt_is_complete(gt):
    shapes = {name: value.shape for name, value in gt.items()}
    assert shapes == {
        "fps": (),
        "focal": (),
        "camera_to_worlds": (250, 3, 4),
        "lips": (250,),
        "rounding": (250,),
        "eyes": (250, 2),
        "torso_shift": (250, 2),
        "shape": (478, 3),
        "layer_frames": (10,),
        "layers": (10, 256, 256),
    }
    heads = rotations(gt["camera_to_worlds"])
    np.testing.assert_allclose(heads @ heads.transpose(0, 2, 1), np.broadcast_to(np.eye(3), heads.shape), atol=1e-6)
    assert np.linalg.norm(gt["shape"][33] - gt["shape"][263]) == pytest.approx(0.089, abs=1e-5)
    assert gt["eyes"].min() == 0 and gt["eyes"].max() <= 1


def test_lips_meet_in_silence_and_on_m_b_p(gt):
    phonemes = json.loads((SAMPLE / "voice.json").read_text("utf-8"))["phonemes"]
    starts = np.array([start for start, _ in phonemes] + [10.0])
    long_silences = [i for i, (_, s) in enumerate(phonemes) if s == "_" and starts[i + 1] - starts[i] > 0.3]
    assert len(long_silences) == 3
    for i in long_silences:
        inside = gt["lips"][int(np.ceil(starts[i] * 25)) + 3 : int(starts[i + 1] * 25) - 3]
        assert inside.max() < 0.005
    closers = [i for i, (_, s) in enumerate(phonemes) if s in ("m", "b", "p")]
    assert len(closers) >= 15
    least = [gt["lips"][int(starts[i] * 25) : int(starts[i + 1] * 25) + 1].min() for i in closers]
    assert np.median(least) < 0.01
    assert gt["lips"].max() > 0.2


def test_lips_and_eyes_are_found(landmarks, gt):
    assert np.isfinite(landmarks).all()
    gap = np.linalg.norm(landmarks[:, 13, :2] - landmarks[:, 14, :2], axis=1)
    width = np.linalg.norm(landmarks[:, 33, :2] - landmarks[:, 263, :2], axis=1)
    assert correlation(gap / width, gt["lips"]) > 0.95
    assert correlation(lip_opening(landmarks, gt["camera_to_worlds"]), gt["lips"]) > 0.95
    for side in range(2):
        assert correlation(lid_gap(landmarks)[:, side], gt["eyes"][:, side]) > 0.85


def test_gt_projects_onto_the_landmarks(landmarks, gt):
    """Rigid points under the true pose and focal length lie where the landmark network finds them."""
    shape = gt["shape"].astype(np.float64)
    rigid = rigid_points(shape)
    poses = gt["camera_to_worlds"].astype(np.float64)
    points = np.einsum("fpi,fij->fpj", shape[rigid] - poses[:, None, :, 3], poses[:, :, :3])
    seen = 128.0 + gt["focal"] * points[..., :2] * (1, -1) / -points[..., 2:]
    assert np.median(np.linalg.norm(seen - landmarks[:, rigid, :2], axis=-1)) < 1.5


def test_poses_are_found(landmarks, gt):
    """Rotations relative to the first frame, about each axis of the camera."""
    points = landmarks.astype(np.float64)
    shape = mean_shape(points)
    rigid = rigid_points(shape)
    poses = bundle_adjust(points[:, rigid, :2], shape[rigid], 256, 256)
    found, true = (
        Rotation.from_matrix(heads @ heads[0].T).as_rotvec(degrees=True)
        for heads in (rotations(poses.camera_to_worlds), rotations(gt["camera_to_worlds"]))
    )
    assert np.ptp(true, axis=0).min() > 7
    for axis, least in enumerate((0.9, 0.98, 0.95)):  # pitch, yaw, roll
        assert correlation(found[:, axis], true[:, axis]) > least
    assert np.abs(found - true).mean() < 2.5
    assert np.median(poses.error) < 0.8


def test_layers_are_found(frames, landmarks, gt):
    picks = gt["layer_frames"]
    few = [frames[i] for i in picks]
    masks = np.stack(list(person_masks(few)))
    parsed = np.stack(list(parse_clip(lambda: iter(few), landmarks[picks][..., :2], masks)))
    for found, true, least in (
        (parsed != CLASS_ID["background"], gt["layers"] > 0, 0.95),
        (parsed == CLASS_ID["cloth"], gt["layers"] == 1, 0.85),
    ):
        assert (found & true).sum() / (found | true).sum() > least


def test_audio_is_in_time(gt):
    samples = read_audio(SAMPLE / "sample.mp4")
    found = estimate_offset(gt["lips"], samples, 25.0)
    assert found.significant
    assert abs(found.lag_frames) <= 1
    late = np.concatenate([np.zeros(5 * 640, np.float32), samples])
    assert estimate_offset(gt["lips"], late, 25.0).lag_frames == pytest.approx(found.lag_frames + 5, abs=1)
