"""How far a result in floating point may lie from the exact one, on every CPU and in every order of summation.

A test of a kernel computes its reference in double precision from the same inputs, derives a bound from the arithmetic
with the functions below, and compares element by element with `assert_within`. The bounds are worst cases: an error
beyond them is a fault of the kernel and not of the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


def rounding_bound(num_operations: float | Array, magnitude: Array, dtype: torch.dtype = torch.float32) -> Array:
    """Largest rounding error of a result: epsilon * `num_operations` * `magnitude`.

    An addition, multiplication, division or square root errs by at most half an epsilon of its result, whether or not
    the compiler fuses it with another. A sum of n terms errs by at most (n - 1) halves of an epsilon times the sum of
    the terms' absolute values, in every order and with every number of partial sums (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd edition, section 4.2). The errors of factors add. A whole epsilon per operation instead
    of a half pays for what is of second order.

    Args:
        num_operations: roundings that a term passes through on its way to the result, the additions of the sum that
            it is a part of included; a number, or one for each element.
        magnitude: sum of the absolute values of the terms, in double precision. Where terms cancel it is larger than
            the absolute value of the result.
        dtype: type that the tested arithmetic computes in.
    """
    return torch.finfo(dtype).eps * num_operations * magnitude


def propagated_bound(outputs: Tensor, errors: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Error of results to first order, given the errors of values that they are computed from.

    Args:
        outputs: (items, channels) double, a differentiable function of every value below. Item i depends on the values
            of item i alone.
        errors: pairs of values (items, ...), as they stand in the graph of `outputs`, and bounds of their errors.

    Returns:
        (items, channels): the sum over the values of |d output / d value| * error.
    """
    values = [value for value, _ in errors]
    channels = []
    for channel in range(outputs.shape[1]):
        slopes = torch.autograd.grad(outputs[:, channel].sum(), values, retain_graph=True)
        channels.append(sum((s.abs() * e).flatten(1).sum(1) for s, (_, e) in zip(slopes, errors, strict=True)))
    return torch.stack(channels, 1)


def assert_within(found: np.ndarray | Tensor, expected: np.ndarray | Tensor, bound: np.ndarray | Tensor) -> None:
    """Assert |found - expected| <= bound for every element; the message says by how much the worst one misses it."""
    found, expected, bound = (_double(array) for array in (found, expected, bound))
    assert found.shape == expected.shape, f"shape {found.shape} instead of {expected.shape}"
    assert np.isfinite(found).all(), "not finite"
    error = np.abs(found - expected)
    bound = np.broadcast_to(bound, error.shape)
    if not (error <= bound).all():
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(error - bound), error.shape))
        raise AssertionError(
            f"{(error > bound).sum()} of {error.size} elements miss their bounds; the worst at {worst}: "
            f"{found[worst]} instead of {expected[worst]}, error {error[worst]:.3g}, bound {bound[worst]:.3g}"
        )


def _double(array: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(array, Tensor):
        return array.detach().cpu().double().numpy()
    return np.asarray(array, np.float64)
