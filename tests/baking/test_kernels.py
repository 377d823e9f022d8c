"""Playback: the grid, its kernels, the fit, and that a bake shows what the portrait shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.rounding import assert_within, propagated_bound, rounding_bound

from nerfstudio_talking.baking.kernels import BLOCK, OPAQUE, blend, march
from nerfstudio_talking.baking.sparse_grid import sparse_grid_of
from nerfstudio_talking.model_components.renderers import intersect_box, ray_weights

HEAD_ON = np.eye(3, 4, dtype=np.float32), 4000.0, np.array([[-0.1, -0.1, -1.1], [0.1, 0.1, -0.9]], np.float32)
"""Pose, focal length and box: a metre from the box's middle."""


@pytest.mark.kernel
def test_blend_is_a_matrix_product():
    rng = np.random.default_rng(0)
    rest = rng.standard_normal((3, BLOCK)).astype(np.float32)
    coefficients = rng.integers(-32767, 32767, (3, 5, BLOCK)).astype(np.int16)
    terms = rng.standard_normal((5, BLOCK)).astype(np.float32) / 32767
    out = np.empty_like(rest)
    blend(rest, coefficients, terms, out)
    rest, coefficients, terms = (array.astype(np.float64) for array in (rest, coefficients, terms))
    magnitude = np.abs(rest) + np.einsum("bki,ki->bi", np.abs(coefficients), np.abs(terms))
    expected = rest + np.einsum("bki,ki->bi", coefficients, terms)
    assert_within(out, expected, rounding_bound(len(terms) + 2, magnitude))


def march_grid(grid, pose, focal, box, values, samples, out):
    march(
        pose, np.float32(focal), box, grid.shape, grid.first, grid.offset, grid.ranges(), grid.bounds(),
        values, samples, out,
    )  # fmt: skip


def march_all(values, shape, pose, focal, box, samples, size):
    """The kernel on a grid whose cells are all there."""
    grid = sparse_grid_of(np.ones(shape, dtype=bool))
    out = np.empty((*size, 4), np.float32)
    flat = np.ascontiguousarray(values.reshape(-1, 4))
    march_grid(grid, pose, focal, box, flat, samples, out)
    return out


def slab_bound(density, depth, distance, samples):
    """Largest error of the opacity of a slab met head on, whose front is `distance` away: 1 - exp(-density * depth).

    The depth is a difference of two distances. The density is an exponential of a logarithm that three
    interpolations make. Each sample multiplies the transmittance by an exponential.
    """
    optical_depth = density * depth
    of_depth = rounding_bound(8, optical_depth * (distance + depth) / depth)
    of_density = rounding_bound(16, optical_depth * (1 + abs(np.log(density))))
    return (of_depth + of_density) * np.exp(-optical_depth) + rounding_bound(4 * samples, 1.0)


@pytest.mark.kernel
def test_march_through_even_fog():
    """Opacity of a slab of even density met head on: 1 - exp(-density * depth)."""
    shape, depth, density = (4, 4, 8), 0.2, 3.0
    values = np.tile(np.array([np.log(density), 0.2, 0.4, 0.6], np.float32), (5 * 5 * 9, 1))
    out = march_all(values, shape, *HEAD_ON, 16, (5, 5))
    expected = 1 - np.exp(-density * depth)
    bound = slab_bound(density, depth, 0.9, 16)
    assert_within(out[2, 2], expected * np.array([0.2, 0.4, 0.6, 1]), bound)


