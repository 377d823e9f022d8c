import numpy as np
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.depth_plane import intersect_depth_plane
from nerfstudio_talking.cameras.pinhole import PinholeCamera


def test_head_motion_drops_out():
    """Points fixed in the head at the lips' depth come back to where they are, whatever the pose."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.05, 0.05, (6, 2)), np.full((6, 1), 0.05)], 1)
    poses, landmarks = [], []
    for _ in range(4):
        rotation = Rotation.from_euler("yx", rng.uniform(-0.3, 0.3, 2)).as_matrix()
        position = rotation @ np.array([0.01, 0.02, 0.8])
        local = (points - position) @ rotation
        poses.append(np.concatenate([rotation, position[:, None]], 1))
        landmarks.append(np.stack([50 - 300 * local[:, 0] / local[:, 2], 40 + 300 * local[:, 1] / local[:, 2]], 1))
    found = intersect_depth_plane(np.array(landmarks), np.array(poses), PinholeCamera(300.0, 100, 80))
    np.testing.assert_allclose(found, np.broadcast_to(points[:, :2], found.shape), atol=1e-12)
