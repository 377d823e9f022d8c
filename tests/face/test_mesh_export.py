from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.linear_face_model import camera_matrices, canonical_face, landmarks_of_shapes
from nerfstudio_talking.face.mesh_export import draw_mesh, write_mesh
from nerfstudio_talking.io.errors import TalkingError


def test_meshes_are_written_and_drawn(tmp_path):
    points, triangles = canonical_face()
    for name in ("face.ply", "face.obj"):
        write_mesh(points, tmp_path / name)
        mesh = trimesh.load(tmp_path / name, process=False)
        np.testing.assert_allclose(mesh.vertices, points[:468], atol=1e-6)
        assert len(mesh.faces) == len(triangles)
    with pytest.raises(TalkingError, match=r"\.ply or \.obj"):
        write_mesh(points, tmp_path / "face.stl")
    black = np.zeros((200, 256, 3), np.uint8)
    pose = camera_matrices(np.array([[0.0, 0, 0, 0, 0, -0.9]]))[0]
    drawn = draw_mesh(black, points, pose, PinholeCamera(900.0, 256, 200))
    assert black.max() == 0
    seen = landmarks_of_shapes(points[None], pose[None], PinholeCamera(900.0, 256, 200))[0]
    rows, columns = np.nonzero(drawn.max(2))
    assert columns.min() == pytest.approx(seen[:468, 0].min(), abs=2.5)
    assert rows.max() == pytest.approx(seen[:468, 1].max(), abs=2.5)
    column, row = seen[4].astype(int)
    assert drawn[row - 1 : row + 2, column - 1 : column + 2].max() > 100
