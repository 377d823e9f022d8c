"""The torso fields: one interface, two torsos."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.fields.grid_torso_field import GridTorsoField
from nerfstudio_talking.fields.torso_field import ReferenceTorsoField, TorsoField

CAMERA = PinholeCamera(40.0, 32, 32)
STILL = torch.eye(2, 3)[None]
MOVED = torch.tensor([[[1.02, 0.05, 0.1], [-0.03, 0.98, -0.05]]])


def make_pose(x: float = 0.0) -> torch.Tensor:
    pose = torch.eye(4)[None, :3].clone()
    pose[0, :, 3] = torch.tensor([x, 0.0, 0.9])
    return pose


def make(kind: str) -> TorsoField:
    torch.manual_seed(0)
    if kind == "grid":
        return GridTorsoField(CAMERA, implementation="torch")
    return ReferenceTorsoField(torch.rand(2, 4, 32, 32), CAMERA, implementation="torch")


@pytest.mark.parametrize("kind", ["reference", "grid"])
def test_both_torsos_have_one_interface(kind):
    field = make(kind)
    poses, motions = torch.cat([make_pose(), make_pose(0.1)]), torch.cat([STILL, STILL])
    field.set_rest(poses, motions)
    torch.testing.assert_close(field.pose_code(poses, motions).mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    positions, frames = torch.rand(30, 2) * 2 - 1, torch.arange(30) % 2
    samples = field(positions, poses, motions, frames, field.reference_maps())
    assert (samples.rgb.shape, samples.alpha.shape, samples.offset.shape) == ((30, 3), (30, 1), (30, 2))
    for value in (samples.rgb, samples.alpha):
        assert value.min() >= 0 and value.max() <= 1
    # each position is of its own frame: alone it gives the same
    alone = field(positions[1:2], poses[1:], motions[1:], torch.zeros(1, dtype=torch.long), field.reference_maps())
    torch.testing.assert_close(alone.rgb, samples.rgb[1:2])


def test_the_reference_torso_moves_as_the_body_does():
    """Without a learned deformation, the same torso is shown, moved by the body's motion."""
    field = make("reference")
    for parameter in field.deform_net.parameters():
        torch.nn.init.zeros_(parameter)
    field.set_rest(make_pose(), STILL)
    positions, frame = torch.rand(50, 2) - 0.5, torch.zeros(50, dtype=torch.long)
    maps = field.reference_maps()
    at_rest = field(positions, make_pose(), STILL, frame, maps)
    moved = field(apply_affine(positions, MOVED.expand(50, -1, -1)), make_pose(), MOVED, frame, maps)
    torch.testing.assert_close(moved.rgb, at_rest.rgb, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(moved.alpha, at_rest.alpha, atol=1e-4, rtol=1e-3)


def test_the_grid_torso_does_not_know_the_body():
    field = make("grid")
    assert field.reference_maps() is None
    positions, frame = torch.rand(50, 2) - 0.5, torch.zeros(50, dtype=torch.long)
    assert torch.equal(
        field(positions, make_pose(), STILL, frame, None).rgb, field(positions, make_pose(), MOVED, frame, None).rgb
    )
    other = field(positions, make_pose(0.05), STILL, frame, None).rgb
    assert not torch.equal(other, field(positions, make_pose(), STILL, frame, None).rgb)
