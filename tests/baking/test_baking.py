"""The kernels that render a bake, against numpy and torch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from nerfstudio_talking.baking.kernels import BLOCK, blend, march
from nerfstudio_talking.baking.sparse_grid import sparse_grid_of
from nerfstudio_talking.model_components.renderers import intersect_box, ray_weights


def test_blend_is_a_matrix_product():
    rng = np.random.default_rng(0)
    rest = rng.standard_normal((3, BLOCK)).astype(np.float32)
    coefficients = rng.integers(-32767, 32767, (3, 5, BLOCK)).astype(np.int16)
    terms = rng.standard_normal((5, BLOCK)).astype(np.float32) / 32767
    out = np.empty_like(rest)
    blend(rest, coefficients, terms, out)
    np.testing.assert_allclose(out, rest + np.einsum("bki,ki->bi", coefficients.astype(np.float64), terms), atol=1e-5)


def march_columns(grid, pose, focal, box, values, samples, out):
    march(
        pose, np.float32(focal), box, grid.shape, grid.first, grid.offset, grid.ranges(), grid.bounds(),
        values, samples, out,
    )  # fmt: skip


def march_all(values, shape, pose, focal, box, samples, size):
    """The kernel on a grid whose cells are all there."""
    grid = sparse_grid_of(np.ones(shape, dtype=bool))
    out = np.empty((*size, 4), np.float32)
    flat = np.ascontiguousarray(values.reshape(-1, 4))
    march_columns(grid, pose, focal, box, flat, samples, out)
    return out


def test_march_through_even_fog():
    """Opacity of a slab of even density met head on: 1 - exp(-density * depth)."""
    shape, depth, density = (4, 4, 8), 0.2, 3.0
    box = np.array([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]], np.float32)
    pose = np.eye(3, 4, dtype=np.float32)
    pose[2, 3] = 1.0
    values = np.tile(np.array([np.log(density), 0.2, 0.4, 0.6], np.float32), (5 * 5 * 9, 1))
    out = march_all(values, shape, pose, 4000.0, box, 16, (5, 5))
    expected = 1 - np.exp(-density * depth)
    np.testing.assert_allclose(out[2, 2, 3], expected, rtol=1e-4)
    np.testing.assert_allclose(out[2, 2, :3], expected * np.array([0.2, 0.4, 0.6]), rtol=1e-4)


def test_march_agrees_with_torch():
    """A turned camera before random values: against grid_sample and the compositing that training uses."""
    rng = np.random.default_rng(1)
    shape, samples, size, focal = (5, 6, 7), 20, (9, 11), 20.0
    box = np.array([[-0.12, -0.1, -0.15], [0.1, 0.13, 0.12]], np.float32)
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    pose = np.concatenate([turn, turn @ np.array([[0.02], [0.01], [0.7]])], 1).astype(np.float32)
    values = rng.uniform([-2, 0, 0, 0], [4, 1, 1, 1], (6, 7, 8, 4)).astype(np.float32)
    out = march_all(values, shape, pose, focal, box, samples, size)

    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    local = np.stack([(columns - size[1] / 2) / focal, -(rows - size[0] / 2) / focal, -np.ones(size)], -1)
    directions = F.normalize(torch.from_numpy(local.reshape(-1, 3) @ pose[:, :3].T).float(), dim=-1)
    origins = torch.from_numpy(pose[:, 3]).expand_as(directions)
    corners = torch.from_numpy(box)
    near, far = intersect_box(origins, directions, corners)
    length = (far - near).clamp_min(0)
    distance = near[:, None] + (torch.arange(samples) + 0.5) / samples * length[:, None]
    points = origins[:, None] + distance[..., None] * directions[:, None]
    unit = (points - corners[0]) / (corners[1] - corners[0])
    grid = torch.from_numpy(values).permute(3, 2, 1, 0)[None]  # (1, channels, z, y, x)
    found = F.grid_sample(grid, (unit * 2 - 1)[None, None], align_corners=True)[0, :, 0].permute(1, 2, 0)
    weights = ray_weights(found[..., 0].exp(), (length / samples)[:, None].expand_as(distance))
    expected = torch.cat([(weights[..., None] * found[..., 1:]).sum(1), weights.sum(1, keepdim=True)], 1)
    assert expected[:, 3].max() > 0.5
    # rays end where a thousandth of the light is left
    np.testing.assert_allclose(out.reshape(-1, 4), expected.numpy(), atol=2e-3)


def test_empty_cells_are_skipped():
    shape = (4, 4, 4)
    box = np.array([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]], np.float32)
    pose = np.eye(3, 4, dtype=np.float32)
    pose[2, 3] = 1.0
    active = np.zeros(shape, dtype=bool)
    active[:, :, 1] = True  # one of four layers
    grid = sparse_grid_of(active)
    values = np.tile(np.array([np.log(10.0), 1, 1, 1], np.float32), (grid.num_vertices, 1))
    out = np.empty((3, 3, 4), np.float32)
    march_columns(grid, pose, 4000, box, values, 32, out)
    np.testing.assert_allclose(out[1, 1, 3], 1 - np.exp(-10.0 * 0.05), rtol=1e-4)
