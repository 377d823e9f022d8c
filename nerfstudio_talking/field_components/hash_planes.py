"""Multiresolution hash tables on planes: the tri-plane of ER-NeRF (Li et al., ICCV 2023, section 3.2).

On each plane and level the four corners of a point's cell are interpolated bilinearly. A level whose grid fits its
table is stored densely; a larger one is hashed (Mueller et al., SIGGRAPH 2022, equation 4).

Three implementations with equal numbers, forward and backward: `torch`, which runs anywhere, `numba`, for CPUs, and
`triton`, for CUDA. There is no `tcnn`: tiny-cuda-nn's grids have one cell fewer along an axis, lie half a cell off and
wrap around at the border where these clamp, so the same tables would give other numbers.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

_PRIME = 2654435761
Implementation = Literal["auto", "torch", "numba", "triton"]


@cache
def fastest_on(device: torch.device) -> Literal["torch", "numba", "triton"]:
    """The implementation that 'auto' takes on a device: the fastest whose package is installed and works there."""
    if device.type == "cpu" and find_spec("numba"):
        return "numba"
    if device.type == "cuda" and find_spec("triton"):
        from nerfstudio_talking.field_components.kernels.hash_planes_triton import works_on

        return "triton" if works_on(device) else "torch"
    return "torch"


def level_resolutions(num_levels: int, base: int, finest: int) -> list[int]:
    """Number of cells along an axis at each level, growing geometrically from `base` to `finest`."""
    growth = (finest / base) ** (1.0 / max(num_levels - 1, 1))
    return [int(np.ceil(base * growth**level - 1e-6)) for level in range(num_levels)]


def level_sizes(resolutions: list[int], log2_table_size: int) -> list[int]:
    """Number of entries of each level's table: the whole grid where it fits (padded to 8), else the table size."""
    return [min(-(-((res + 1) ** 2) // 8) * 8, 2**log2_table_size) for res in resolutions]


def planes_torch(
    table: Float[Tensor, "planes entries features"],
    coords: Float[Tensor, "points planes 2"],
    resolutions: Int64[Tensor, " levels"],
    offsets: Int64[Tensor, " levels_1"],
) -> Float[Tensor, "points planes_levels_features"]:
    """The reference implementation: differentiable in `table` and `coords`. Coordinates are clamped to [0, 1]."""
    num_planes, _, num_features = table.shape
    num_levels = len(resolutions)
    size = offsets[1:] - offsets[:-1]  # (L,)
    scaled = coords.clamp(0.0, 1.0)[:, :, None, :] * resolutions[:, None].to(coords.dtype)  # (N, P, L, 2)
    corner = torch.minimum(scaled.detach().floor(), resolutions[:, None].to(coords.dtype) - 1)
    frac = scaled - corner
    corner = corner.long()
    plane = torch.arange(num_planes, device=table.device)[None, :, None]
    out = table.new_zeros(len(coords), num_planes, num_levels, num_features)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            dense = y * (resolutions + 1) + x
            hashed = (x ^ (y * _PRIME)) % size
            index = torch.where((resolutions + 1) ** 2 <= size, dense, hashed) + offsets[:-1]
            weight = (frac[..., 0] if dx else 1 - frac[..., 0]) * (frac[..., 1] if dy else 1 - frac[..., 1])
            out = out + weight[..., None] * table[plane, index]
    return out.flatten(1)


class _NumbaPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, coords, resolutions, offsets):  # type: ignore[override]
        coords = coords.contiguous()
        ctx.save_for_backward(table, coords, resolutions, offsets)
        out = table.new_empty(len(coords), table.shape[0] * len(resolutions) * table.shape[2])
        from nerfstudio_talking.field_components.kernels import hash_planes_numba as kernels

        kernels.forward(*(t.detach().numpy() for t in (table, coords, resolutions, offsets, out)))
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        from nerfstudio_talking.field_components.kernels import hash_planes_numba as kernels

        table, coords, resolutions, offsets = ctx.saved_tensors
        by_column = kernels.columns(grad.contiguous().numpy())
        points = kernels.columns(coords.detach().flatten(1).numpy())
        grad_table = grad_coords = None
        shared = (resolutions.numpy(), offsets.numpy())
        if ctx.needs_input_grad[0]:
            grad_table = torch.zeros_like(table)
            kernels.backward_table(by_column, points, *shared, grad_table.numpy())
        if ctx.needs_input_grad[1]:
            grad_coords = torch.empty_like(coords)
            kernels.backward_coords(by_column, table.detach().numpy(), points, *shared, grad_coords.numpy())
        return grad_table, grad_coords, None, None


class HashPlanes(nn.Module):
    """Feature lookup on axis-aligned planes.

    Args:
        num_planes: 3 for the planes xy, yz, xz of a point in space; 1 for a point on a plane.
        num_levels: number of resolutions.
        features_per_level: number of features of a table entry.
        base_resolution: number of cells along an axis of the coarsest level.
        max_resolution: number of cells along an axis of the finest level.
        log2_table_size: base-2 logarithm of the largest table of a level.
        implementation: 'auto' takes numba for tensors on the CPU and triton on CUDA where they work, else torch.
    """

    resolutions: Tensor
    offsets: Tensor

    def __init__(
        self,
        num_planes: int = 3,
        num_levels: int = 12,
        features_per_level: int = 1,
        base_resolution: int = 64,
        max_resolution: int = 512,
        log2_table_size: int = 14,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        if num_planes not in (1, 3):
            raise ValueError(f"num_planes is 1 or 3, not {num_planes}")
        self.num_planes = num_planes
        self.implementation = implementation
        resolutions = level_resolutions(num_levels, base_resolution, max_resolution)
        offsets = np.concatenate([[0], np.cumsum(level_sizes(resolutions, log2_table_size))])
        self.register_buffer("resolutions", torch.tensor(resolutions), persistent=False)
        self.register_buffer("offsets", torch.from_numpy(offsets), persistent=False)
        # U(-1e-4, 1e-4): Mueller et al. 2022, section 4
        self.table = nn.Parameter((torch.rand(num_planes, int(offsets[-1]), features_per_level) * 2 - 1) * 1e-4)
        self.out_dim = num_planes * num_levels * features_per_level

    def forward(self, points: Float[Tensor, "points dim"]) -> Float[Tensor, "points out"]:
        """Features of points in [0, 1]^3 (three planes) or [0, 1]^2 (one); outside, the border's features."""
        if self.num_planes == 3:
            coords = torch.stack([points[:, :2], points[:, 1:], points[:, ::2]], dim=1)
        else:
            coords = points[:, None, :]
        implementation = fastest_on(points.device) if self.implementation == "auto" else self.implementation
        tensors = (self.table, coords, self.resolutions, self.offsets)
        if implementation == "numba":
            if points.is_cuda:
                raise ValueError("implementation 'numba' works on CPU tensors; take 'torch' or 'auto' on a GPU")
            return _NumbaPlanes.apply(*tensors)  # type: ignore[return-value]
        if implementation == "triton":
            if not points.is_cuda:
                raise ValueError("implementation 'triton' works on CUDA tensors; take 'torch' or 'auto' elsewhere")
            from nerfstudio_talking.field_components.kernels.hash_planes_triton import planes_triton

            return planes_triton(*tensors)
        return planes_torch(*tensors)
