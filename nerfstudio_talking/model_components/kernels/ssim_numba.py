"""Mean SSIM on CPUs, forward and backward: a separable Gaussian window of 11 taps, zeros outside.

A row of an image is one run of floats, channels interleaved, so that a tap is a shift by the number of channels. Rows
are blurred first, then columns; columns are blurred 16 floats at a time (splatting/kernels/vectors.py), and compared
while they are in registers. SSIM needs four blurred planes: x, y, x^2 + y^2 and x y, since it reads the sum of the
variances alone. The partial derivatives with respect to three of them are kept; backward blurs these.

Each row is written by one thread and the rows are summed in order: the result does not depend on the number of threads.
"""

# numba gives intrinsics other signatures than their definitions
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
from __future__ import annotations

import math

import numba
import numpy as np

from nerfstudio_talking.splatting.kernels.vectors import WIDTH, above, fill, fma, load, ramp, store, total

REACH = 5
"""Taps on either side of the middle one."""
_BAND = 8
"""Rows of a task; they share a buffer."""
_F = np.float32
_C1, _C2 = _F(0.01**2), _F(0.03**2)
_RAW = [math.exp(-(i**2) / (2 * 1.5**2)) for i in range(REACH + 1)]
_SUM = 2 * math.fsum(_RAW) - 1
_W0, _W1, _W2, _W3, _W4, _W5 = (_F(w / _SUM) for w in _RAW)
_ONE, _TWO, _ZERO = _F(1.0), _F(2.0), _F(0.0)
# contraction alone: what is not finite must stay so, since the caller looks for it
_OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "cache": True, "nogil": True}


@numba.njit(inline="always")
def _blur(array, at, step):
    """The window over 16 elements from a flat index on; neighbouring taps lie `step` elements apart."""
    result = fill(_W0) * load(array, at)
    result = fma(fill(_W1), load(array, at - step) + load(array, at + step), result)
    result = fma(fill(_W2), load(array, at - 2 * step) + load(array, at + 2 * step), result)
    result = fma(fill(_W3), load(array, at - 3 * step) + load(array, at + 3 * step), result)
    result = fma(fill(_W4), load(array, at - 4 * step) + load(array, at + 4 * step), result)
    return fma(fill(_W5), load(array, at - 5 * step) + load(array, at + 5 * step), result)


@numba.njit(parallel=True, **_OPTIONS)
def forward(x, y, channels, planes, sums, partials):
    """Sum SSIM by row, and keep its partial derivatives.

    Args:
        x: (height, length), the rows of an image, `channels` interleaved.
        y: (height, length), the other image.
        channels: elements between neighbouring pixels.
        planes: (4, height + 10, stride) buffer; stride is a multiple of 16, at least `length`. The five rows above
            and below must be zeros.
        sums: (height,) sums of SSIM over each row.
        partials: (3, height, 10 * channels + stride) zeros: derivatives of a pixel's SSIM with respect to the blurred
            x, x^2 + y^2 and x y, with the margins of `REACH` pixels that blurring rows needs.
    """
    height, length = x.shape
    stride, margin = planes.shape[2], REACH * channels
    wide, size = stride + 2 * margin, planes.shape[1] * stride
    whole = length // WIDTH * WIDTH
    for band in numba.prange((height + _BAND - 1) // _BAND):
        padded = np.zeros((4, wide), _F)
        for row in range(band * _BAND, min((band + 1) * _BAND, height)):
            for j in range(0, whole, WIDTH):
                a, b = load(x, row * length + j), load(y, row * length + j)
                at = margin + j
                store(padded, at, a)
                store(padded, wide + at, b)
                store(padded, 2 * wide + at, fma(a, a, b * b))
                store(padded, 3 * wide + at, a * b)
            for j in range(whole, length):
                p, q = x[row, j], y[row, j]
                padded[0, margin + j], padded[1, margin + j] = p, q
                padded[2, margin + j], padded[3, margin + j] = p * p + q * q, p * q
            for plane in range(4):
                target, source = plane * size + (row + REACH) * stride, plane * wide + margin
                for j in range(0, stride, WIDTH):
                    store(planes, target + j, _blur(padded, source + j, channels))
    for row in numba.prange(height):
        one, two, c1, c2 = fill(_ONE), fill(_TWO), fill(_C1), fill(_C2)
        similarity = fill(_ZERO)
        for j in range(0, stride, WIDTH):
            at = (row + REACH) * stride + j
            mean_x, mean_y = _blur(planes, at, stride), _blur(planes, size + at, stride)
            squares, product = _blur(planes, 2 * size + at, stride), _blur(planes, 3 * size + at, stride)
            both = mean_x * mean_y
            square_means = fma(mean_x, mean_x, mean_y * mean_y)
            light, contrast = fma(two, both, c1), fma(two, product - both, c2)
            over_light, over_contrast = one / (square_means + c1), one / (squares - square_means + c2)
            # 0 beyond the end of the row
            inside = above(fill(_F(length - j)), ramp())
            scale = inside * over_light * over_contrast
            here = light * contrast * scale
            similarity = similarity + here
            of_squares, of_product = fill(_ZERO) - here * over_contrast, two * light * scale
            of_mean = (
                two * (mean_y * contrast * scale - mean_x * (here * over_light + of_squares)) - mean_y * of_product
            )
            out = row * wide + margin + j
            store(partials, out, of_mean)
            store(partials, height * wide + out, of_squares)
            store(partials, 2 * height * wide + out, of_product)
        sums[row] = total(similarity)


@numba.njit(parallel=True, **_OPTIONS)
def backward(x, y, channels, partials, scale, planes, grad):
    """Fill the gradient with respect to `x`.

    Args:
        x: (height, length), as in `forward`.
        y: (height, length).
        channels: elements between neighbouring pixels.
        partials: as `forward` left them.
        scale: gradient of the loss with respect to the sum of SSIM.
        planes: (3, height + 10, stride) buffer; the five rows above and below must be zeros.
        grad: (height, length).
    """
    height, length = x.shape
    stride, margin = planes.shape[2], REACH * channels
    wide, size = stride + 2 * margin, planes.shape[1] * stride
    whole = length // WIDTH * WIDTH
    for row in numba.prange(height):
        for plane in range(3):
            target, source = plane * size + (row + REACH) * stride, (plane * height + row) * wide + margin
            for j in range(0, stride, WIDTH):
                store(planes, target + j, _blur(partials, source + j, channels))
    for row in numba.prange(height):
        last = np.empty(WIDTH, _F)
        two, factor = fill(_TWO), fill(scale)
        at = (row + REACH) * stride
        for j in range(0, whole, WIDTH):
            of_mean, of_squares = _blur(planes, at + j, stride), _blur(planes, size + at + j, stride)
            of_product = _blur(planes, 2 * size + at + j, stride)
            a, b = load(x, row * length + j), load(y, row * length + j)
            store(grad, row * length + j, factor * fma(two * a, of_squares, fma(b, of_product, of_mean)))
        if whole < length:
            of_mean, of_squares = _blur(planes, at + whole, stride), _blur(planes, size + at + whole, stride)
            of_product = _blur(planes, 2 * size + at + whole, stride)
            a, b = fill(_ZERO), fill(_ZERO)
            for plane in range(2):
                last[:] = _ZERO
                for j in range(whole, length):
                    last[j - whole] = x[row, j] if plane == 0 else y[row, j]
                if plane == 0:
                    a = load(last, 0)
                else:
                    b = load(last, 0)
            store(last, 0, factor * fma(two * a, of_squares, fma(b, of_product, of_mean)))
            for j in range(whole, length):
                grad[row, j] = last[j - whole]
