"""Tile-based rasterization of projected Gaussians on CPUs, forward and backward.

The image is cut into tiles of 16x16 pixels, and each tile goes through its Gaussians front to back, row by row: the
16 pixels of a row are a vector (vectors.py). Backward goes front to back a second time, so that nothing but the
image and its transmittance is stored. A tile writes the gradients of each of its Gaussians to a row of its own;
they are summed by Gaussian afterwards, in the order of the tiles. So no two threads write to one place, and the result
does not depend on their number.

Constants are gsplat's (Ye et al., 2024): alpha at most 0.999 and at least 1/255, a pixel is finished before its
transmittance falls to 1e-4, pixel centres lie at halves.
"""

# numba gives intrinsics other signatures than their definitions
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
from __future__ import annotations

import numba
import numpy as np

from nerfstudio_talking.splatting.kernels.vectors import (
    above,
    fill,
    fma,
    high,
    load,
    low,
    magnitude,
    pick,
    ramp,
    store,
    total,
)

TILE = 16
"""Side of a tile, pixels; the width of a row vector."""
GEOMETRY = 8
"""Columns of the geometric gradients: mean (2), conic (3), opacity, absolute gradient of the mean (2)."""
_F = np.float32
_MAX_ALPHA, _MIN_ALPHA, _MIN_TRANSMITTANCE = _F(0.999), _F(1 / 255), _F(1e-4)
_HALF, _ONE, _ZERO = _F(0.5), _F(1.0), _F(0.0)
_DEEPEST = _F(5.6)
"""Exponents are held at this: exp(-5.6) is below the least alpha."""
_SERIES = tuple(
    _F(c)
    for c in (0.9999999403953552, 0.9999925494194031, 0.4998825788497925, 0.1659739762544632, 0.03977256268262863,
              0.005846760235726733)
)  # fmt: skip
"""The polynomial of degree 5 of least relative error (8e-8) to exp on [-0.7, 0]."""
_OPTIONS = {"fastmath": True, "error_model": "numpy", "cache": True, "nogil": True}


@numba.njit(inline="always")
def _exp_minus(x):
    """exp(-x) = exp(-x / 8)^8 for vectors x in [0, 5.6], to 1e-6 of itself."""
    t = x * fill(_F(-0.125))
    p = fma(t, fill(_SERIES[5]), fill(_SERIES[4]))
    p = fma(p, t, fill(_SERIES[3]))
    p = fma(p, t, fill(_SERIES[2]))
    p = fma(p, t, fill(_SERIES[1]))
    p = fma(p, t, fill(_SERIES[0]))
    p = p * p
    p = p * p
    return p * p


@numba.njit(**_OPTIONS)
def sort_by_depth(depths, order, scratch):
    """Fill `order` with the indices of ascending positive depths; equal ones keep their order. Radix sort."""
    keys = depths.view(np.uint32)
    count = len(depths)
    for i in range(count):
        order[i] = i
    source, target = order, scratch
    counts = np.empty(2048, np.int64)
    for digit in range(3):
        shift, mask = np.uint32(11 * digit), np.uint32(2047 if digit < 2 else 1023)
        counts[:] = 0
        for i in range(count):
            counts[(keys[i] >> shift) & mask] += 1
        total = 0
        for d in range(2048):
            here = counts[d]
            counts[d] = total
            total += here
        for k in range(count):
            d = (keys[source[k]] >> shift) & mask
            target[counts[d]] = source[k]
            counts[d] += 1
        source, target = target, source
    if source is not order:
        order[:] = source


@numba.njit(**_OPTIONS)
def bounds_of(means, conics, opacities, radii, width, height, bounds, extents):
    """Tiles and rows that each Gaussian reaches.

    Fills `bounds` (gaussians, 4): first and last tile column and row, the last ones exclusive; `extents` (gaussians,):
    vertical reach in pixels. A Gaussian reaches the tiles that gsplat's square of side 2 `radii` touches, less those
    where its alpha is below the least one everywhere.
    """
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    for g in range(len(means)):
        bounds[g, 0] = bounds[g, 1] = bounds[g, 2] = bounds[g, 3] = 0
        extents[g] = _ZERO
        reach = _F(255.0) * opacities[g]
        a, b, c = conics[g, 0], conics[g, 1], conics[g, 2]
        determinant = a * c - b * b
        if radii[g] <= 0 or reach <= _ONE or determinant <= _ZERO:
            continue
        radius = _F(radii[g])
        # half axes of the box about the ellipse where alpha is the least one, a little enlarged against rounding
        twice = _F(2.0) * np.log(reach) * _F(1.0001) / determinant
        reach_x, reach_y = np.sqrt(twice * c) + _F(1e-3), np.sqrt(twice * a) + _F(1e-3)
        x, y = means[g, 0], means[g, 1]
        side = _F(TILE)
        low_x = max(np.floor((x - radius) / side), np.floor((x - reach_x) / side))
        high_x = min(np.ceil((x + radius) / side), np.ceil((x + reach_x) / side))
        low_y = max(np.floor((y - radius) / side), np.floor((y - reach_y) / side))
        high_y = min(np.ceil((y + radius) / side), np.ceil((y + reach_y) / side))
        bounds[g, 0] = min(max(low_x, _ZERO), _F(tiles_x))
        bounds[g, 1] = min(max(high_x, _ZERO), _F(tiles_x))
        bounds[g, 2] = min(max(low_y, _ZERO), _F(tiles_y))
        bounds[g, 3] = min(max(high_y, _ZERO), _F(tiles_y))
        extents[g] = reach_y