@pytest.mark.kernel
@pytest.mark.parametrize("densest", [4.0, 7.0])
def test_march_agrees_with_torch(densest):
    """A turned camera before random values: against grid_sample and the compositing that training uses, in double."""
    rng = np.random.default_rng(1)
    shape, samples, size, focal = (5, 6, 7), 20, (9, 11), 20.0
    box = np.array([[-0.12, -0.1, -0.15], [0.1, 0.13, 0.12]], np.float32)
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    pose = np.concatenate([turn, turn @ np.array([[0.02], [0.01], [0.7]])], 1).astype(np.float32)
    values = rng.uniform([-2, 0, 0, 0], [densest, 1, 1, 1], (6, 7, 8, 4)).astype(np.float32)
    out = march_all(values, shape, pose, focal, box, samples, size)

    pose, corners = pose.astype(np.float64), torch.from_numpy(box).double()
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    local = np.stack([(columns - size[1] / 2) / focal, -(rows - size[0] / 2) / focal, -np.ones(size)], -1)
    directions = F.normalize(torch.from_numpy(local.reshape(-1, 3) @ pose[:, :3].T), dim=-1)
    origins = torch.from_numpy(pose[:, 3]).expand_as(directions)
    near, far = intersect_box(origins, directions, corners)
    length = (far - near).clamp_min(0)
    deltas = (length / samples)[:, None].repeat(1, samples).requires_grad_()
    distance = near[:, None] + (torch.arange(samples) + 0.5) / samples * length[:, None]
    points = (origins[:, None] + distance[..., None] * directions[:, None]).requires_grad_()
    unit = (points - corners[0]) / (corners[1] - corners[0])
    grid = torch.from_numpy(values).double().permute(3, 2, 1, 0)[None]  # (1, channels, z, y, x)
    found = F.grid_sample(grid, (unit * 2 - 1)[None, None], align_corners=True)[0, :, 0].permute(1, 2, 0)
    weights = ray_weights(found[..., 0].exp(), deltas)
    expected = torch.cat([(weights[..., None] * found[..., 1:]).sum(1), weights.sum(1, keepdim=True)], 1)
    assert expected[:, 3].max() > 0.5

    # a direction errs by 6 roundings; a distance to a face, (face - origin) / direction, by as many over the cosine
    # and 3 of its own. What a ray's length or a sample's place has of both, counts from the box's far end
    reach = far[:, None] * (3 + 6 / least_cosine(origins, directions, corners)[:, None])
    of_points = rounding_bound(3, reach[..., None]).expand_as(points)
    of_deltas = rounding_bound(2, reach / samples).expand_as(deltas)
    # eight corners, each times three weights of up to three operations
    of_found = rounding_bound(8 + 9, torch.full_like(found, float(np.abs(values).max())))
    bound = propagated_bound(expected, [(points, of_points), (deltas, of_deltas), (found, of_found)])
    # a sample multiplies the transmittance by an exponential, and adds its share of the light
    bound += rounding_bound(4 * samples, 1.0)
    # a ray ends where a thousandth of the light is left
    ended = expected[:, 3:] > 1 - OPAQUE - bound[:, 3:]
    assert bool(ended.any()) == (densest > 4)
    assert_within(out.reshape(-1, 4), expected, bound + ended * OPAQUE)


def least_cosine(origins, directions, box):
    """Of the angles between a ray and the normals of the two faces where it enters and leaves the box."""
    a, b = (box[0] - origins) / directions, (box[1] - origins) / directions
    axes = torch.stack([torch.minimum(a, b).argmax(-1), torch.maximum(a, b).argmin(-1)], -1)
    return directions.abs().gather(1, axes).amin(1)


@pytest.mark.kernel
def test_empty_cells_are_skipped():
    shape = (4, 4, 4)
    active = np.zeros(shape, dtype=bool)
    active[:, :, 1] = True  # one of four layers
    grid = sparse_grid_of(active)
    values = np.tile(np.array([np.log(10.0), 1, 1, 1], np.float32), (grid.num_vertices, 1))
    out = np.empty((3, 3, 4), np.float32)
    march_grid(grid, *HEAD_ON, values, 32, out)
    assert_within(out[1, 1, 3], 1 - np.exp(-10.0 * 0.05), slab_bound(10.0, 0.05, 1.05, 32))
