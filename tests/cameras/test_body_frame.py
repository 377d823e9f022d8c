"""The body's rest frame."""

from __future__ import annotations

import numpy as np
import torch
from helpers.builders import moving_poses

from nerfstudio_talking.cameras.body_frame import middle_frame, portrait_box, to_body
from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera

CAMERA = PinholeCamera(300.0, 128, 96)


def test_nothing_moves_at_rest():
    pose = torch.from_numpy(moving_poses(5)[3])
    points = torch.rand(20, 3) * 0.2 - 0.1
    still = torch.eye(2, 3)
    out = to_body(points, pose.expand(20, 3, 4), still.expand(20, 2, 3), pose, CAMERA)
    torch.testing.assert_close(out, points, atol=1e-5, rtol=0)


def test_a_body_that_stands_still_before_the_camera_does_so_in_its_frame():
    """Points fixed to the camera, seen from two head poses, are one point of the body."""
    poses = torch.from_numpy(moving_poses(8)).double()
    local = torch.tensor([[0.05, -0.1, -0.8], [-0.1, -0.12, -0.9]]).double()
    still = torch.eye(2, 3).double().expand(2, 2, 3)
    out = []
    for pose in (poses[0], poses[4]):
        points = local @ pose[:, :3].T + pose[:, 3]
        out.append(to_body(points, pose.expand(2, 3, 4), still, poses[2], CAMERA))
    torch.testing.assert_close(out[0], out[1], atol=1e-6, rtol=0)


def test_the_bodys_motion_is_undone():
    """A moved position in the image and its position at rest are one point of the body."""
    pose = torch.from_numpy(moving_poses(3)[1])
    motion = torch.tensor([[1.05, 0.02, 0.1], [-0.03, 0.97, -0.2]])
    points = torch.tensor([[0.05, -0.1, 0.0], [-0.1, -0.15, 0.03]])
    inverse = to_body(points, pose.expand(2, 3, 4), motion.expand(2, 2, 3), pose, CAMERA)
    seen, rest = (CAMERA.uv(CAMERA.project(p, pose[None]))[0] for p in (points, inverse))
    torch.testing.assert_close(apply_affine(rest, motion.expand(2, 2, 3)), seen, atol=1e-4, rtol=0)
    depth = ((p - pose[:, 3]) @ pose[:, :3] for p in (points, inverse))
    a, b = (d[:, 2] for d in depth)
    torch.testing.assert_close(a, b)


def test_the_box_encloses_what_the_image_shows_of_the_body():
    poses = moving_poses(9)
    head = np.array([[-0.1, -0.12, -0.15], [0.1, 0.15, 0.1]])
    box = portrait_box(head, poses, CAMERA)
    assert (box[0] <= head[0]).all()
    assert (box[1] >= head[1] - 1e-9).all()
    for pose in poses:
        corner = np.array([-64 / 300, -48 / 300, -1.0]) * 0.8  # the image's lower left corner at the head's distance
        point = pose[:, :3] @ corner + pose[:, 3]
        assert (point[:2] >= box[0, :2] - 1e-6).all()


def test_middle_frame():
    poses = moving_poses(11)
    far = np.linalg.norm(poses[:, :, 3] - poses[:, :, 3].mean(0), axis=1)
    assert far[middle_frame(poses)] == far.min()
