"""Gaussians under rigid motions."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.splatting.gaussians import Gaussians, concatenate, rotate_covariances
from nerfstudio_talking.splatting.projection import covariances_of


def full(upper: torch.Tensor) -> torch.Tensor:
    xx, xy, xz, yy, yz, zz = upper.unbind(-1)
    return torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).view(-1, 3, 3)


def some(count: int) -> Gaussians:
    generator = torch.Generator().manual_seed(count)
    covariances = covariances_of(
        torch.randn(count, 4, generator=generator).double(), torch.rand(count, 3, generator=generator).double()
    )
    return Gaussians(
        torch.randn(count, 3, generator=generator).double(),
        covariances,
        torch.rand(count, generator=generator).double(),
        torch.rand(count, 3, generator=generator).double(),
    )


def test_covariances_rotate_as_matrices():
    covariances = some(20).covariances
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix())
    rotated = rotate_covariances(covariances, rotation)
    assert torch.allclose(full(rotated), rotation @ full(covariances) @ rotation.T, atol=1e-14)
    assert torch.allclose(rotate_covariances(rotated, rotation.T), covariances, atol=1e-14)


def test_a_rigid_motion_moves_means_and_keeps_the_rest():
    gaussians = some(5)
    rotation = torch.from_numpy(Rotation.from_rotvec([0.0, 0.0, torch.pi / 2]).as_matrix())
    moved = gaussians.transform(torch.cat([rotation, torch.tensor([[1.0], [2.0], [3.0]])], 1).double())
    x, y, z = gaussians.means.unbind(1)
    assert torch.allclose(moved.means, torch.stack([1 - y, 2 + x, 3 + z], 1))
    assert moved.colors is gaussians.colors
    assert moved.opacities is gaussians.opacities
    before, after = full(gaussians.covariances), full(moved.covariances)
    assert torch.allclose(after[:, 0, 0], before[:, 1, 1])
    assert torch.allclose(after[:, 0, 1], -before[:, 0, 1])


@pytest.mark.parametrize("counts", [(1,), (3, 0, 2)])
def test_groups_are_joined_in_order(counts):
    groups = [some(count) for count in counts]
    joined = concatenate(*groups)
    assert len(joined.means) == sum(counts)
    assert torch.equal(joined.colors, torch.cat([group.colors for group in groups]))
