import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.image_plane import apply_affine, plane_positions
from nerfstudio_talking.cameras.pinhole import PinholeCamera


def camera(seed=0):
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_euler("xyz", rng.uniform(-0.3, 0.3, 3)).as_matrix()
    position = rotation @ np.array([0.02, -0.01, 0.8])
    return torch.from_numpy(np.concatenate([rotation, position[:, None]], 1))


def pixel_rays(pose, focal, width, height, pixels):
    local = torch.stack(
        [(pixels[:, 0] - width / 2) / focal, -(pixels[:, 1] - height / 2) / focal, -torch.ones(len(pixels))], -1
    )
    return pose[:, 3].expand(len(pixels), 3), local.double() @ pose[:, :3].T


def test_recorded_camera_lands_on_its_own_pixel_at_any_distance():
    pose, focal, width, height = camera(), 300.0, 100, 80
    pixels = torch.rand(20, 2) * torch.tensor([100.0, 80.0])
    origins, directions = pixel_rays(pose, focal, width, height, pixels)
    expected = pixels / torch.tensor([50.0, 40.0]) - 1
    for distance in (0.3, 0.8, 2.0):
        uv = plane_positions(
            origins, directions * 3, pose.expand(20, 3, 4), distance, PinholeCamera(focal, width, height)
        )
        torch.testing.assert_close(uv.float(), expected, atol=1e-5, rtol=0)


def test_moved_camera_sees_parallax():
    """A camera 0.1 m to the right sees the plane at 1 m through its centre 0.1 m to the right."""
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.0]])
    origin, direction = torch.tensor([[0.1, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    uv = plane_positions(origin, direction, pose[None], 1.0, PinholeCamera(200.0, 100, 100))
    # 0.1 m at 1 m and f = 200 px is 20 px: 0.4 of the half width of 50 px
    torch.testing.assert_close(uv, torch.tensor([[0.4, 0.0]]))


def test_ray_that_runs_away_is_far_outside_and_finite():
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.0]])
    uv = plane_positions(
        torch.tensor([[0.0, 0, 1]]), torch.tensor([[0.1, 0, 1.0]]), pose[None], 1.0, PinholeCamera(200.0, 100, 100)
    )
    assert torch.isfinite(uv).all()
    assert uv.abs().max() >= 10


def test_project_inverts_rays():
    pose, focal, width, height = camera(3), 300.0, 100, 80
    pixels = torch.rand(9, 2) * torch.tensor([100.0, 80.0])
    origins, directions = pixel_rays(pose, focal, width, height, pixels)
    view = PinholeCamera(focal, width, height)
    uv = view.uv(view.project(origins + 0.7 * directions, pose[None]))[0]
    torch.testing.assert_close(uv.float(), pixels / torch.tensor([50.0, 40.0]) - 1, atol=1e-5, rtol=0)


def test_affine_maps_and_their_inverse():
    motion = torch.tensor([[[0.0, -2.0, 0.5], [2.0, 0.0, -1.0]]])
    positions = torch.tensor([[1.0, 3.0]])
    torch.testing.assert_close(apply_affine(positions, motion), torch.tensor([[-5.5, 1.0]]))
    torch.testing.assert_close(apply_affine(apply_affine(positions, motion), motion, inverse=True), positions)
