"""Hash planes on CPUs. Compiled on first use; the machine code is kept on disk for the next process.

Each level is looked up for a block of points at a time, and each step of it is a loop over the block alone: the
compiler turns such loops into vector instructions, gathers included, and the block's scratch stays in the first-level
cache. Entries are 32-bit: twice as many fit a vector, and a hash needs the low bits of its product only.
"""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 256
_PRIME = np.int32(2654435761 - 2**32)  # the low 32 bits of hash_planes._PRIME
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(inline="always")
def _cells(xs, ys, res, start, size, corners, fractions):
    """Entries of the four corners of each point's cell (4, BLOCK), and its position within the cell (2, BLOCK)."""
    scale, last, stride, first = np.float32(res), np.int32(res - 1), np.int32(res + 1), np.int32(start)
    a, b, c, d = corners[0], corners[1], corners[2], corners[3]
    us, vs = fractions[0], fractions[1]
    dense = (res + 1) * (res + 1) <= size
    # a hashed table's size is a power of two (level_sizes): a mask is the remainder, without a division
    mask = np.int32(size - 1)
    for i in range(len(xs)):
        fx = min(max(xs[i], _ZERO), _ONE) * scale
        fy = min(max(ys[i], _ZERO), _ONE) * scale
        ix, iy = min(np.int32(fx), last), min(np.int32(fy), last)
        us[i], vs[i] = fx - np.float32(ix), fy - np.float32(iy)
        if dense:
            corner = np.int32(first + iy * stride + ix)
            a[i], b[i], c[i], d[i] = corner, corner + 1, corner + stride, corner + stride + 1
        else:
            top = np.int32(iy * _PRIME)
            bottom = np.int32(top + _PRIME)
            a[i], b[i] = first + ((ix ^ top) & mask), first + (((ix + 1) ^ top) & mask)
            c[i], d[i] = first + ((ix ^ bottom) & mask), first + (((ix + 1) ^ bottom) & mask)


