"""Torso references of a drawn person, and the choice of frames."""

import numpy as np
import pytest
from helpers.builders import draw_frame, moving_poses
from scipy.spatial.transform import Rotation

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.mesh_rendering.torso_layer import torso_image
from nerfstudio_talking.process.torso import spread_poses, torso_references


def test_poses_are_spread():
    angles = np.concatenate([np.linspace(-3, 3, 21), [25.0, -30.0]])
    poses = np.zeros((23, 3, 4), dtype=np.float32)
    poses[:, :, :3] = Rotation.from_euler("y", angles[:, None], degrees=True).as_matrix()
    poses[:, :, 3] = poses[:, :, :3] @ (0, 0, 0.8)
    chosen = spread_poses(poses, 3)
    assert set(chosen[1:]) == {21, 22}
    assert abs(angles[chosen[0]]) < 1.5
    np.testing.assert_array_equal(spread_poses(poses[:2], 3), [0, 1])


def test_references_of_a_clip():
    poses = moving_poses(20)
    drawn = [draw_frame(pose, 0.2, 64, 80.0) for pose in poses]
    images, frames = torso_references(lambda: (f for f, _ in drawn), lambda: (p for _, p in drawn), poses, count=3)
    assert images.shape == (3, 64, 64, 4)
    assert images.dtype == np.uint8
    assert frames.tolist() == sorted(set(frames.tolist()))
    np.testing.assert_array_equal(images[1], torso_image(*drawn[frames[1]]))
    with pytest.raises(TalkingError):
        torso_references(lambda: iter([]), lambda: iter([]), poses)
