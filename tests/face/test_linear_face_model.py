"""The linear face model: exact inverses, lip distance, depths from a rotating head."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.motions import make_face_model, sway_poses
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face import linear_face_model
from nerfstudio_talking.face.landmark_sets import CHIN_POINTS, LIP_POINTS
from nerfstudio_talking.face.linear_face_model import (
    FaceModel,
    camera_matrices,
    canonical_face,
    face_shapes,
    fit_face_basis,
    pose_vectors,
)
from nerfstudio_talking.face.measurements import lip_distance, lip_opening
from nerfstudio_talking.io.errors import TalkingError

CAMERA = PinholeCamera(600.0, 256, 256)


def test_canonical_face_is_a_surface():
    points, triangles = canonical_face()
    assert points.shape == (478, 3)
    assert np.linalg.norm(points[33] - points[263]) == pytest.approx(0.089, abs=1e-4)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # all wound the same way
    nose = points[triangles[(triangles == 4).any(1)]]
    assert np.cross(nose[:, 1] - nose[:, 0], nose[:, 2] - nose[:, 0])[:, 2].min() > 0


def test_poses_and_their_inverse():
    quarter = np.array([[[1.0, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.9]]])
    np.testing.assert_allclose(pose_vectors(quarter), [[0, 0, 0, -0.1, -0.2, -0.9]], atol=1e-12)
    # the head rotates by 90 degrees about y: its x axis points away from the camera, which stands on its left
    sideways = pose_vectors(camera_matrices(np.array([[0, np.pi / 2, 0, 0, 0, -1.0]])))
    np.testing.assert_allclose(camera_matrices(sideways)[0][:, 3], [-1, 0, 0], atol=1e-12)
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(-1, 1, (50, 3)), rng.uniform(-1, 1, (50, 3))], axis=1)
    np.testing.assert_allclose(pose_vectors(camera_matrices(pose)), pose, atol=1e-12)
    matrices = camera_matrices(pose)
    np.testing.assert_allclose(matrices[:, :, :3], Rotation.from_rotvec(-pose[:, :3]).as_matrix(), atol=1e-12)


def test_coefficients_and_their_inverse():
    face, shapes = make_face_model()
    rng = np.random.default_rng(2)
    coefficients, closure = rng.standard_normal((20, 5)), rng.random(20)
    np.testing.assert_allclose(face.encode(face.shapes(coefficients, closure)), coefficients, atol=1e-10)
    np.testing.assert_allclose(face.encode(face.mean[None]), np.zeros((1, 5)), atol=1e-12)
    seen = face.encode(shapes)
    np.testing.assert_allclose(seen.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)


def test_first_coefficient_alone_opens_the_lips():
    face, _ = make_face_model()
    distances = lip_distance(face.basis.components)
    assert distances[0] > 1e-4
    np.testing.assert_allclose(distances[1:], 0, atol=1e-12)
    two = face.shapes(np.array([[2.0, 1, -1, 3, 0.5]]))
    width = np.linalg.norm(face.mean[33] - face.mean[263])
    expected = max(lip_distance(two)[0], 0) / width
    assert face.lip_opening(np.array([[2.0, 1, -1, 3, 0.5]]))[0] == pytest.approx(expected)


def test_lip_opening_of_coefficients_is_that_of_the_landmarks():
    """From far away, so that perspective does not count, landmarks measure what the model says."""
    face, _ = make_face_model()
    coefficients = np.array([[3.0, 1, -1, 0, 0.5], [8.0, 0, 0, 0, 0]])
    pose = np.zeros((2, 6))
    pose[:, 5] = -100.0
    poses = camera_matrices(pose)
    landmarks = linear_face_model.landmarks_of_shapes(
        face.shapes(coefficients), poses, PinholeCamera(60000.0, 256, 256)
    )
    expected = lip_opening(landmarks, poses)
    assert expected.min() > 0
    np.testing.assert_allclose(face.lip_opening(coefficients), expected, rtol=0.01)


def test_more_components_explain_more():
    _, shapes = make_face_model()
    mouth = [*LIP_POINTS, *CHIN_POINTS]

    def error(count):
        face = FaceModel(shapes.mean(0), fit_face_basis([(shapes, np.zeros(60))], count))
        return np.abs(face.shapes(face.encode(shapes))[:, mouth] - shapes[:, mouth]).max()

    assert error(9) < 1e-8 < 1e-4 < error(4)  # eight directions and the opening
    with pytest.raises(ValueError, match="components"):
        fit_face_basis([(shapes[:5], np.zeros(5))], 9)


def test_shapes_come_back_from_the_image():
    face, _ = make_face_model()
    rng = np.random.default_rng(3)
    shapes = face.shapes(rng.standard_normal((6, 5)))
    shapes[:, :, 2] = face.mean[:, 2]
    poses = camera_matrices(sway_poses(6) + 0.1 * rng.standard_normal((6, 6)))
    image = linear_face_model.landmarks_of_shapes(shapes, poses, CAMERA)
    found = linear_face_model.shapes_at_depth(image, poses, CAMERA, face.mean[:, 2])
    np.testing.assert_allclose(found, shapes, atol=1e-9)


def test_depth_is_found_where_the_head_rotates():
    """A point 8 mm in front of the canonical face is found there when the head rotates; otherwise the prior stays."""
    points = canonical_face()[0].copy()
    points[4, 2] += 0.008
    pose = np.zeros((200, 6))
    pose[:, 5] = -0.9
    still = camera_matrices(pose)
    pose[:, 1] = 0.3 * np.sin(np.arange(200) / 7)
    rotating = camera_matrices(pose)
    depth = [
        linear_face_model.point_depths(
            linear_face_model.landmarks_of_shapes(np.repeat(points[None], 200, 0), poses, CAMERA),
            poses,
            CAMERA,
        )
        for poses in (still, rotating)
    ]
    assert depth[0][4] == pytest.approx(canonical_face()[0][4, 2], abs=1e-9)
    assert depth[1][4] == pytest.approx(points[4, 2], abs=0.002)


def test_shapes_need_facemesh_landmarks():
    poses = camera_matrices(sway_poses(3))
    for landmarks in (None, np.zeros((3, 68, 2), np.float32), np.full((3, 478, 2), np.nan, np.float32)):
        with pytest.raises(TalkingError, match="478 FaceMesh landmarks"):
            face_shapes(landmarks, poses, CAMERA)
