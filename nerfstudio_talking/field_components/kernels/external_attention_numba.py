"""External attention on CPUs: logits, both normalisations and the sum over slots in one pass, a block of points at a
time. The attention, (points, tokens, slots), is the largest tensor of a training step in torch and is never stored
here: backward computes it again. Compiled on first use; the machine code is kept on disk for the next process.
"""

from __future__ import annotations

import numba
import numpy as np

BLOCK = 128
_F = np.float32
_LOG2E, _LN2_HIGH, _LN2_LOW = _F(1.4426950408889634), _F(0.693359375), _F(-2.12194440e-4)
_LEAST = _F(-87.0)
"""Its exponential is the least normal number."""
_SERIES = tuple(_F(1 / n) for n in (720, 120, 24, 6, 2))


@numba.njit(inline="always")
def _exponentials(values, n, bits, powers):
    """exp of the first `n` values in place, none of them above 0: a power of two times a series.

    numba's own is a call for each number; this loop becomes vector instructions. `bits` and `powers` are one buffer,
    seen as integers and as numbers.
    """
    for i in range(n):
        x = max(values[i], _LEAST)
        k = np.floor(x * _LOG2E + _F(0.5))
        r = x - k * _LN2_HIGH - k * _LN2_LOW
        p = _SERIES[0] * r + _SERIES[1]
        p = p * r + _SERIES[2]
        p = p * r + _SERIES[3]
        p = p * r + _SERIES[4]
        values[i] = (p * r + _F(1)) * r + _F(1)
        bits[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
    for i in range(n):
        values[i] *= powers[i]


@numba.njit(inline="always")
def _slot(tile, key, s, n, weights, most, bits, powers):
    """Fill `weights` (tokens, BLOCK) with slot `s` of the attention's first normalisation: a softmax over tokens."""
    tokens, query_dim = len(weights), len(key)
    for i in range(n):
        most[i] = _F(-3e38)
    for c in range(tokens):
        row = weights[c]
        for i in range(n):
            row[i] = tile[c * query_dim, i] * key[0, s]
        for q in range(1, query_dim):
            for i in range(n):
                row[i] += tile[c * query_dim + q, i] * key[q, s]
        for i in range(n):
            most[i] = max(most[i], row[i])
    for c in range(tokens):
        row = weights[c]
        for i in range(n):
            row[i] -= most[i]
        _exponentials(row, n, bits, powers)
    for i in range(n):
        most[i] = _F(0)
    for c in range(tokens):
        for i in range(n):
            most[i] += weights[c, i]
    for i in range(n):
        most[i] = _F(1) / most[i]
    for c in range(tokens):
        for i in range(n):
            weights[c, i] *= most[i]


@numba.njit(inline="always")
def _scratch(query, begin, n, tokens):
    """A block's queries by column (columns, BLOCK), and what `_slot` needs: weights, most, bits and powers."""
    tile, bits = np.empty((query.shape[1], BLOCK), _F), np.empty(BLOCK, np.int32)
    for i in range(n):
        for column in range(query.shape[1]):
            tile[column, i] = query[begin + i, column]
    return tile, np.empty((tokens, BLOCK), _F), np.empty(BLOCK, _F), bits, bits.view(_F)


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def forward(query, key, value, attended, total):
    """Fill `attended` (points, tokens) and `total`, each token's sum over the slots before its normalisation.

    `query` is (points, tokens * query_dim), `key` (query_dim, slots), `value` (slots,); all of 32 bits.
    """
    num_points, tokens = attended.shape
    slots = key.shape[1]
    for block in numba.prange((num_points + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, num_points - begin)
        tile, weights, most, bits, powers = _scratch(query, begin, n, tokens)
        shares, sums = np.zeros((tokens, BLOCK), _F), np.zeros((tokens, BLOCK), _F)
        for s in range(slots):
            _slot(tile, key, s, n, weights, most, bits, powers)
            for c in range(tokens):
                for i in range(n):
                    shares[c, i] += weights[c, i] * value[s]
                    sums[c, i] += weights[c, i]
        for i in range(n):
            for c in range(tokens):
                attended[begin + i, c] = shares[c, i] / sums[c, i]
                total[begin + i, c] = sums[c, i]


@numba.njit(parallel=True, fastmath=True, nogil=True, error_model="numpy", cache=True)
def backward(grad, query, key, value, attended, total, grad_query, grad_memory):
    """Fill the query's gradient, and each block's share of the memories': `grad_memory` (blocks, query_dim + 1, slots),
    the key's rows first, then the value's. One task per block, each with a slice of its own: the sum has one order."""
    num_points, tokens = attended.shape
    query_dim, slots = key.shape
    for block in numba.prange((num_points + BLOCK - 1) // BLOCK):
        begin = block * BLOCK
        n = min(BLOCK, num_points - begin)
        tile, weights, most, bits, powers = _scratch(query, begin, n, tokens)
        slopes, moved = np.empty((tokens, BLOCK), _F), np.zeros((tokens * query_dim, BLOCK), _F)
        outputs, mean = np.empty((tokens, BLOCK), _F), np.empty(BLOCK, _F)
        for i in range(n):
            for c in range(tokens):
                slopes[c, i] = grad[begin + i, c] / total[begin + i, c]
                outputs[c, i] = attended[begin + i, c]
        for s in range(slots):
            _slot(tile, key, s, n, weights, most, bits, powers)
            of_value = _F(0)
            for i in range(n):
                mean[i] = _F(0)
            for c in range(tokens):
                for i in range(n):
                    share = weights[c, i] * slopes[c, i]
                    of_value += share
                    mean[i] += share * (value[s] - outputs[c, i])
            grad_memory[block, query_dim, s] = of_value
            for q in range(query_dim):
                grad_memory[block, q, s] = _F(0)
            for c in range(tokens):
                row = weights[c]
                for i in range(n):
                    row[i] *= slopes[c, i] * (value[s] - outputs[c, i]) - mean[i]
                for q in range(query_dim):
                    of_key = _F(0)
                    for i in range(n):
                        moved[c * query_dim + q, i] += row[i] * key[q, s]
                        of_key += row[i] * tile[c * query_dim + q, i]
                    grad_memory[block, q, s] += of_key
        for i in range(n):
            for column in range(tokens * query_dim):
                grad_query[begin + i, column] = moved[column, i]
