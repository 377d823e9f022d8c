import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.body_frame import to_body
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.fields.body_deformation import BodyDeformation

CAMERA = PinholeCamera(300.0, 128, 96)


def test_the_face_stays_and_the_chest_goes_with_the_body():
    rotated = np.eye(4, dtype=np.float32)[:3]
    rotated[:, :3] = Rotation.from_rotvec([0, 0.3, 0]).as_matrix()
    rotated[:, 3] = rotated[:, :3] @ [0, 0, 0.8]
    rest = np.eye(4, dtype=np.float32)[:3].copy()
    rest[2, 3] = 0.8
    box = torch.tensor([[-0.2, -0.3, -0.2], [0.2, 0.15, 0.1]])
    deformation = BodyDeformation(box, -0.1, torch.from_numpy(rest), CAMERA)
    condition = FrameCondition(
        torch.zeros(1, 6), torch.zeros(1, 2), torch.from_numpy(rotated)[None], torch.eye(2, 3)[None]
    )
    points = torch.tensor([[0.0, 0.05, 0.08], [0.1, -0.25, 0.0]])
    moved = deformation(points, torch.zeros(2, dtype=torch.long), condition)
    torch.testing.assert_close(moved.points[0], points[0], atol=1e-4, rtol=0)
    expected = to_body(points[1:], condition.poses, condition.body, torch.from_numpy(rest), CAMERA)
    torch.testing.assert_close(moved.points[1:], expected, atol=1e-4, rtol=0)
    assert moved.offset.abs().max() < 1e-6
