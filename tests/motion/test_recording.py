from __future__ import annotations

import numpy as np
import pytest
from helpers.builders import write_talking_dataset
from helpers.motions import write_sample_motion
from helpers.paths import SAMPLE

from nerfstudio_talking.face.linear_face_model import FaceModel, fit_face_basis, pose_vectors
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.recording import load_recording, resample_curve


def test_a_recording_holds_poses_and_lips_of_the_dataset(tmp_path):
    folder = write_sample_motion(tmp_path / "sample")
    recording = load_recording(folder)
    with np.load(SAMPLE / "ground_truth.npz") as gt:
        np.testing.assert_allclose(recording.pose, pose_vectors(gt["camera_to_worlds"]), atol=1e-6)
        face = FaceModel(recording.shapes.mean(0), fit_face_basis([(recording.shapes, recording.closure)], 4))
        opening = face.lip_opening(face.encode(recording.shapes))
        assert np.corrcoef(opening, gt["lips"])[0, 1] > 0.99
    assert recording.patches.shape == (250, 28, 12)
    short = load_recording(folder, 100)
    assert short.num_frames == 100
    np.testing.assert_allclose(short.pose, recording.pose[:100])
    with pytest.raises(TalkingError, match="400 frames"):
        load_recording(folder, 400)


def test_other_landmarks_and_short_clips_are_refused(talking_dataset, tmp_path):
    with pytest.raises(TalkingError, match="expected 64 frames; found 22"):
        load_recording(talking_dataset)
    write_talking_dataset(tmp_path / "d", frames=70)
    with pytest.raises(TalkingError, match="478 FaceMesh landmarks"):
        load_recording(tmp_path / "d")


def test_curves_are_resampled_between_the_middles_of_frames():
    np.testing.assert_allclose(
        resample_curve(np.arange(5.0), 25, 50, 10), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]
    )
