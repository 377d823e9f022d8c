"""Vectors of 16 float32 for numba kernels: one AVX-512 register, two of AVX2, four of SSE or NEON.

numba leaves vectorization to LLVM's guess, which fails where loops write to several arrays, since they might overlap.
These are LLVM's own vector operations, so that nothing is guessed: `load`, `store`, `fill`, arithmetic with `+ - * /`,
`fma`, `low` and `high` (minimum, maximum), `above` (1 where a > b, else 0), `pick`, `total`.
"""

# numba gives intrinsics other signatures than their definitions
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

WIDTH = 16
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)


class VectorType(types.Type):
    """numba's type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Float32x16")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        super().__init__(manager, fe_type, _VECTOR)


def _pointer(context, builder, array_type, array, index):
    """Address of a flat element of a contiguous array, as that of a vector."""
    view = context.make_array(array_type)(context, builder, array)
    return builder.bitcast(builder.gep(view.data, [index]), _VECTOR.as_pointer())


def _is_flat(array) -> bool:
    return isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"


@intrinsic
def load(typing_context, array, index):
    """16 elements of a contiguous float32 array from a flat index on."""
    if not _is_flat(array):
        return None

    def build(context, builder, signature, arguments):
        index_value = context.cast(builder, arguments[1], signature.args[1], types.intp)
        loaded = builder.load(_pointer(context, builder, signature.args[0], arguments[0], index_value))
        loaded.align = 4
        return loaded

    return vector(array, index), build


@intrinsic
def store(typing_context, array, index, value):
    """Write 16 elements of a contiguous float32 array from a flat index on."""
    if not _is_flat(array) or value != vector:
        return None

    def build(context, builder, signature, arguments):
        index_value = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], arguments[0], index_value), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), build


def _splat(builder, scalar):
    """A scalar in every lane."""
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), mask)


@intrinsic
def fill(typing_context, scalar):
    """A float32 in every lane."""
    if scalar != types.float32:
        return None
    return vector(scalar), lambda context, builder, signature, arguments: _splat(builder, arguments[0])


@intrinsic
def ramp(typing_context):
    """0, 1, ..., 15."""

    def build(context, builder, signature, arguments):
        return ir.Constant(_VECTOR, [float(i) for i in range(WIDTH)])

    return vector(), build


def _binary(emit):
    @intrinsic
    def operation(typing_context, a, b):
        if a != vector or b != vector:
            return None
        return vector(a, b), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


_add = _binary(lambda builder, a, b: builder.fadd(a, b))
_sub = _binary(lambda builder, a, b: builder.fsub(a, b))
_mul = _binary(lambda builder, a, b: builder.fmul(a, b))
_div = _binary(lambda builder, a, b: builder.fdiv(a, b))
low = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
high = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
above = _binary(
    lambda builder, a, b: builder.select(
        builder.fcmp_ordered(">", a, b), ir.Constant(_VECTOR, [1.0] * WIDTH), ir.Constant(_VECTOR, [0.0] * WIDTH)
    )
)


def _overload_operator(python_operator, implementation) -> None:
    @overload(python_operator)
    def chosen(a, b):
        if a == vector and b == vector:
            return lambda a, b: implementation(a, b)
        return None


for _operator, _implementation in (
    (operator.add, _add), (operator.sub, _sub), (operator.mul, _mul), (operator.truediv, _div),
):  # fmt: skip
    _overload_operator(_operator, _implementation)


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, in one step where the CPU has one."""
    if not a == b == c == vector:
        return None

    def build(context, builder, signature, arguments):
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{WIDTH}f32")
        return builder.call(function, arguments)

    return vector(a, b, c), build


@intrinsic
def pick(typing_context, limit, bound, value):
    """`value` where limit >= bound, else 0."""
    if not limit == bound == value == vector:
        return None

    def build(context, builder, signature, arguments):
        limit_value, bound_value, chosen = arguments
        zero = ir.Constant(_VECTOR, [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered(">=", limit_value, bound_value), chosen, zero)

    return vector(limit, bound, value), build


@intrinsic
def magnitude(typing_context, a):
    """Absolute values."""
    if a != vector:
        return None

    def build(context, builder, signature, arguments):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.fabs.v{WIDTH}f32"
        )
        return builder.call(function, arguments)

    return vector(a), build


@intrinsic
def total(typing_context, a):
    """The sum of the lanes, by halves: the same order on every CPU."""
    if a != vector:
        return None

    def build(context, builder, signature, arguments):
        (value,) = arguments
        width = WIDTH
        while width > 1:
            width //= 2
            lanes = ir.VectorType(ir.IntType(32), width)
            lower = builder.shuffle_vector(value, value, ir.Constant(lanes, list(range(width))))
            upper = builder.shuffle_vector(value, value, ir.Constant(lanes, list(range(width, 2 * width))))
            value = builder.fadd(lower, upper)
        return builder.extract_element(value, ir.IntType(32)(0))

    return types.float32(a), build
