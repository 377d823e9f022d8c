"""Hash planes: torch, numba and Triton against numpy in double precision."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.rounding import assert_within, rounding_bound

from nerfstudio_talking.field_components.hash_planes import HashPlanes, fastest_on, level_resolutions, planes_torch

ON_CPU = ("torch", "numba")
OPTIONS = [
    ({}, 3),
    ({"num_planes": 1, "features_per_level": 2}, 2),
    ({"features_per_level": 3, "num_levels": 4}, 3),
    ({"num_levels": 1}, 3),
    ({"log2_table_size": 8}, 3),
]


def make(implementation, dtype=torch.float32, **options):
    torch.manual_seed(0)
    planes = HashPlanes(implementation=implementation, **options).to(dtype)
    with torch.no_grad():
        planes.table.copy_(torch.randn_like(planes.table))
    return planes


def draw_points(count, dim, dtype=torch.float32):
    """Points of which a tenth lies outside, and some on the edges of cells and of the square.

    They are multiples of 2^-14: times a resolution of up to 2^9 they are exact in 24 bits, so that every
    implementation finds the same cells and the same positions in them.
    """
    random = torch.Generator().manual_seed(2)
    points = torch.randint(-819, 2**14 + 819, (count, dim), generator=random).double() / 2**14
    points[: count // 8] = (points[: count // 8] * 64).round() / 64
    points[: count // 16] = points[: count // 16].round()
    return points.to(dtype)


def reference(table, coords, resolutions, offsets, grad, dtype):
    """Features, the gradients of table and coordinates, and a bound of each where `dtype` computes them.

    Mueller et al., SIGGRAPH 2022: equation 4 for the hash, bilinear interpolation of a cell's four corners. A scaled
    coordinate is rounded to the coordinate's own type, which matters in half precision alone.
    """
    table, coords, resolutions, offsets, grad = (
        array.detach().cpu() for array in (table, coords, resolutions, offsets, grad)
    )
    scale = (coords.double().clamp(0, 1)[..., None] * resolutions).to(coords.dtype).double().numpy()
    table, coords, grad = (array.double().numpy() for array in (table, coords, grad))
    resolutions, offsets = resolutions.tolist(), offsets.tolist()
    num_planes, num_entries, num_features = table.shape
    num_levels = len(resolutions)
    out = np.zeros((len(coords), num_planes, num_levels, num_features))
    to_table, to_coords = np.zeros(table.shape), np.zeros(coords.shape)
    magnitudes = [np.zeros(array.shape) for array in (out, to_table, to_coords)]
    count = np.zeros((num_planes, num_entries))
    upstream = grad.reshape(out.shape)
    for p in range(num_planes):
        for level, res in enumerate(resolutions):
            size = offsets[level + 1] - offsets[level]
            scaled = scale[:, p, :, level]
            corner = np.minimum(np.floor(scaled), res - 1).astype(np.int64)
            (u, v), (du, dv) = (scaled - corner).T, np.where((coords[:, p] >= 0) & (coords[:, p] <= 1), res, 0).T
            for dx, dy in np.ndindex(2, 2):
                x, y = corner[:, 0] + dx, corner[:, 1] + dy
                hashed = (x ^ (y * 2654435761)) % size
                entry = offsets[level] + (y * (res + 1) + x if (res + 1) ** 2 <= size else hashed)
                along_x, along_y = (u if dx else 1 - u), (v if dy else 1 - v)
                corners, g = table[p, entry], upstream[:, p, level]
                out[:, p, level] += (along_x * along_y)[:, None] * corners
                np.add.at(to_table[p], entry, (along_x * along_y)[:, None] * g)
                slopes = (g * corners).sum(1)
                to_coords[:, p, 0] += du * (2 * dx - 1) * along_y * slopes
                to_coords[:, p, 1] += dv * (2 * dy - 1) * along_x * slopes
                # no weight is above one, and an implementation may get a weight as a difference of two others
                magnitudes[0][:, p, level] += np.abs(corners)
                np.add.at(magnitudes[1][p], entry, np.abs(g))
                magnitudes[2][:, p] += np.stack([du, dv], 1) * np.abs(g * corners).sum(1, keepdims=True)
                np.add.at(count[p], entry, 1)
    # at most 8 operations make a term of a corner
    bounds = [
        rounding_bound(8 + 4, magnitudes[0], dtype),
        rounding_bound(8 + count[..., None], magnitudes[1], dtype),
        rounding_bound(8 + 4 + num_levels * num_features, magnitudes[2], dtype),
    ]
    return (out.reshape(grad.shape), to_table, to_coords), (bounds[0].reshape(grad.shape), *bounds[1:])


def check(implementation, options, dim, count, dtype, device="cpu", point_dtype=None):
    """Compare an implementation's features and gradients with the reference."""
    planes = make(implementation, dtype, **options).to(device)
    points = draw_points(count, dim, point_dtype or dtype).to(device)
    coords = torch.stack([points[:, :2], points[:, 1:], points[:, ::2]], 1) if dim == 3 else points[:, None]
    table, positions = planes.table.detach().clone().requires_grad_(), coords.clone().requires_grad_()
    out = lookup(implementation)(table, positions, planes.resolutions, planes.offsets)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
    out.backward(grad)
    # a kernel computes halves in single precision and rounds what it returns
    computing = torch.promote_types(out.dtype, torch.float32)
    expected, bounds = reference(table, coords, planes.resolutions, planes.offsets, grad, computing)
    for found, result, bound in zip((out, table.grad, positions.grad), expected, bounds, strict=True):
        if found.dtype != computing:
            bound = bound + rounding_bound(1, np.abs(result) + torch.finfo(found.dtype).tiny, found.dtype)
        assert_within(found, result, bound)
    assert out.dtype == torch.promote_types(dtype, points.dtype)
    assert table.grad.dtype == dtype


