from itertools import islice

import numpy as np
import pytest
from helpers.paths import needs_clips, shared_file
from scipy.spatial.transform import Rotation

from nerfstudio_talking.face.head_shape import EYE_CORNER_DISTANCE, mean_shape, rigid_points, to_head_frame
from nerfstudio_talking.face.linear_face_model import canonical_face


def test_mean_shape_undoes_rotation_and_scale():
    rng = np.random.default_rng(1)
    true = to_head_frame(rng.normal(size=(478, 3)))
    clip = []
    for yaw in np.linspace(-20, 20, 9):
        rotation = Rotation.from_euler("yx", [yaw, yaw / 3], degrees=True)
        seen = rotation.apply(true) * (300 + 5 * yaw) + (200, -220, 0)
        clip.append(seen * (1, -1, -1))
    np.testing.assert_allclose(mean_shape(np.array(clip)), true, atol=1e-5)
    assert np.linalg.norm(true[263] - true[33]) == pytest.approx(EYE_CORNER_DISTANCE)
    assert true[[33, 263]].mean(axis=0) == pytest.approx([0.0, 0.027, 0.032])


@pytest.fixture(scope="module")
def real_shape():
    """The mean face of a real clip."""
    from nerfstudio_talking.face.tracking import track_faces
    from nerfstudio_talking.media.reading import read_frames

    landmarks = track_faces(islice(read_frames(shared_file("clips/obama.mp4")), 5)).landmarks
    return mean_shape(landmarks.astype(np.float64))


def check_rigid_points(shape):
    rigid = set(rigid_points(shape).tolist())
    assert 100 < len(rigid) < 300
    assert not rigid & {13, 14, 61, 291, 0, 17, 152, 148, 172, 397}  # lips, chin, jaw
    assert not rigid & {159, 145, 386, 374, 105, 334, 468, 473}  # lids, brows, irises
    assert rigid >= {1, 4, 6, 168, 10, 197}  # nose and forehead


def test_rigid_points_leave_mouth_lids_and_brows_out():
    check_rigid_points(canonical_face()[0])


@needs_clips("clips/obama.mp4")
def test_rigid_points_of_a_real_face(real_shape):
    check_rigid_points(real_shape)
