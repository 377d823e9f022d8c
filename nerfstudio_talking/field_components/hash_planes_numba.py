"""The hash planes' kernels for CPUs. Compiled on first use; the machine code is kept on disk for the next process."""

from __future__ import annotations

import numba


@numba.njit(inline="always")
def _corners(x, y, res, start, size):
    """Entries of the four corners of a point's cell, and the point's place in the cell."""
    fx = min(max(x, 0.0), 1.0) * res
    fy = min(max(y, 0.0), 1.0) * res
    ix = min(int(fx), res - 1)
    iy = min(int(fy), res - 1)
    u, v = fx - ix, fy - iy
    if (res + 1) * (res + 1) <= size:
        a = start + iy * (res + 1) + ix
        return a, a + 1, a + res + 1, a + res + 2, u, v
    # a hashed table's size is a power of two (level_sizes): a mask is the remainder, without a division
    top, bottom, mask = iy * 2654435761, (iy + 1) * 2654435761, size - 1
    return (
        start + ((ix ^ top) & mask),
        start + (((ix + 1) ^ top) & mask),
        start + ((ix ^ bottom) & mask),
        start + (((ix + 1) ^ bottom) & mask),
        u,
        v,
    )


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def forward(table, coords, resolutions, offsets, out):
    """Fill `out` (points, planes * levels * features)."""
    num_planes, _, num_features = table.shape
    num_levels = len(resolutions)
    for n in numba.prange(coords.shape[0]):
        for p in range(num_planes):
            for level in range(num_levels):
                res, start = resolutions[level], offsets[level]
                a, b, c, d, u, v = _corners(coords[n, p, 0], coords[n, p, 1], res, start, offsets[level + 1] - start)
                column = (p * num_levels + level) * num_features
                for f in range(num_features):
                    top = table[p, a, f] * (1 - u) + table[p, b, f] * u
                    bottom = table[p, c, f] * (1 - u) + table[p, d, f] * u
                    out[n, column + f] = top * (1 - v) + bottom * v


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def backward_table(grad, coords, resolutions, offsets, out):
    """Add the table's gradient to `out`.

    One task per plane and level: each writes a slice of its own, so there is no race and the sum has one order.
    """
    num_planes, _, num_features = out.shape
    num_levels = len(resolutions)
    for task in numba.prange(num_planes * num_levels):
        p, level = task // num_levels, task % num_levels
        res, start = resolutions[level], offsets[level]
        size = offsets[level + 1] - start
        column = task * num_features
        for n in range(coords.shape[0]):
            a, b, c, d, u, v = _corners(coords[n, p, 0], coords[n, p, 1], res, start, size)
            for f in range(num_features):
                g = grad[n, column + f]
                out[p, a, f] += g * (1 - u) * (1 - v)
                out[p, b, f] += g * u * (1 - v)
                out[p, c, f] += g * (1 - u) * v
                out[p, d, f] += g * u * v


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def backward_coords(grad, table, coords, resolutions, offsets, out):
    """Fill `out` with the coordinates' gradient: zero outside [0, 1], where they are clamped."""
    num_planes, _, num_features = table.shape
    num_levels = len(resolutions)
    for n in numba.prange(coords.shape[0]):
        for p in range(num_planes):
            gx, gy = 0.0, 0.0
            for level in range(num_levels):
                res, start = resolutions[level], offsets[level]
                a, b, c, d, u, v = _corners(coords[n, p, 0], coords[n, p, 1], res, start, offsets[level + 1] - start)
                column = (p * num_levels + level) * num_features
                for f in range(num_features):
                    g = grad[n, column + f] * res
                    ta, tb, tc, td = table[p, a, f], table[p, b, f], table[p, c, f], table[p, d, f]
                    gx += g * ((tb - ta) * (1 - v) + (td - tc) * v)
                    gy += g * ((tc - ta) * (1 - u) + (td - tb) * u)
            x, y = coords[n, p, 0], coords[n, p, 1]
            out[n, p, 0] = gx if 0.0 <= x <= 1.0 else 0.0
            out[n, p, 1] = gy if 0.0 <= y <= 1.0 else 0.0
