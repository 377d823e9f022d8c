"""The hash planes' kernels for CUDA, in Triton: compiled on first use, without an extension build.

One lane per number of the result, all planes, levels and features of a point side by side: rows are written and
gradients read in order, a point's coordinates are fetched once for its planes, and neighbouring lanes add into
different levels, so that points which share a cell do not queue for the same entry.

The arithmetic follows `planes_torch` operation by operation, without contracted multiply-adds: a point on a cell's
edge falls into the same cell. Half precision is blended and summed in single precision.
"""

# a kernel's call of another looks to pyright like the call from Python, which raises
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import subprocess
import warnings
from functools import cache

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

_LANES = 512
_PAIRS = 128


@triton.jit
def _cell(x, res, COMPUTE: tl.constexpr):
    """Cell of a coordinate along its axis, and the position within it, rounded in the coordinate's own type."""
    scaled = tl.minimum(tl.maximum(x.to(COMPUTE), 0.0), 1.0) * res.to(x.dtype).to(COMPUTE)
    scaled = scaled.to(x.dtype).to(COMPUTE)
    cell = tl.minimum(scaled.to(tl.int32), res.to(tl.int32) - 1)
    return cell, scaled - cell.to(COMPUTE)


@triton.jit
def _entry(x, y, res, start, size):
    """Entry of a grid corner. 32-bit arithmetic hashes like 64-bit: the size of a hashed table is a power of two."""
    dense = y * (res + 1) + x
    hashed = (x.to(tl.uint32) ^ (y.to(tl.uint32) * 2654435761)) & (size - 1).to(tl.uint32)
    return start + tl.where((res + 1) * (res + 1) <= size, dense, hashed.to(tl.int64))


@triton.jit
def _corners(x, y, res, start, end, COMPUTE: tl.constexpr):
    """Entries of the four corners of a point's cell, and the point's position u, v within the cell."""
    ix, u = _cell(x, res, COMPUTE)
    iy, v = _cell(y, res, COMPUTE)
    a = _entry(ix, iy, res, start, end - start)
    b = _entry(ix + 1, iy, res, start, end - start)
    c = _entry(ix, iy + 1, res, start, end - start)
    d = _entry(ix + 1, iy + 1, res, start, end - start)
    return a, b, c, d, u, v