@numba.njit(**_OPTIONS)
def count_tiles(bounds, tiles_x, offsets):
    """Fill `offsets` (tiles + 1,) with the running number of Gaussians by tile; returns how many pairs there are."""
    offsets[:] = 0
    for g in range(len(bounds)):
        for row in range(bounds[g, 2], bounds[g, 3]):
            for column in range(bounds[g, 0], bounds[g, 1]):
                offsets[row * tiles_x + column + 1] += 1
    for tile in range(len(offsets) - 1):
        offsets[tile + 1] += offsets[tile]
    return offsets[-1]


@numba.njit(**_OPTIONS)
def fill_tiles(order, bounds, tiles_x, offsets, ids, cursor):
    """Fill `ids` (pairs,) with the Gaussians of each tile in the order of their depths."""
    cursor[:] = offsets[:-1]
    for k in range(len(order)):
        g = order[k]
        for row in range(bounds[g, 2], bounds[g, 3]):
            for column in range(bounds[g, 0], bounds[g, 1]):
                tile = row * tiles_x + column
                ids[cursor[tile]] = g
                cursor[tile] += 1


@numba.njit(inline="always")
def _alphas_of(dx, constant, slope, half_a, opacity):
    """Alphas of a row before clamping, from the horizontal distances to the mean; 0 where the Gaussian is not seen."""
    sigma = fma(fma(half_a, dx, slope), dx, constant)
    nothing = fill(_ZERO)
    alphas = opacity * _exp_minus(low(high(sigma, nothing), fill(_DEEPEST)))
    return pick(sigma, nothing, pick(alphas, fill(_MIN_ALPHA), alphas))


@numba.njit(parallel=True, **_OPTIONS)
def forward(means, conics, opacities, colors, extents, offsets, ids, width, height, image, transmittance):
    """Fill `image` (height, width, channels), without background, and `transmittance` (height, width)."""
    channels = colors.shape[1]
    tiles_x = (width + TILE - 1) // TILE
    for tile in numba.prange(len(offsets) - 1):
        top, left = tile // tiles_x * TILE, tile % tiles_x * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        # rows of the tile: their channels, transmittance, and 1 where a pixel is not finished
        slots = channels + 2
        state = np.zeros((TILE, slots, TILE), _F)
        state[:, channels:] = _ONE
        open_rows = np.ones(TILE, np.bool_)
        num_open = rows
        steps = ramp()
        for k in range(offsets[tile], offsets[tile + 1]):
            if num_open == 0:
                break
            g = ids[k]
            mean_x, mean_y = means[g, 0], means[g, 1]
            b, c = conics[g, 1], conics[g, 2]
            opacity, half_a = fill(opacities[g]), fill(_HALF * conics[g, 0])
            dx = fill(mean_x - (_F(left) + _HALF)) - steps
            # rows whose centres lie within the reach
            first = max(int(np.ceil(mean_y - extents[g] - _HALF)) - top, 0)
            last = min(int(np.floor(mean_y + extents[g] - _HALF)) - top + 1, rows)
            for row in range(first, last):
                if not open_rows[row]:
                    continue
                dy = mean_y - (_F(top + row) + _HALF)
                at = row * slots * TILE
                through, alive = at + channels * TILE, at + (channels + 1) * TILE
                alphas = low(_alphas_of(dx, fill(_HALF * c * dy * dy), fill(b * dy), half_a, opacity), fill(_MAX_ALPHA))
                before = load(state, through)
                lives = load(state, alive) * above(before * (fill(_ONE) - alphas), fill(_MIN_TRANSMITTANCE))
                weights = alphas * before * lives
                store(state, through, before - weights)
                store(state, alive, lives)
                for channel in range(channels):
                    slot = at + channel * TILE
                    store(state, slot, fma(weights, fill(colors[g, channel]), load(state, slot)))
                if total(lives) == _ZERO:
                    open_rows[row] = False
                    num_open -= 1
        for row in range(rows):
            for i in range(columns):
                transmittance[top + row, left + i] = state[row, channels, i]
                for channel in range(channels):
                    image[top + row, left + i, channel] = state[row, channel, i]


