"""Multiresolution hash tables on planes: the tri-plane of ER-NeRF (Li et al., ICCV 2023, section 3.2).

A point looks itself up on each plane at each level: the four corners of its cell, blended bilinearly. A level whose
grid fits its table is stored densely; a larger one is hashed (Mueller et al., SIGGRAPH 2022, equation 4).

Two implementations with equal numbers, forward and backward: `torch`, which runs anywhere, and `numba`, for CPUs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

_PRIME = 2654435761
Implementation = Literal["auto", "torch", "numba"]


def level_resolutions(num_levels: int, base: int, finest: int) -> list[int]:
    """Cells along an axis at each level, growing geometrically from `base` to `finest`."""
    growth = (finest / base) ** (1.0 / max(num_levels - 1, 1))
    return [int(np.ceil(base * growth**level - 1e-6)) for level in range(num_levels)]


def level_sizes(resolutions: list[int], log2_table_size: int) -> list[int]:
    """Entries of each level's table: the whole grid where it fits (padded to 8), else the table size."""
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


@lru_cache(maxsize=1)
def _kernels() -> tuple[Any, Any, Any]:
    """Compile the numba kernels on first use; the machine code is cached on disk."""
    import numba

    @numba.njit(inline="always")
    def cell(x, y, res):
        fx = min(max(x, 0.0), 1.0) * res
        fy = min(max(y, 0.0), 1.0) * res
        ix = min(int(fx), res - 1)
        iy = min(int(fy), res - 1)
        return ix, iy, fx - ix, fy - iy

    @numba.njit(inline="always")
    def entry(ix, iy, res, start, size):
        if (res + 1) * (res + 1) <= size:
            return start + iy * (res + 1) + ix
        return start + (ix ^ (iy * 2654435761)) % size

    @numba.njit(parallel=True, fastmath=True, nogil=True)
    def forward(table, coords, resolutions, offsets, out):
        num_planes, _, num_features = table.shape
        num_levels = len(resolutions)
        for n in numba.prange(coords.shape[0]):
            for p in range(num_planes):
                for level in range(num_levels):
                    res, start = resolutions[level], offsets[level]
                    size = offsets[level + 1] - start
                    ix, iy, u, v = cell(coords[n, p, 0], coords[n, p, 1], res)
                    a = entry(ix, iy, res, start, size)
                    b = entry(ix + 1, iy, res, start, size)
                    c = entry(ix, iy + 1, res, start, size)
                    d = entry(ix + 1, iy + 1, res, start, size)
                    column = (p * num_levels + level) * num_features
                    for f in range(num_features):
                        top = table[p, a, f] * (1 - u) + table[p, b, f] * u
                        bottom = table[p, c, f] * (1 - u) + table[p, d, f] * u
                        out[n, column + f] = top * (1 - v) + bottom * v

    @numba.njit(parallel=True, fastmath=True, nogil=True)
    def backward_table(grad, coords, resolutions, offsets, out):
        # One task per plane and level: each writes a slice of its own, so there is no race and the sum has one order.
        num_planes, _, num_features = out.shape
        num_levels = len(resolutions)
        for task in numba.prange(num_planes * num_levels):
            p, level = task // num_levels, task % num_levels
            res, start = resolutions[level], offsets[level]
            size = offsets[level + 1] - start
            column = task * num_features
            for n in range(coords.shape[0]):
                ix, iy, u, v = cell(coords[n, p, 0], coords[n, p, 1], res)
                a = entry(ix, iy, res, start, size)
                b = entry(ix + 1, iy, res, start, size)
                c = entry(ix, iy + 1, res, start, size)
                d = entry(ix + 1, iy + 1, res, start, size)
                for f in range(num_features):
                    g = grad[n, column + f]
                    out[p, a, f] += g * (1 - u) * (1 - v)
                    out[p, b, f] += g * u * (1 - v)
                    out[p, c, f] += g * (1 - u) * v
                    out[p, d, f] += g * u * v

    @numba.njit(parallel=True, fastmath=True, nogil=True)
    def backward_coords(grad, table, coords, resolutions, offsets, out):
        num_planes, _, num_features = table.shape
        num_levels = len(resolutions)
        for n in numba.prange(coords.shape[0]):
            for p in range(num_planes):
                gx, gy = 0.0, 0.0
                for level in range(num_levels):
                    res, start = resolutions[level], offsets[level]
                    size = offsets[level + 1] - start
                    ix, iy, u, v = cell(coords[n, p, 0], coords[n, p, 1], res)
                    a = entry(ix, iy, res, start, size)
                    b = entry(ix + 1, iy, res, start, size)
                    c = entry(ix, iy + 1, res, start, size)
                    d = entry(ix + 1, iy + 1, res, start, size)
                    column = (p * num_levels + level) * num_features
                    for f in range(num_features):
                        g = grad[n, column + f] * res
                        ta, tb, tc, td = table[p, a, f], table[p, b, f], table[p, c, f], table[p, d, f]
                        gx += g * ((tb - ta) * (1 - v) + (td - tc) * v)
                        gy += g * ((tc - ta) * (1 - u) + (td - tb) * u)
                x, y = coords[n, p, 0], coords[n, p, 1]
                out[n, p, 0] = gx if 0.0 <= x <= 1.0 else 0.0
                out[n, p, 1] = gy if 0.0 <= y <= 1.0 else 0.0

    return forward, backward_table, backward_coords


class _NumbaPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, coords, resolutions, offsets):  # type: ignore[override]
        coords = coords.contiguous()
        ctx.save_for_backward(table, coords, resolutions, offsets)
        out = table.new_empty(len(coords), table.shape[0] * len(resolutions) * table.shape[2])
        arrays = [t.detach().numpy() for t in (table, coords, resolutions, offsets, out)]
        _kernels()[0](*arrays)
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        table, coords, resolutions, offsets = ctx.saved_tensors
        grad = grad.contiguous()
        grad_table = grad_coords = None
        shared = (resolutions.numpy(), offsets.numpy())
        if ctx.needs_input_grad[0]:
            grad_table = torch.zeros_like(table)
            _kernels()[1](grad.numpy(), coords.detach().numpy(), *shared, grad_table.numpy())
        if ctx.needs_input_grad[1]:
            grad_coords = torch.empty_like(coords)
            _kernels()[2](grad.numpy(), table.detach().numpy(), coords.detach().numpy(), *shared, grad_coords.numpy())
        return grad_table, grad_coords, None, None


class HashPlanes(nn.Module):
    """Feature lookup on axis-aligned planes.

    Args:
        num_planes: 3 for the planes xy, yz, xz of a point in space; 1 for a point on a plane.
        num_levels: resolutions, from `base_resolution` to `max_resolution` cells along an axis.
        features_per_level: features of a table entry.
        log2_table_size: largest table of a level.
        implementation: `auto` takes numba for tensors on the CPU, torch elsewhere.
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
        use_numba = self.implementation == "numba" or (self.implementation == "auto" and not points.is_cuda)
        if use_numba:
            if points.is_cuda:
                raise ValueError("implementation 'numba' works on CPU tensors; take 'torch' or 'auto' on a GPU")
            return _NumbaPlanes.apply(self.table, coords, self.resolutions, self.offsets)  # type: ignore[return-value]
        return planes_torch(self.table, coords, self.resolutions, self.offsets)