def lookup(implementation):
    if implementation == "triton":
        from nerfstudio_talking.field_components.kernels.hash_planes_triton import planes_triton

        return planes_triton
    from nerfstudio_talking.field_components.hash_planes import _NumbaPlanes

    return {"torch": planes_torch, "numba": _NumbaPlanes.apply}[implementation]


def test_sizes_are_those_of_er_nerf():
    assert level_resolutions(12, 64, 512) == [64, 78, 94, 113, 137, 165, 199, 241, 291, 351, 424, 512]
    assert HashPlanes().table.shape == (3, 163584, 1)
    assert HashPlanes().out_dim == 36


@pytest.mark.kernel
@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("options", "dim"), OPTIONS)
@pytest.mark.parametrize("count", [0, 1, 1237])
def test_features_and_gradients(implementation, options, dim, count, dtype):
    check(implementation, options, dim, count, dtype)


@pytest.mark.kernel
def test_features_are_continuous_where_a_position_is_rounded():
    """Points between the multiples of 2^-14: the position in a cell errs by the resolution times epsilon, and may round
    into the next cell. A feature's slope is at most the difference of two entries for each axis."""
    points = torch.rand(1237, 3, generator=torch.Generator().manual_seed(5)) * 1.1 - 0.05
    greatest = make("torch").table.detach().abs().max().double()
    with torch.no_grad():
        planes = make("torch").double()
        expected = planes(points.double())
        bound = rounding_bound(planes.resolutions.repeat(3), 4 * greatest) + rounding_bound(12, 4 * greatest)
        for implementation in ON_CPU:
            assert_within(make(implementation)(points), expected, bound)


def test_gradients_in_double():
    planes = make("torch", torch.float64, num_levels=2, base_resolution=3, max_resolution=7, log2_table_size=5)
    points = torch.rand(5, 3, dtype=torch.float64)
    coords = torch.stack([points[:, :2], points[:, 1:], points[:, ::2]], 1).requires_grad_()
    table = planes.table.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t, c: planes_torch(t, c, planes.resolutions, planes.offsets), (table, coords)
    )


def test_wrong_number_of_planes():
    with pytest.raises(ValueError, match="1 or 3"):
        HashPlanes(num_planes=2)


def test_auto_and_wrong_device():
    assert fastest_on(torch.device("cpu")) == "numba"
    assert fastest_on(torch.device("meta")) == "torch"
    with pytest.raises(ValueError, match="CUDA tensors"):
        HashPlanes(implementation="triton")(torch.rand(2, 3))


@pytest.mark.parametrize(("dim", "num_planes"), [(3, 3), (2, 1)])
@pytest.mark.parametrize("implementation", ON_CPU)
def test_the_module_looks_up_the_planes_xy_yz_xz(implementation, dim, num_planes):
    planes = make(implementation, num_planes=num_planes, num_levels=2)
    points = draw_points(20, dim)
    coords = torch.stack([points[:, list(axes)] for axes in ((0, 1), (1, 2), (0, 2))[:num_planes]], 1)
    found = lookup(implementation)(planes.table, coords, planes.resolutions, planes.offsets)
    assert torch.equal(planes(points), found)


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("options", "dim"), OPTIONS)
@pytest.mark.parametrize("count", [0, 1, 1237, 100_003])
def test_triton_on_cuda(options, dim, count, dtype):
    check("triton", options, dim, count, dtype, "cuda")


@needs_triton
@pytest.mark.gpu
def test_auto_on_cuda_under_autocast_with_a_scaled_loss():
    """Mixed precision as in training: the scaled half gradients of a network after the planes reach the tables."""
    assert fastest_on(torch.device("cuda", 0)) == "triton"
    points, matrix = draw_points(1237, 3).cuda(), torch.randn(36, 8, device="cuda")
    planes = make("auto").cuda()
    with torch.autocast("cuda", torch.float16):
        features = planes(points)
        loss = (features @ matrix).float().square().mean()
    assert features.dtype == torch.float32
    features.retain_grad()
    (loss * 1024).backward()
    coords = torch.stack([points[:, :2], points[:, 1:], points[:, ::2]], 1)
    expected, bounds = reference(planes.table, coords, planes.resolutions, planes.offsets, features.grad, torch.float32)
    assert_within(planes.table.grad, expected[1], bounds[1])


INTERPRETED = """
import sys, torch
sys.path[:0] = {paths!r}
from test_hash_planes import OPTIONS, check
half, single, double = torch.float16, torch.float32, torch.float64
for options, dim in OPTIONS:
    check("triton", options, dim, 45, single)
for dtype in (half, double):
    check("triton", {{}}, 3, 45, dtype)
for count in (0, 1):
    check("triton", {{"num_levels": 2}}, 3, count, single)
check("triton", {{}}, 3, 45, half, "cpu", single)
"""


@needs_triton
def test_triton_in_the_interpreter():
    """On the CPU: Triton runs the kernels in numpy where the variable is set before its first import."""
    folder = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED.format(paths=[str(folder), str(folder.parent)])],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_ON_CPU": ""},
        capture_output=True,
        text=True,
    )
    if "NotImplementedError" in run.stderr:
        pytest.skip(f"Triton's interpreter lacks an operation: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