@numba.njit(inline="always")
def _features(entries, corners, i, num_features, f):
    """A feature of the four corners of point `i`'s cell."""
    # unsigned: numba else asks of every index whether it counts from the end
    return (
        entries[np.uint32(corners[0, i] * num_features + f)],
        entries[np.uint32(corners[1, i] * num_features + f)],
        entries[np.uint32(corners[2, i] * num_features + f)],
        entries[np.uint32(corners[3, i] * num_features + f)],
    )


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def columns(rows):
    """A contiguous transpose, (points, n) to (n, points), in tiles that the cache holds."""
    num_points, num_columns = rows.shape
    out = np.empty((num_columns, num_points), rows.dtype)
    for block in numba.prange((num_points + 63) // 64):
        for column in range(num_columns):
            for i in range(block * 64, min(num_points, block * 64 + 64)):
                out[column, i] = rows[i, column]
    return out


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def forward(table, coords, resolutions, offsets, out):
    """Fill `out` (points, planes * levels * features)."""
    num_planes, num_entries, num_features = table.shape
    num_levels, num_points = len(resolutions), len(coords)
    flat = table.reshape(num_planes, num_entries * num_features)
    for block in numba.prange((num_points + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, num_points - begin)
        corners, fractions = np.empty((4, BLOCK), np.int32), np.empty((2, BLOCK), coords.dtype)
        position = np.empty((2, BLOCK), coords.dtype)
        tile = np.empty((out.shape[1], BLOCK), out.dtype)
        for p in range(num_planes):
            entries = flat[p]
            for i in range(n):
                position[0, i], position[1, i] = coords[begin + i, p, 0], coords[begin + i, p, 1]
            for level in range(num_levels):
                start = offsets[level]
                size = offsets[level + 1] - start
                _cells(position[0, :n], position[1, :n], resolutions[level], start, size, corners, fractions)
                for f in range(num_features):
                    row = tile[(p * num_levels + level) * num_features + f]
                    for i in range(n):
                        u, v = fractions[0, i], fractions[1, i]
                        a, b, c, d = _features(entries, corners, i, num_features, f)
                        top, bottom = a + (b - a) * u, c + (d - c) * u
                        row[i] = top + (bottom - top) * v
        for i in range(n):
            for column in range(out.shape[1]):
                out[begin + i, column] = tile[column, i]


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def backward_table(grad, points, resolutions, offsets, out):
    """Add the table's gradient to `out`, given `columns` of the gradient and of the coordinates.

    One task per plane and level: each writes a slice of its own, so there is no race and the sum has one order.
    """
    num_planes, num_entries, num_features = out.shape
    num_levels, num_points = len(resolutions), grad.shape[1]
    flat = out.reshape(num_planes, num_entries * num_features)
    for task in numba.prange(num_planes * num_levels):
        p, level = task // num_levels, task % num_levels
        entries = flat[p]
        start = offsets[level]
        size = offsets[level + 1] - start
        corners, fractions = np.empty((4, BLOCK), np.int32), np.empty((2, BLOCK), points.dtype)
        weights = np.empty((4, BLOCK), out.dtype)
        for begin in range(0, num_points, BLOCK):
            n = min(BLOCK, num_points - begin)
            xs, ys = points[2 * p, begin : begin + n], points[2 * p + 1, begin : begin + n]
            _cells(xs, ys, resolutions[level], start, size, corners, fractions)
            for f in range(num_features):
                g = grad[task * num_features + f, begin : begin + n]
                for i in range(n):
                    right = g[i] * fractions[0, i]
                    left = g[i] - right
                    weights[2, i], weights[3, i] = left * fractions[1, i], right * fractions[1, i]
                    weights[0, i], weights[1, i] = left - weights[2, i], right - weights[3, i]
                # points may share an entry: this loop stays scalar
                for i in range(n):
                    entries[np.uint32(corners[0, i] * num_features + f)] += weights[0, i]
                    entries[np.uint32(corners[1, i] * num_features + f)] += weights[1, i]
                    entries[np.uint32(corners[2, i] * num_features + f)] += weights[2, i]
                    entries[np.uint32(corners[3, i] * num_features + f)] += weights[3, i]


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def backward_coords(grad, table, points, resolutions, offsets, out):
    """Fill `out` (points, planes, 2) with the coordinates' gradient: zero outside [0, 1], where they are clamped.

    `grad` and `points` are `columns` of the gradient and of the coordinates.
    """
    num_planes, num_entries, num_features = table.shape
    num_levels, num_points = len(resolutions), grad.shape[1]
    flat = table.reshape(num_planes, num_entries * num_features)
    for block in numba.prange((num_points + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, num_points - begin)
        corners, fractions = np.empty((4, BLOCK), np.int32), np.empty((2, BLOCK), points.dtype)
        slopes = np.empty((2, BLOCK), points.dtype)
        for p in range(num_planes):
            entries = flat[p]
            xs, ys = points[2 * p, begin : begin + n], points[2 * p + 1, begin : begin + n]
            slopes[:] = 0
            for level in range(num_levels):
                start = offsets[level]
                size = offsets[level + 1] - start
                scale = np.float32(resolutions[level])
                _cells(xs, ys, resolutions[level], start, size, corners, fractions)
                for f in range(num_features):
                    g = grad[(p * num_levels + level) * num_features + f, begin : begin + n]
                    for i in range(n):
                        u, v = fractions[0, i], fractions[1, i]
                        a, b, c, d = _features(entries, corners, i, num_features, f)
                        slopes[0, i] += g[i] * scale * ((b - a) + ((d - c) - (b - a)) * v)
                        slopes[1, i] += g[i] * scale * ((c - a) + ((d - b) - (c - a)) * u)
            for i in range(n):
                out[begin + i, p, 0] = slopes[0, i] if 0.0 <= xs[i] <= 1.0 else 0.0
                out[begin + i, p, 1] = slopes[1, i] if 0.0 <= ys[i] <= 1.0 else 0.0