@triton.jit
def _locate(
    coords, resolutions, offsets, total, num_entries,
    PLANES: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, COMPUTE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Each lane's index in the result, whether it exists, the indices of its four table entries, and u, v."""
    COLUMNS: tl.constexpr = PLANES * LEVELS * FEATURES
    first = tl.program_id(0).to(tl.int64) * LANES
    lane = tl.arange(0, LANES)
    exists = first + lane < total
    # 64-bit division once for the block, 32-bit for the lanes
    local = (first % COLUMNS).to(tl.int32) + lane
    point = first // COLUMNS + local // COLUMNS
    column = local % COLUMNS
    feature = column % FEATURES
    level = column // FEATURES % LEVELS
    plane = column // (FEATURES * LEVELS)
    address = coords + (point * PLANES + plane) * 2
    x = tl.load(address, mask=exists, other=0.0)
    y = tl.load(address + 1, mask=exists, other=0.0)
    a, b, c, d, u, v = _corners(
        x, y, tl.load(resolutions + level), tl.load(offsets + level), tl.load(offsets + level + 1), COMPUTE
    )
    base = plane.to(tl.int64) * num_entries * FEATURES + feature
    a, b, c, d = base + a * FEATURES, base + b * FEATURES, base + c * FEATURES, base + d * FEATURES
    return first + lane, exists, a, b, c, d, u, v


@triton.jit
def _forward(
    table, coords, resolutions, offsets, out, total, num_entries,
    PLANES: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, COMPUTE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Fill `out` (points, planes * levels * features)."""
    lane, exists, a, b, c, d, u, v = _locate(
        coords, resolutions, offsets, total, num_entries, PLANES, LEVELS, FEATURES, COMPUTE, LANES
    )
    result = (1 - u) * (1 - v) * tl.load(table + a, mask=exists, other=0.0).to(COMPUTE)
    result += (1 - u) * v * tl.load(table + c, mask=exists, other=0.0).to(COMPUTE)
    result += u * (1 - v) * tl.load(table + b, mask=exists, other=0.0).to(COMPUTE)
    result += u * v * tl.load(table + d, mask=exists, other=0.0).to(COMPUTE)
    tl.store(out + lane, result.to(out.dtype.element_ty), mask=exists)


@triton.jit
def _backward_table(
    grad, coords, resolutions, offsets, out, total, num_entries,
    PLANES: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, COMPUTE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Add the table's gradient to `out`, whose numbers are of the type COMPUTE. The order of the sums is not fixed."""
    lane, exists, a, b, c, d, u, v = _locate(
        coords, resolutions, offsets, total, num_entries, PLANES, LEVELS, FEATURES, COMPUTE, LANES
    )
    g = tl.load(grad + lane, mask=exists, other=0.0).to(COMPUTE)
    tl.atomic_add(out + a, (1 - u) * (1 - v) * g, mask=exists, sem="relaxed")
    tl.atomic_add(out + b, u * (1 - v) * g, mask=exists, sem="relaxed")
    tl.atomic_add(out + c, (1 - u) * v * g, mask=exists, sem="relaxed")
    tl.atomic_add(out + d, u * v * g, mask=exists, sem="relaxed")


@triton.jit
def _backward_coords(
    grad, table, coords, resolutions, offsets, out, total, num_entries,
    PLANES: tl.constexpr, LEVELS: tl.constexpr, FEATURES: tl.constexpr, COMPUTE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Fill `out` with the coordinates' gradient, one lane per point and plane: zero where they are clamped."""
    pair = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    exists = pair < total
    x = tl.load(coords + pair * 2, mask=exists, other=0.0)
    y = tl.load(coords + pair * 2 + 1, mask=exists, other=0.0)
    base = (pair % PLANES) * num_entries * FEATURES
    gx = tl.zeros([LANES], COMPUTE)
    gy = tl.zeros([LANES], COMPUTE)
    for level in range(LEVELS):
        res = tl.load(resolutions + level)
        a, b, c, d, u, v = _corners(x, y, res, tl.load(offsets + level), tl.load(offsets + level + 1), COMPUTE)
        for feature in tl.static_range(FEATURES):
            g = tl.load(grad + (pair * LEVELS + level) * FEATURES + feature, mask=exists, other=0.0).to(COMPUTE)
            g *= res.to(COMPUTE)
            corner = table + base + feature
            ta = tl.load(corner + a * FEATURES, mask=exists, other=0.0).to(COMPUTE)
            tb = tl.load(corner + b * FEATURES, mask=exists, other=0.0).to(COMPUTE)
            tc = tl.load(corner + c * FEATURES, mask=exists, other=0.0).to(COMPUTE)
            td = tl.load(corner + d * FEATURES, mask=exists, other=0.0).to(COMPUTE)
            gx += g * ((tb - ta) * (1 - v) + (td - tc) * v)
            gy += g * ((tc - ta) * (1 - u) + (td - tb) * u)
    gx = tl.where((x >= 0.0) & (x <= 1.0), gx, 0.0)
    gy = tl.where((y >= 0.0) & (y <= 1.0), gy, 0.0)
    tl.store(out + pair * 2, gx.to(out.dtype.element_ty), mask=exists)
    tl.store(out + pair * 2 + 1, gy.to(out.dtype.element_ty), mask=exists)


def _launch(kernel, tensors, total, table, num_levels, compute, lanes) -> None:
    if total == 0:
        return
    num_planes, num_entries, num_features = table.shape
    # Triton launches on the current device, which need not be the tensors' own
    with torch.cuda.device_of(table):
        kernel[(triton.cdiv(total, lanes),)](
            *tensors, total, num_entries,
            PLANES=num_planes, LEVELS=num_levels, FEATURES=num_features,
            COMPUTE=tl.float64 if compute == torch.float64 else tl.float32, LANES=lanes, enable_fp_fusion=False,
        )  # fmt: skip


class _TritonPlanes(torch.autograd.Function):
    """Autocast changes nothing here, as nothing in `planes_torch`: the types of the inputs decide."""

    @staticmethod
    def forward(ctx, table, coords, resolutions, offsets):  # type: ignore[override]
        table, coords = table.contiguous(), coords.contiguous()
        ctx.save_for_backward(table, coords, resolutions, offsets)
        dtype = torch.promote_types(table.dtype, coords.dtype)
        ctx.compute = torch.promote_types(dtype, torch.float32)
        out = table.new_empty(len(coords), table.shape[0] * len(resolutions) * table.shape[2], dtype=dtype)
        tensors = (table, coords, resolutions, offsets, out)
        _launch(_forward, tensors, out.numel(), table, len(resolutions), ctx.compute, _LANES)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        table, coords, resolutions, offsets = ctx.saved_tensors
        grad = grad.contiguous()
        grad_table = grad_coords = None
        shared = (table, len(resolutions), ctx.compute)
        if ctx.needs_input_grad[0]:
            grad_table = torch.zeros_like(table, dtype=ctx.compute)
            tensors = (grad, coords, resolutions, offsets, grad_table)
            _launch(_backward_table, tensors, grad.numel(), *shared, _LANES)
            grad_table = grad_table.to(table.dtype)
        if ctx.needs_input_grad[1]:
            grad_coords = torch.empty_like(coords)
            tensors = (grad, table, coords, resolutions, offsets, grad_coords)
            _launch(_backward_coords, tensors, coords.numel() // 2, *shared, _PAIRS)
        return grad_table, grad_coords, None, None


def planes_triton(
    table: Float[Tensor, "planes entries features"],
    coords: Float[Tensor, "points planes 2"],
    resolutions: Int64[Tensor, " levels"],
    offsets: Int64[Tensor, " levels_1"],
) -> Float[Tensor, "points planes_levels_features"]:
    """`planes_torch` on a CUDA device: differentiable once in `table` and `coords`.

    A hashed level's table must have a power of two of entries, as `level_sizes` gives it.
    """
    return _TritonPlanes.apply(table, coords, resolutions, offsets)  # type: ignore[return-value]


@cache
def works_on(device: torch.device) -> bool:
    """Whether a kernel compiles and runs on the device; warns once where not.

    Triton needs compute capability 7.0, and a C compiler and Python's headers for its launcher.
    """
    table = torch.zeros(1, 8, 1, device=device)
    one, ends = torch.tensor([1], device=device), torch.tensor([0, 8], device=device)
    try:
        planes_triton(table, torch.zeros(1, 1, 2, device=device), one, ends)
    except (triton.TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        warnings.warn(f"hash planes run in torch, slowly: Triton does not work on {device}: {error}", stacklevel=2)
        return False
    return True
