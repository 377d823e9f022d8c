"""Rendering of a volume: what the occupancy grid saves, and rays that meet nothing."""

from __future__ import annotations

import torch

from nerfstudio_talking.field_components.conditioning import FrameCondition
from nerfstudio_talking.fields.body_deformation import DeformedPoints
from nerfstudio_talking.fields.conditioned_field import VolumeSamples
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
from nerfstudio_talking.model_components.volume_renderer import FrameRays, render_volume


class AnalyticField(torch.nn.Module):
    """A ball of radius 0.06 m with a soft surface: what a trained volume looks like, without the training."""

    parsing_branch = False

    def __init__(self):
        super().__init__()
        self.box = torch.tensor([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]])
        self.regions = {"audio": None}
        self.semantic_layer = torch.nn.Linear(1, 2)
        self.evaluated = 0

    def forward(self, points, directions, conditions):
        self.evaluated += len(points)
        radius = points.norm(dim=-1)
        density = 800 * torch.sigmoid((0.06 - radius) / 0.002)
        rgb = 0.5 + 0.5 * torch.sin(points * 80)
        return VolumeSamples(density, rgb, points.new_zeros(len(points), 2), {"audio": points.new_ones(len(points), 1)})


def parallel_rays(side: int, half_width: float) -> FrameRays:
    """Rays along -z through a square of the plane z = 0.8."""
    grid = ((torch.arange(side) + 0.5) / side * 2 - 1) * half_width
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    origins = torch.stack([x.flatten(), y.flatten(), torch.full((side**2,), 0.8)], -1)
    condition = FrameCondition(torch.zeros(1, 6), torch.zeros(1, 2), torch.eye(3, 4)[None], torch.eye(2, 3)[None])
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand_as(origins)
    return FrameRays(origins, directions, condition, torch.zeros(len(origins), dtype=torch.long), origins[:, :2])


def test_occupancy_changes_nothing_but_the_cost():
    """The pruned rendering is that of dense sampling within 0.1 dB, from less than a quarter of the samples."""
    torch.manual_seed(0)
    field, occupancy = AnalyticField(), OccupancyGrid(48, threshold=0.02)
    side = 64
    rays = parallel_rays(side, 0.1)
    dense = render_volume(field, occupancy, rays, 48, training=False)["color"]  # type: ignore[arg-type]
    all_samples = field.evaluated
    assert all_samples == side**2 * 48
    for _ in range(4):
        for _ in range(8):
            render_volume(field, occupancy, rays, 48, training=True)  # type: ignore[arg-type]
        occupancy.refresh()
    field.evaluated = 0
    pruned = render_volume(field, occupancy, rays, 48, training=False)["color"]  # type: ignore[arg-type]
    assert field.evaluated < all_samples / 4
    # against an image whose error is as large as a good portrait's, 33 dB, the two score alike
    gt = dense + 10 ** (-33 / 20) * torch.randn_like(dense)
    scores = [-10 * torch.log10((image - gt).square().mean()) for image in (dense, pruned)]
    assert abs(float(scores[0] - scores[1])) < 0.1
    assert -10 * torch.log10((dense - pruned).square().mean()) > 50


def test_depth_and_its_variance_are_those_of_the_surface():
    torch.manual_seed(0)
    field, occupancy = AnalyticField(), OccupancyGrid(8)
    rays = parallel_rays(1, 0.0)
    outputs = render_volume(field, occupancy, rays, 512, training=True)  # type: ignore[arg-type]
    assert abs(float(outputs["accumulation"]) - 1) < 1e-4
    assert abs(float(outputs["depth"]) - (0.8 - 0.06)) < 2e-3
    # about 1 / 800 m from the surface on, in units of a box of 0.2 m
    assert 0 < float(outputs["depth_variance"]) < (0.004 / 0.2) ** 2


def test_rays_past_everything_have_all_outputs():
    field, occupancy = AnalyticField(), OccupancyGrid(8)

    def deform(points, frame, condition):
        share = torch.full_like(points[:, :1], 0.25)
        return DeformedPoints(points, share, 0.1 * torch.ones_like(points))

    hit, past = parallel_rays(4, 0.05), parallel_rays(4, 0.05)
    past.origins = past.origins + 1.0
    for training in (True, False):
        outputs = [render_volume(field, occupancy, rays, 16, training, deform) for rays in (hit, past)]  # type: ignore[arg-type]
        assert outputs[0].keys() == outputs[1].keys()
        for name, value in outputs[0].items():
            assert outputs[1][name].shape == value.shape, name
            assert not outputs[1][name].any(), name
        torch.testing.assert_close(outputs[0]["body"], 0.25 * outputs[0]["accumulation"])
        torch.testing.assert_close(outputs[0]["squared_offset"], 0.03 * outputs[0]["accumulation"])
