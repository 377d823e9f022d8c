import numpy as np
import pytest
import torch

from nerfstudio_talking.field_components.hash_planes import HashPlanes, level_resolutions, planes_torch


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
