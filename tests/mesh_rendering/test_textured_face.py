"""The closed mesh, its references, and the rendered face."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.linear_face_model import FaceBasis, FaceModel, canonical_face
from nerfstudio_talking.mesh_rendering.rasterizer import signed_areas
from nerfstudio_talking.mesh_rendering.textured_face import (
    TexturedFace,
    choose_references,
    mesh_triangles,
    render_face,
    texture_positions,
)


def test_the_mesh_is_closed_over_eyes_and_mouth():
    triangles, skin = mesh_triangles()
    _, open_mesh = canonical_face()
    assert skin == len(open_mesh) + 2 * 14  # two eyes, rings of 16
    assert len(triangles) == skin + 18  # the mouth, a ring of 20
    edges = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    assert len(edges) == 3 * len(triangles)  # every edge is used at most once in each direction
    assert sum((b, a) not in edges for a, b in edges) == 36  # the outline of the face is the only border


def test_the_texture_layout_does_not_fold():
    triangles, skin = mesh_triangles()
    positions = texture_positions()
    assert (signed_areas(positions, triangles[:skin]) > 0).mean() > 0.97
    np.testing.assert_allclose([positions.min(0), positions.max(0)], [[2, 2], [254, 254]])


def test_references_have_the_nearest_pose_and_are_a_second_away():
    poses = np.zeros((100, 6))
    poses[:, 1] = np.tile(np.arange(50), 2) / 50
    assert (choose_references(poses, np.arange(100)) == (np.arange(100) + 50) % 100).all()
    assert choose_references(poses[:5], np.arange(4)).max() < 4  # a short sequence has none so far away


def test_the_face_is_rendered_where_the_camera_sees_it():
    points, _ = canonical_face()
    basis = FaceBasis(np.zeros((1, 478, 3)), np.zeros((478, 3)))
    texture = np.full((256, 256, 3), (200, 150, 120), np.uint8)
    face = TexturedFace(FaceModel(points, basis), texture, np.array((50, 0, 0), np.uint8))
    pose = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]])
    image = render_face(face, points, pose, PinholeCamera(300.0, 128, 128), np.zeros((128, 128, 3), np.uint8))
    nose = np.round((64 + 300 * points[1, 0] / 0.8, 64 - 300 * points[1, 1] / 0.8)).astype(int)
    assert image[nose[1], nose[0]].tolist() == [200, 150, 120]
    assert image[2, 2].tolist() == [0, 0, 0]
    opened = points.copy()
    opened[points[:, 1] < points[13, 1] - 1e-4] -= (0, 0.03, 0)  # all below the upper lip moves down
    lips = np.round((64, 64 - 300 * (points[13, 1] - 0.012) / 0.8)).astype(int)
    gaping = render_face(face, opened, pose, PinholeCamera(300.0, 128, 128), np.zeros((128, 128, 3), np.uint8))
    assert gaping[lips[1], lips[0]].tolist() == [50, 0, 0]
