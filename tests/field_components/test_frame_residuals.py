"""Corrections of single frames."""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.field_components.frame_residuals import FrameResiduals, rotation_of


def test_rotations_are_scipys_and_differentiable_at_zero():
    vector = torch.tensor([0.3, -0.2, 0.5], dtype=torch.double)
    assert torch.allclose(rotation_of(vector), torch.from_numpy(Rotation.from_rotvec(vector.numpy()).as_matrix()))
    assert torch.equal(rotation_of(torch.zeros(3)), torch.eye(3))
    assert torch.autograd.gradcheck(rotation_of, torch.zeros(3, dtype=torch.double, requires_grad=True))
    assert torch.autograd.gradcheck(rotation_of, vector.clone().requires_grad_())


def test_a_frame_is_refined_by_its_own_row():
    residuals = FrameResiduals(3, 4)
    pose, body = torch.eye(3, 4) + 0.1, torch.eye(2, 3)
    for frame in range(3):
        same_pose, same_body = residuals.refine(pose, body, torch.tensor(frame))
        assert torch.equal(same_pose, pose)
        assert torch.equal(same_body, body)
    with torch.no_grad():
        residuals.head[1] = torch.tensor([0.0, 0.0, torch.pi / 2, 1.0, 2.0, 3.0])
        residuals.body[1, 0, 2] = 0.25
    moved, shifted = residuals.refine(pose, body, torch.tensor(1))
    x, y, z = pose.unbind(0)
    expected = torch.stack([-y, x, z])
    expected[:, 3] += torch.tensor([1.0, 2.0, 3.0])
    assert torch.allclose(moved, expected, atol=1e-6)
    assert shifted[0, 2].item() == 0.25
    assert torch.equal(residuals.refine(pose, body, torch.tensor(2))[0], pose)
