"""The depth prior of a head, on a sphere whose depths are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.builders import moving_poses

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.mesh_rendering.head_surface import HeadSurface
from nerfstudio_talking.model_components.surface_prior import SurfacePrior

_RADIUS = 0.1


@pytest.fixture
def prior() -> SurfacePrior:
    """A sphere of 0.1 m about the head's origin, seen by a turned camera; the mesh covers its upper half."""
    camera, pose = PinholeCamera(200.0, 64, 48), moving_poses(6)[4].astype(np.float64)
    rows, columns = np.mgrid[:48, :64]
    rays = camera.unproject(np.stack([columns, rows], -1).reshape(-1, 2) + 0.5).reshape(48, 64, 3)
    centre = -pose[:, :3].T @ pose[:, 3]  # of the sphere in the camera
    a, b, c = (rays**2).sum(-1), -2 * rays @ centre, centre @ centre - _RADIUS**2
    root = b**2 - 4 * a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), 0.0)  # rays have unit depth
    mask = root > 0
    on_mesh = mask & (rows < 24)
    return SurfacePrior(HeadSurface(depth.astype(np.float32), mask, on_mesh, pose, camera, None))


def points_towards_the_camera(prior: SurfacePrior, radius: float) -> torch.Tensor:
    """Points at a distance from the head's origin, about the line to the camera: above it and below it."""
    axis = prior.pose[:, 2]
    tilted = torch.stack([axis + 0.2 * prior.pose[:, 1], axis - 0.2 * prior.pose[:, 1]])
    return radius * tilted / tilted.norm(dim=1, keepdim=True)


def test_distances_behind_a_sphere(prior):
    for radius in (0.08, 0.1, 0.13):
        distance, tolerance, known = prior.behind(points_towards_the_camera(prior, radius))
        assert known.all()
        # along the optical axis through the point, at 0.2 / sqrt(1.04) of its radius from the middle
        aside = radius * 0.2 / 1.04**0.5
        expected = (_RADIUS**2 - aside**2) ** 0.5 - radius / 1.04**0.5
        torch.testing.assert_close(distance, torch.full((2,), expected), atol=2e-3, rtol=0)
        assert tolerance.tolist() == pytest.approx([0.004, 0.012])


def test_loss_and_gradient(prior):
    points = points_towards_the_camera(prior, 0.14).requires_grad_()
    loss = prior(points, torch.ones(2))
    excess = prior.behind(points.detach())[0].abs() - torch.tensor([0.004, 0.012])
    torch.testing.assert_close(loss, (excess / 0.05).square().mean())
    loss.backward()
    # downhill is away from the camera: the points lie in front
    assert bool((points.grad @ prior.pose[:, 2] > 0).all())
    only_first = prior(points.detach(), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(only_first, (excess[0] / 0.05).square())


def test_what_lies_elsewhere_does_not_count(prior):
    aside = torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.0, 5.0]])  # outside the head's outline, and behind the camera
    assert not prior.behind(aside)[2].any()
    assert float(prior(aside, torch.ones(2))) == 0
    far = points_towards_the_camera(prior, 0.25)
    assert float(prior(far, torch.ones(2))) == 1  # bounded
    assert float(prior(far, torch.zeros(2))) == 0
