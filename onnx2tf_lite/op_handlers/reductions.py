"""Operators along axes: Reduce*, ArgMax/ArgMin, the softmax family, running sums and products, TopK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeGuard

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Shape
from ..ir.graph import Value, constant
from ..ir.kinds import KINDS
from ..ir.kinds.reduction import AT_RUN_TIME, highest
from ..ir.traits import Elements
from . import _maths as m
from ._loops import Seen, iterate, put, scalar
from .registry import UnsupportedError, const, op

Step = Callable[[Value], Value]
Axes = tuple[int, ...] | Value


def integers(value: Value | None, what: str) -> list[int] | None:
    """The elements of an operand that must be constant (an empty one is)."""
    if value is not None and value.size == 0:
        return []
    array = const(value, what)
    return None if array is None else [int(i) for i in array.ravel()]


def at_run_time(value: Value | None) -> TypeGuard[Value]:
    """True for a parameter whose elements only run time knows."""
    return value is not None and not value.is_constant and value.size != 0


def run_time_axes(axes: Value, rank: int) -> Value:
    """Axes that only run time knows as an i32 vector, counted from the front."""
    if not isinstance(axes.size, int):
        raise UnsupportedError("the number of axes is only known at run time", "make axes a constant")
    if axes.size > max(rank, 1):
        raise UnsupportedError(f"{axes.size:,} axes of a tensor that has {rank}", "name each axis once")
    if not rank:
        raise UnsupportedError("the axes of a scalar are only known at run time", "leave axes out: a scalar has none")
    return b.floor_mod(b.cast(b.reshape(axes, (-1,)), np.int32), rank)


def reduced_axes(x: Value, axes: Value | None, noop: int) -> Axes:
    """Sorted non-negative axes, or an i32 vector at run time; none given means all, or with ``noop`` none."""
    if at_run_time(axes):
        return run_time_axes(axes, x.rank)
    given = integers(axes, "axes")
    return tuple(sorted(b.axis_of(a, x.rank) for a in given)) if given else () if noop else tuple(range(x.rank))


def reduced_shape(shape: Shape, axes: Axes, keepdims: bool | int) -> Shape:
    """``shape`` with ``axes`` as 1 or gone."""
    if isinstance(axes, Value):
        places = b.reshape(b.iota(len(shape)), (len(shape), 1))
        gone = b.reduce("REDUCE_ANY", b.equal(places, b.reshape(axes, (1, -1))), [1])
        if keepdims:
            return b.dims_of(b.where(gone, np.int32(1), b.dims_value(shape)))
        kept = b.reshape(b.emit("WHERE", b.logical_not(gone)), (len(shape) - int(axes.shape[0]),))  # type: ignore[arg-type]
        return b.dims_of(b.gather(b.dims_value(shape), kept))
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keepdims or i not in axes)


def over_nothing(kind: str, dtype: np.dtype) -> float:
    """The value of a reduction over no elements; what the kernels return for that differs."""
    empty = KINDS[kind].empty
    assert empty is not None, kind
    return empty(dtype)


def _reduce(kind: str, x: Value, axes: Axes, keepdims: int) -> Value:
    """A kernel, or its value over the empty set."""
    if x.size == 0 if isinstance(axes, Value) else any(x.shape[a] == 0 for a in axes):
        return b.fill(reduced_shape(x.shape, axes, keepdims), over_nothing(kind, x.dtype), x.dtype)
    if isinstance(axes, Value):
        shape = reduced_shape(x.shape, axes, keepdims)
        y = b.emit(f"{kind}{AT_RUN_TIME}", x, axes, shape=shape, keepdims=bool(keepdims))
        extents = () if dims.is_static(x.shape) else b.dims_of(b.gather(b.shape_of(x), axes))
    else:
        y, extents = b.reduce(kind, x, axes, bool(keepdims)), tuple(x.shape[a] for a in axes)
    if KINDS[kind].elements is not Elements.PICKED or x.dtype.kind != "f" or dims.is_static(extents):
        return y
    empty = b.less(b.reduce("REDUCE_PROD", b.dims_value(extents), [0]), 1)  # the kernel's value for that is finite
    return b.where(empty, x.dtype.type(over_nothing(kind, x.dtype)), y)


def _real(function: Step) -> Step:
    """``function`` of float32, the result in the dtype of the operand."""
    return lambda x: b.cast(function(b.cast(x, np.float32)), x.dtype)


def _same(x: Value) -> Value:
    return x


def _squared(x: Value) -> Value:
    return b.square(x) if x.dtype.kind == "f" else x * x


def _register(name: str, kind: str, before: Step = _same, after: Step = _same, of_bools: str = "") -> None:
    """A handler: what is done to each element, the kernel (and that of bools), what is done to each result."""

    @op(name)
    def handler(x: Value, axes: Value | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Value:
        kernel = of_bools if of_bools and x.dtype == bool else kind
        return after(_reduce(kernel, before(x), reduced_axes(x, axes, noop_with_empty_axes), keepdims))


_register("ReduceSum", "SUM")
_register("ReduceMean", "MEAN")
_register("ReduceProd", "REDUCE_PROD")
_register("ReduceMax", "REDUCE_MAX", of_bools="REDUCE_ANY")
_register("ReduceMin", "REDUCE_MIN", of_bools="REDUCE_ALL")
_register("ReduceL1", "SUM", before=m.absolute)
_register("ReduceL2", "SUM", before=_squared, after=_real(b.sqrt))
_register("ReduceSumSquare", "SUM", before=_squared)
_register("ReduceLogSum", "SUM", after=_real(b.log))


@op("ReduceLogSumExp")
def reduce_log_sum_exp(
    x: Value, axes: Value | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    """max + log(sum(exp(x - max))); an infinite maximum is the result."""
    over = reduced_axes(x, axes, noop_with_empty_axes)
    if over == ():
        return x
    real = b.cast(x, np.float32)
    peak = _reduce("REDUCE_MAX", real, over, 1)
    total = b.log(_reduce("SUM", b.exp(real - peak), over, 1)) + peak
    result = b.where(b.less_equal(b.abs_(peak), m.MAX), total, peak)
    return b.cast(b.reshape(result, reduced_shape(x.shape, over, keepdims)), x.dtype)


# ------------------------------------------------------------------------------------------------ arguments


def _arg_handler(name: str, kind: str) -> None:
    @op(name)
    def handler(x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
        at = b.axis_of(axis, x.rank)
        place = b.arg(kind, b.reverse(x, [at]) if select_last_index else x, at, np.int64)
        if select_last_index:
            place = b.cast(b.reshape(b.dims_value([x.shape[at]]), ()), np.int64) - 1 - place
        return b.reshape(place, reduced_shape(x.shape, (at,), keepdims))


_arg_handler("ArgMax", "ARG_MAX")
_arg_handler("ArgMin", "ARG_MIN")


def descending(x: Value) -> Value:
    """A value of the same dtype that falls where ``x`` rises, without overflow; its own inverse."""
    if x.dtype.kind == "f":
        return b.neg(x)
    return b.sub(constant(highest(x.dtype) if x.dtype.kind == "u" else -1, x.dtype), x)


@op("TopK")
def top_k(x: Value, k: Value, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Value, Value]:
    (count,) = b.dims_of(b.reshape(k, (1,)))
    moved = b.move_axis(x, axis, -1)
    values, places = b.topk(moved if largest else descending(moved), count)
    values = values if largest else descending(values)
    return b.move_axis(values, -1, axis), b.cast(b.move_axis(places, -1, axis), np.int64)


# ------------------------------------------------------------------------------------------------ softmax


@op("Softmax")
def softmax(x: Value, *, axis: int = -1) -> Value:
    return b.softmax(x, axis)


@op("LogSoftmax")
def log_softmax(x: Value, *, axis: int = -1) -> Value:
    return b.softmax(x, axis, log=True)


@op("Hardmax")
def hardmax(x: Value, *, axis: int = -1) -> Value:
    """1 at the first maximum along ``axis``, 0 elsewhere."""
    at = b.axis_of(axis, x.rank)
    one, zero = (np.asarray(v, x.dtype) for v in (1, 0))
    return b.one_hot(b.arg("ARG_MAX", x, at), x.shape[at], one, zero, at)


# ------------------------------------------------------------------------------------------------ running totals


def at_axis(axis: Value | None, rank: int, compute: Callable[[int], Value], default: int = 0, count: int = 0) -> Value:
    """``compute(axis)``.  An axis that only run time knows: computed for each of the first ``count`` (all) axes, padded
    to one shape, chosen, and cut again.
    """
    if axis is None or axis.is_constant:
        return compute(b.axis_of((integers(axis, "axis") or [default])[0], rank))
    index = b.floor_mod(b.cast(b.reshape(axis, ()), np.int32), rank)
    results = [compute(i) for i in range(count or rank)]

    def chosen(values: Sequence[Value]) -> Value:
        found = values[0]
        for i, value in enumerate(values[1:], start=1):
            found = b.where(b.equal(index, i), value, found)
        return found

    if all(r.shape == results[0].shape for r in results):
        return chosen(results)
    room = [reduce(dims.maximum, extents) for extents in zip(*(r.shape for r in results), strict=True)]
    padded = [b.pad(r, [(0, most - d) for most, d in zip(room, r.shape, strict=True)]) for r in results]
    return b.slice_(chosen(padded), (0,) * len(room), b.dims_of(chosen([b.shape_of(r) for r in results])))


@op("CumSum")
def cumsum(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return at_axis(axis, x.rank, lambda at: b.cumsum(x, at, bool(exclusive), bool(reverse)))


@op("CumProd")
def cumprod(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return at_axis(axis, x.rank, lambda at: _running_product(x, at, bool(exclusive), bool(reverse)))


def _running_product(x: Value, at: int, exclusive: bool, reverse: bool) -> Value:
    """By doubling: after step d every element is the product of the last 2d.  In a loop where the extent is unknown."""
    count = x.shape[at]
    if not isinstance(count, int):
        return b.move_axis(_product_loop(b.move_axis(x, at, 0), exclusive, reverse), 0, at)
    shifts = ([1] if exclusive else []) + [1 << i for i in range(max(count - 1, 0).bit_length())]
    for step, shift in enumerate(shifts):
        pads = [((0, shift) if reverse else (shift, 0)) if i == at else (0, 0) for i in range(x.rank)]
        kept = b.narrow(x, at, shift if reverse else 0, max(count - shift, 0))
        moved = b.narrow(b.pad(kept, pads, 1), at, 0, count)
        x = moved if exclusive and step == 0 else x * moved
    return x


def _product_loop(x: Value, exclusive: bool, reverse: bool) -> Value:
    """The running product along axis 0, one row after the other."""
    count, *row = x.shape

    def step(i: Value, state: list[Value], seen: Seen) -> list[Value]:
        total, rows = state
        at = scalar(count) - 1 - i if reverse else i
        now = total * b.gather(seen[0], at)
        return [now, put(rows, at, total if exclusive else now)]

    return iterate(count, [b.fill(tuple(row), 1, x.dtype), b.fill(x.shape, 0, x.dtype)], [x], step)[1]
