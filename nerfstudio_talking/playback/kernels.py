"""The kernels of playback, for CPUs. Compiled on first use; the machine code is kept on disk for the next process."""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 256
"""Values of a block in `blend`: they and their sums stay in the first cache."""
CHANNELS = 4
"""Of a vertex: logarithm of the density in 1/metre, red, green, blue."""
OPAQUE = 1e-3
"""Transmittance from which a ray is not followed."""


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def blend(rest, response, terms, out):
    """Fill `out` with what the vertices are in one frame: rest + sum over terms of response * term.

    Args:
        rest: (blocks, BLOCK) float32.
        response: (blocks, terms, BLOCK) int16, in steps that `terms` carries.
        terms: (terms, BLOCK) float32, the frame's terms times the step of each channel, repeated.
        out: (blocks, BLOCK) float32.
    """
    for block in numba.prange(rest.shape[0]):
        values = out[block]
        for i in range(BLOCK):
            values[i] = rest[block, i]
        for k in range(terms.shape[0]):
            row, term = response[block, k], terms[k]
            for i in range(BLOCK):
                values[i] += np.float32(row[i]) * term[i]


@numba.njit(inline="always")
def _along(origin, direction, low, high):
    """Entry, exit of a ray through an interval."""
    inverse = np.float32(1) / (direction if abs(direction) > 1e-9 else np.float32(1e-9))
    a, b = (low - origin) * inverse, (high - origin) * inverse
    return min(a, b), max(a, b)


@numba.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def march(pose, focal, box, shape, first, last, offset, values, num_samples, out):
    """Fill `out` (height, width, 4) with premultiplied colour and opacity of what a camera sees of the vertices.

    Places along a ray are the field's: in the middle of `num_samples` equal parts of its way through the box. A place
    in a cell that is not there is skipped; behind an opaque place the ray ends.

    Args:
        pose: (3, 4) camera-to-world, OpenGL axes; the principal point is the picture's centre.
        focal: pixels.
        box: (2, 3) corners, metres.
        shape: cells along x, y, z.
        first, last, offset: of the columns.
        values: (vertices, CHANNELS) float32.
        num_samples: places along a ray.
        out: float32.
    """
    height, width = out.shape[:2]
    nx, ny, nz = shape
    tasks = min(height, 64)
    low, high = box[0], box[1]
    sx, sy, sz = nx / (high[0] - low[0]), ny / (high[1] - low[1]), nz / (high[2] - low[2])
    px, py, pz = pose[0, 3], pose[1, 3], pose[2, 3]
    # rows are dealt out in turn: those with the head in them lie together
    for task in numba.prange(tasks):
        for row in range(task, height, tasks):
            for column in range(width):
                x = (np.float32(column + 0.5) - np.float32(0.5) * width) / focal
                y = -(np.float32(row + 0.5) - np.float32(0.5) * height) / focal
                norm = np.float32(1) / np.sqrt(x * x + y * y + np.float32(1))
                dx = (pose[0, 0] * x + pose[0, 1] * y - pose[0, 2]) * norm
                dy = (pose[1, 0] * x + pose[1, 1] * y - pose[1, 2]) * norm
                dz = (pose[2, 0] * x + pose[2, 1] * y - pose[2, 2]) * norm
                ax, bx = _along(px, dx, low[0], high[0])
                ay, by = _along(py, dy, low[1], high[1])
                az, bz = _along(pz, dz, low[2], high[2])
                enter, leave = max(max(ax, ay), max(az, np.float32(0))), min(bx, min(by, bz))
                red = green = blue = np.float32(0)
                transmittance = np.float32(1)
                if leave > enter:
                    step = (leave - enter) / num_samples
                    for sample in range(num_samples):
                        distance = enter + (sample + np.float32(0.5)) * step
                        x, y = (px + distance * dx - low[0]) * sx, (py + distance * dy - low[1]) * sy
                        z = (pz + distance * dz - low[2]) * sz
                        ix = min(max(int(x), 0), nx - 1)
                        iy = min(max(int(y), 0), ny - 1)
                        iz = min(max(int(z), 0), nz - 1)
                        a = ix * (ny + 1) + iy
                        c = a + ny + 1
                        if iz < first[a] or iz < first[a + 1] or iz < first[c] or iz < first[c + 1]:
                            continue
                        if iz + 1 >= last[a] or iz + 1 >= last[a + 1] or iz + 1 >= last[c] or iz + 1 >= last[c + 1]:
                            continue
                        u, v, w = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
                        logarithm = sr = sg = sb = np.float32(0)
                        for corner in range(4):
                            at = a + (corner & 1) + (corner >> 1) * (ny + 1)
                            weight = (v if corner & 1 else 1 - v) * (u if corner >> 1 else 1 - u)
                            vertex = offset[at] + iz - first[at]
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
                        if transmittance < OPAQUE:
                            break
                out[row, column, 0], out[row, column, 1], out[row, column, 2] = red, green, blue
                out[row, column, 3] = np.float32(1) - transmittance
