import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from nerfstudio_talking.field_components.hash_planes import HashPlanes, fastest_on, level_resolutions, planes_torch


def make(implementation, dtype=torch.float32, **options):
    torch.manual_seed(0)
    planes = HashPlanes(implementation=implementation, **options).to(dtype)
    with torch.no_grad():
        planes.table.copy_(torch.randn_like(planes.table))
    return planes


def test_sizes_are_those_of_er_nerf():
    assert level_resolutions(12, 64, 512) == [64, 78, 94, 113, 137, 165, 199, 241, 291, 351, 424, 512]
    assert HashPlanes().table.shape == (3, 163584, 1)
    assert HashPlanes().out_dim == 36


def test_dense_level_is_bilinear_interpolation():
    """One level of 4 cells, against the bilinear blend written out in numpy."""
    planes = make("torch", torch.float64, num_planes=1, num_levels=1, base_resolution=4, max_resolution=4)
    grid = planes.table[0, :25, 0].detach().numpy().reshape(5, 5)  # [y, x]
    points = np.random.default_rng(1).random((50, 2))
    cell = np.minimum((points * 4).astype(int), 3)
    u, v = (points * 4 - cell).T
    x, y = cell.T
    expected = (
        grid[y, x] * (1 - u) * (1 - v)
        + grid[y, x + 1] * u * (1 - v)
        + grid[y + 1, x] * (1 - u) * v
        + grid[y + 1, x + 1] * u * v
    )
    np.testing.assert_allclose(planes(torch.from_numpy(points))[:, 0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("options", "dim"),
    [({}, 3), ({"num_planes": 1, "features_per_level": 2}, 2), ({"num_levels": 1}, 3), ({"log2_table_size": 8}, 3)],
)
@pytest.mark.parametrize("count", [0, 1, 1237])
def test_numba_equals_torch_forward_and_backward(options, dim, count, dtype):
    torch_planes, numba_planes = make("torch", dtype, **options), make("numba", dtype, **options)
    # a tenth of the points lies outside
    points = torch.rand(count, dim, dtype=dtype) * 1.1 - 0.05
    a, b = points.clone().requires_grad_(), points.clone().requires_grad_()
    out_a, out_b = torch_planes(a), numba_planes(b)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(out_b, out_a, atol=tolerance, rtol=tolerance)
    weight = torch.randn_like(out_a)
    (out_a * weight).sum().backward()
    (out_b * weight).sum().backward()
    torch.testing.assert_close(numba_planes.table.grad, torch_planes.table.grad, atol=1e-3, rtol=tolerance)
    if dtype == torch.float64:  # in single precision a point on a cell's edge may round into the next cell
        torch.testing.assert_close(b.grad, a.grad, atol=1e-8, rtol=1e-8)


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


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
OPTIONS = [
    ({}, 3),
    ({"num_planes": 1, "features_per_level": 2}, 2),
    ({"features_per_level": 3, "num_levels": 4}, 3),
    ({"num_levels": 1}, 3),
    ({"log2_table_size": 8}, 3),
]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2}


def border_points(count, dim, dtype, device):
    """Points of which some lie outside and some on the edges of cells and of the square."""
    points = torch.rand(count, dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1.1 - 0.05
    points[: count // 8] = (points[: count // 8] * 64).round() / 64
    points[: count // 16] = points[: count // 16].round()
    return points.to(device, dtype)


def compare_triton_with_torch(options, dim, count, dtype, device, point_dtype=None):
    """Features and both gradients of the same tables at the same points."""
    from nerfstudio_talking.field_components.kernels.hash_planes_triton import planes_triton

    planes = make("torch", dtype, **options).to(device)
    points = border_points(count, dim, point_dtype or dtype, device)
    coords = torch.stack([points[:, :2], points[:, 1:], points[:, ::2]], 1) if dim == 3 else points[:, None]
    results = []
    for function in (planes_torch, planes_triton):
        table, place = planes.table.detach().clone(), coords.clone().requires_grad_()
        if function is planes_torch and dtype == torch.float16:
            table = table.float()  # eager torch may sum half gradients in half, and is then the worse of the two
        table.requires_grad_()
        out = function(table, place, planes.resolutions, planes.offsets)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(dtype).to(out)
        (out * weight).sum().backward()
        results.append((out, table.grad, place.grad))
    tolerance = TOLERANCE[dtype]
    assert results[1][0].dtype == torch.promote_types(dtype, coords.dtype) and results[1][1].dtype == dtype
    (out, to_table, to_coords), (same_out, same_to_table, same_to_coords) = results
    torch.testing.assert_close(same_out.to(out), out, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(same_to_table.to(to_table), to_table, atol=10 * tolerance, rtol=10 * tolerance)
    # sums over levels of up to 512 cells: an absolute part that fits the largest of them
    scale = max(float(to_coords.abs().max()), 1.0) if count else 1.0
    torch.testing.assert_close(same_to_coords, to_coords, atol=tolerance * scale, rtol=tolerance)


@needs_triton
@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("options", "dim"), OPTIONS)
@pytest.mark.parametrize("count", [0, 1, 1237, 100_003])
def test_triton_equals_torch_on_cuda(options, dim, count, dtype):
    compare_triton_with_torch(options, dim, count, dtype, "cuda")


@needs_triton
@needs_cuda
@pytest.mark.gpu
def test_auto_on_cuda_under_autocast_with_a_scaled_loss():
    """Mixed precision as in training: scaled half gradients of a network after the planes reach the tables."""
    assert fastest_on(torch.device("cuda", 0)) == "triton"
    points, matrix = border_points(1237, 3, torch.float32, "cuda"), torch.randn(36, 8, device="cuda")
    grads = []
    for implementation in ("torch", "auto"):
        planes = make(implementation).cuda()
        with torch.autocast("cuda", torch.float16):
            features = planes(points)
            loss = (features @ matrix).float().square().mean()
        assert features.dtype == torch.float32
        (loss * 1024).backward()
        grads.append(planes.table.grad)
    torch.testing.assert_close(grads[1], grads[0], atol=1e-2, rtol=1e-2)


INTERPRETED = """
import sys, torch
sys.path[:0] = [{tests!r}]
from test_hash_planes import OPTIONS, compare_triton_with_torch
half, single, double = torch.float16, torch.float32, torch.float64
for options, dim in OPTIONS:
    compare_triton_with_torch(options, dim, 45, single, "cpu")
for dtype in (half, double):
    compare_triton_with_torch({{}}, 3, 45, dtype, "cpu")
for count in (0, 1):
    compare_triton_with_torch({{"num_levels": 2}}, 3, count, single, "cpu")
compare_triton_with_torch({{}}, 3, 45, half, "cpu", single)
"""


@needs_triton
def test_triton_equals_torch_in_the_interpreter():
    """On the CPU: Triton runs the kernels in numpy where the variable is set before its first import."""
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED.format(tests=os.path.dirname(__file__))],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if "NotImplementedError" in run.stderr:
        pytest.skip(f"Triton's interpreter lacks an operation: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
