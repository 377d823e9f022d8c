"""Kernels that render a bake on CPUs. Compiled on first use; the machine code is kept on disk for the next process."""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 256
"""Number of values of a block in `blend`: they and their sums stay in the first-level cache."""
CHANNELS = 4
"""Channels of a vertex: logarithm of the density in 1/metre, red, green, blue."""
OPAQUE = 1e-3
"""Transmittance below which a ray ends."""
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_TINY, _OPAQUE = np.float32(1e-9), np.float32(OPAQUE)


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def blend(rest, coefficients, terms, out):
    """Fill `out` with the vertices' values in one frame: rest + sum over terms of coefficient * term.

    Args:
        rest: (blocks, BLOCK) float32.
        coefficients: (blocks, terms, BLOCK) int16, in steps whose values `terms` includes.
        terms: (terms, BLOCK) float32, the frame's terms times the step of each channel, repeated.
        out: (blocks, BLOCK) float32.
    """
    for block in numba.prange(rest.shape[0]):
        values = out[block]
        for i in range(BLOCK):
            values[i] = rest[block, i]
        for k in range(terms.shape[0]):
            row, term = coefficients[block, k], terms[k]
            for i in range(BLOCK):
                values[i] += np.float32(row[i]) * term[i]


@numba.njit(inline="always")
def _along(origin, direction, low, high):
    """Entry and exit of a ray through an interval."""
    inverse = _ONE / (direction if abs(direction) > _TINY else _TINY)
    a, b = (low - origin) * inverse, (high - origin) * inverse
    return min(a, b), max(a, b)


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def march(pose, focal, box, shape, first, offset, ranges, bounds, values, num_samples, out):
    """Fill `out` (height, width, 4) with premultiplied colour and opacity of what a camera sees of the vertices.

    Samples along a ray are the field's: in the middle of `num_samples` equal intervals of its way through the box. A
    sample in a cell that the grid does not hold is skipped; behind an opaque sample the ray ends.

    Args:
        pose: (3, 4) camera-to-world, OpenGL axes; the principal point is the image's centre.
        focal: pixels.
        box: (2, 3) corners, metres.
        shape: number of cells along x, y, z.
        first, offset: runs of the grid (see `SparseGrid`).
        ranges: (cells, 2) cells along z above each (x, y).
        bounds: (2, 3) float32, corners of the box around all vertices, in cells.
        values: (vertices, CHANNELS) float32.
        num_samples: number of samples along a ray.
        out: float32.
    """
    # numba takes an integer and a float32 to a float64: all numbers that meet pixels are made float32 first
    height, width = out.shape[:2]
    nx, ny, nz = shape
    stride = ny + 1
    tasks = min(height, 64)
    low, high = box[0], box[1]
    sx = np.float32(nx) / (high[0] - low[0])
    sy = np.float32(ny) / (high[1] - low[1])
    sz = np.float32(nz) / (high[2] - low[2])
    px, py, pz = pose[0, 3], pose[1, 3], pose[2, 3]
    middle_x, middle_y = _HALF * np.float32(width) - _HALF, _HALF * np.float32(height) - _HALF
    samples = np.float32(num_samples)
    part = _ONE / samples
    # rows are dealt out in turn, since those with the head in them lie together
    for task in numba.prange(tasks):
        for row in range(task, height, tasks):
            for column in range(width):
                right, up = (np.float32(column) - middle_x) / focal, (middle_y - np.float32(row)) / focal
                norm = _ONE / np.sqrt(right * right + up * up + _ONE)
                dx = (pose[0, 0] * right + pose[0, 1] * up - pose[0, 2]) * norm
                dy = (pose[1, 0] * right + pose[1, 1] * up - pose[1, 2]) * norm
                dz = (pose[2, 0] * right + pose[2, 1] * up - pose[2, 2]) * norm
                ax, bx = _along(px, dx, low[0], high[0])
                ay, by = _along(py, dy, low[1], high[1])
                az, bz = _along(pz, dz, low[2], high[2])
                enter, leave = max(max(ax, ay), max(az, _ZERO)), min(bx, min(by, bz))
                red = green = blue = _ZERO
                transmittance = _ONE
                step = (leave - enter) * part
                # from here on in cells
                x0, y0, z0 = (
                    (px + enter * dx - low[0]) * sx,
                    (py + enter * dy - low[1]) * sy,
                    (pz + enter * dz - low[2]) * sz,
                )
                dx, dy, dz = dx * step * sx, dy * step * sy, dz * step * sz
                ax, bx = _along(x0, dx, bounds[0, 0], bounds[1, 0])
                ay, by = _along(y0, dy, bounds[0, 1], bounds[1, 1])
                az, bz = _along(z0, dz, bounds[0, 2], bounds[1, 2])
                # one sample more on either side than needed: rounding must not lose any
                begin = int(max(max(ax, ay), max(az, _HALF)) - _HALF)
                end = int(max(min(min(bx, by), min(bz, samples)) + _ONE, _ZERO)) if leave > enter else 0
                for sample in range(begin, min(end, num_samples)):
                    at = np.float32(sample) + _HALF
                    x, y, z = x0 + at * dx, y0 + at * dy, z0 + at * dz
                    ix = min(max(int(x), 0), nx - 1)
                    iy = min(max(int(y), 0), ny - 1)
                    iz = min(max(int(z), 0), nz - 1)
                    cell = ix * ny + iy
                    if iz < ranges[cell, 0] or iz >= ranges[cell, 1]:
                        continue
                    a = ix * stride + iy
                    u, v, w = x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)
                    logarithm = sr = sg = sb = _ZERO
                    for corner in range(4):
                        here = a + (corner & 1) + (corner >> 1) * stride
                        weight = (v if corner & 1 else _ONE - v) * (u if corner >> 1 else _ONE - u)
                        vertex = offset[here] + iz - first[here]
                        far = weight * w
                        near = weight - far
                        logarithm += near * values[vertex, 0] + far * values[vertex + 1, 0]
                        sr += near * values[vertex, 1] + far * values[vertex + 1, 1]
                        sg += near * values[vertex, 2] + far * values[vertex + 1, 2]
                        sb += near * values[vertex, 3] + far * values[vertex + 1, 3]
                    left = transmittance * np.exp(-np.exp(logarithm) * step)
                    share = transmittance - left
                    red += share * sr
                    green += share * sg
                    blue += share * sb
                    transmittance = left
                    if transmittance < _OPAQUE:
                        break
                out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue
                out[row, column, 3] = _ONE - transmittance