@numba.njit(parallel=True, **_OPTIONS)
def backward(
    means, conics, opacities, colors, extents, offsets, ids, width, height, grad_image, remainder, absolute,
    pair_geometry, pair_colors,
):  # fmt: skip
    """Fill the gradients of each pair of tile and Gaussian.

    Args:
        grad_image: (height, width, channels).
        remainder: (height, width), the whole ray's share in the loss: the image times its gradient, plus
            transmittance times its gradient.
        absolute: whether the absolute gradients of the means are wanted.
        pair_geometry: (pairs, 8) zeros: mean x, y; conic a, b, c; opacity; absolute mean x, y.
        pair_colors: (pairs, channels) zeros.
    """
    channels = colors.shape[1]
    tiles_x = (width + TILE - 1) // TILE
    for tile in numba.prange(len(offsets) - 1):
        top, left = tile // tiles_x * TILE, tile % tiles_x * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        # rows of the tile: gradients of their channels, transmittance, 1 where not finished, what is left of the ray
        slots = channels + 3
        state = np.zeros((TILE, slots, TILE), _F)
        state[:, channels : channels + 2] = _ONE
        for row in range(rows):
            for i in range(columns):
                state[row, channels + 2, i] = remainder[top + row, left + i]
                for channel in range(channels):
                    state[row, channel, i] = grad_image[top + row, left + i, channel]
        sums = np.empty((channels, TILE), _F)
        open_rows = np.ones(TILE, np.bool_)
        num_open = rows
        steps, one, nothing = ramp(), fill(_ONE), fill(_ZERO)
        for k in range(offsets[tile], offsets[tile + 1]):
            if num_open == 0:
                break
            g = ids[k]
            mean_x, mean_y = means[g, 0], means[g, 1]
            a, b, c = conics[g, 0], conics[g, 1], conics[g, 2]
            opacity, half_a = fill(opacities[g]), fill(_HALF * a)
            dx = fill(mean_x - (_F(left) + _HALF)) - steps
            first = max(int(np.ceil(mean_y - extents[g] - _HALF)) - top, 0)
            last = min(int(np.floor(mean_y + extents[g] - _HALF)) - top + 1, rows)
            # moments of the slopes (d loss / d sigma) over the pixels: 1, x, xx, y, xy, yy
            m_1 = m_x = m_xx = m_y = m_xy = m_yy = abs_x = abs_y = nothing
            for channel in range(channels):
                store(sums, channel * TILE, nothing)
            for row in range(first, last):
                if not open_rows[row]:
                    continue
                dy = mean_y - (_F(top + row) + _HALF)
                at = row * slots * TILE
                through, alive, left_over = at + channels * TILE, at + (channels + 1) * TILE, at + (channels + 2) * TILE
                raw = _alphas_of(dx, fill(_HALF * c * dy * dy), fill(b * dy), half_a, opacity)
                alphas = low(raw, fill(_MAX_ALPHA))
                before = load(state, through)
                lives = load(state, alive) * above(before * (one - alphas), fill(_MIN_TRANSMITTANCE))
                weights = alphas * before * lives
                store(state, through, before - weights)
                store(state, alive, lives)
                along = nothing
                for channel in range(channels):
                    grads = load(state, at + channel * TILE)
                    along = fma(grads, fill(colors[g, channel]), along)
                    store(sums, channel * TILE, fma(weights, grads, load(sums, channel * TILE)))
                rest = load(state, left_over) - weights * along
                store(state, left_over, rest)
                # a clamped alpha has no slope
                slopes = pick(fill(_MAX_ALPHA), raw, alphas * lives) * (rest / (one - alphas) - before * along)
                y = fill(dy)
                slopes_x, slopes_y = slopes * dx, slopes * y
                m_1, m_x, m_xx = m_1 + slopes, m_x + slopes_x, fma(slopes_x, dx, m_xx)
                m_y, m_xy, m_yy = m_y + slopes_y, fma(slopes_x, y, m_xy), fma(slopes_y, y, m_yy)
                if absolute:
                    abs_x = abs_x + magnitude(fma(slopes_x, fill(a), slopes_y * fill(b)))
                    abs_y = abs_y + magnitude(fma(slopes_x, fill(b), slopes_y * fill(c)))
                if total(lives) == _ZERO:
                    open_rows[row] = False
                    num_open -= 1
            of_x, of_y, of_1 = total(m_x), total(m_y), total(m_1)
            out = pair_geometry[k]
            out[0], out[1] = a * of_x + b * of_y, b * of_x + c * of_y
            out[2], out[3], out[4] = _HALF * total(m_xx), total(m_xy), _HALF * total(m_yy)
            out[5] = -of_1 / opacities[g]
            if absolute:
                out[6], out[7] = total(abs_x), total(abs_y)
            for channel in range(channels):
                pair_colors[k, channel] = total(load(sums, channel * TILE))


@numba.njit(**_OPTIONS)
def sum_pairs(ids, pair_geometry, pair_colors, geometry, colors):
    """Add the pairs' gradients up by Gaussian, in the order of the tiles."""
    channels = pair_colors.shape[1]
    for k in range(len(ids)):
        g = ids[k]
        for j in range(GEOMETRY):
            geometry[g, j] += pair_geometry[k, j]
        for j in range(channels):
            colors[g, j] += pair_colors[k, j]
