import torch

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.fields.torso_field import TorsoField


def test_the_torso_moves_as_the_body_does():
    """Without a learned deformation, the same torso is shown, moved by the body's motion."""
    references = torch.rand(2, 4, 32, 32)
    field = TorsoField(references, PinholeCamera(40.0, 32, 32), implementation="torch")
    for parameter in field.deform_net.parameters():
        torch.nn.init.zeros_(parameter)
    pose = torch.eye(4)[None, :3]
    pose[0, 2, 3] = 0.9
    still = torch.eye(2, 3)[None]
    moved = torch.tensor([[[1.02, 0.05, 0.1], [-0.03, 0.98, -0.05]]])
    field.set_rest(pose, still)
    positions, frame = torch.rand(50, 2) - 0.5, torch.zeros(50, dtype=torch.long)
    maps = field.reference_maps()
    at_rest = field(positions, pose, still, frame, maps)
    moved_torso = field(apply_affine(positions, moved.expand(50, -1, -1)), pose, moved, frame, maps)
    torch.testing.assert_close(moved_torso.rgb, at_rest.rgb, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(moved_torso.alpha, at_rest.alpha, atol=1e-4, rtol=1e-3)
