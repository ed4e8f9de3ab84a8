"""Operators that ask for, make or change shapes: Shape, Reshape, Transpose, Concat, Split, Expand, Range, Cast, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike
from onnx import helper

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Expr, Shape
from ..ir.graph import Value, constant, content_of, current_graph
from ..ir.kinds.shapes import broadcast
from ._narrow import narrow
from ._structures import Item
from .reductions import at_run_time, integers, reduced_shape, run_time_axes
from .registry import Result, TensorAttribute, UnsupportedError, current_node, op


def scalar(dim: Dim, dtype: DTypeLike = np.int64) -> Value:
    """An extent as a 0-d tensor."""
    return b.cast(b.reshape(b.dims_value([dim]), ()), dtype)


def ir_type(to: int) -> np.dtype:
    """The dtype that stands for an ONNX element type: every float is float32."""
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if dtype.name in ("float64", "float16", "bfloat16", "float32"):
        return np.dtype(np.float32)
    if dtype.kind not in "biu" or dtype.itemsize * 8 != int("".join(c for c in dtype.name if c.isdigit()) or 8):
        raise UnsupportedError(
            f"{'text' if dtype.kind == 'O' else dtype} has no counterpart in TFLite", "use float32 or an 8-bit integer"
        )
    return dtype


# ------------------------------------------------------------------------------------------------ asking


@op("Shape")
def shape(x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return b.cast(b.dims_value(x.shape[start:end]), np.int64)


@op("Size")
def size(x: Value) -> Value:
    return scalar(x.size)


# ------------------------------------------------------------------------------------------------ views


@op("Identity", tensors=False)
def identity(x: Item) -> list[Item]:
    return [x]


@op("Reshape")
def reshape(x: Value, shape: Value, *, allowzero: int = 0) -> Value:
    """0 copies the extent in that place (unless ``allowzero``), one -1 takes the rest."""
    if content_of(shape) is None:
        return b.reshape(x, b.dims_of(_resolved(x, shape, allowzero)))
    wanted = b.dims_of(shape)
    return b.reshape(x, tuple(x.shape[i] if d == 0 and not allowzero else d for i, d in enumerate(wanted)))


def _resolved(x: Value, shape: Value, allowzero: int) -> Value:
    """A shape that only run time knows, its 0 and -1 replaced there."""
    (count,) = shape.shape
    if not isinstance(count, int):
        raise UnsupportedError("the rank of the result is only known at run time", "make the shape a constant")
    wanted = b.cast(shape, np.int32)
    if not allowzero:
        own = b.dims_value([*x.shape, *[1] * count][:count])
        wanted = b.where(b.equal(wanted, 0), own, wanted)
    rest = b.equal(wanted, -1)
    known = b.reduce("REDUCE_PROD", b.where(rest, 1, wanted), [0], keepdims=True)
    return b.where(rest, b.div(b.dims_value([x.size]), b.maximum(known, 1)), wanted)


@op("Flatten")
def flatten(x: Value, *, axis: int = 1) -> Value:
    axis = axis + x.rank if axis < 0 else axis
    return b.reshape(x, (dims.product(x.shape[:axis]), dims.product(x.shape[axis:])))


@op("Squeeze")
def squeeze(x: Value, axes: Value | None = None) -> Value:
    """Without axes all extents that are 1 in every run go; a symbolic one stays."""
    if at_run_time(axes):
        return b.reshape(x, reduced_shape(x.shape, run_time_axes(axes, x.rank), False))
    given = integers(axes, "axes")
    gone = [i for i, d in enumerate(x.shape) if d == 1] if given is None else [b.axis_of(a, x.rank) for a in given]
    for a in gone:
        if isinstance(x.shape[a], int) and x.shape[a] != 1:
            raise ValueError(f"axis {a} of {x} is not 1")
    return b.reshape(x, tuple(d for i, d in enumerate(x.shape) if i not in gone))


@op("Unsqueeze")
def unsqueeze(x: Value, axes: Value) -> Value:
    rank = x.rank + int(axes.size) if isinstance(axes.size, int) else 0
    if at_run_time(axes):
        return b.reshape(x, _opened(x, run_time_axes(axes, rank), rank))
    new, rest = {b.axis_of(a, rank) for a in integers(axes, "axes") or []}, iter(x.shape)
    return b.reshape(x, tuple(1 if i in new else next(rest) for i in range(rank)))


def _opened(x: Value, axes: Value, rank: int) -> Shape:
    """The shape with 1 at each of ``axes``, the extents of ``x`` in order at the others."""
    if x.rank == 0:
        return (1,) * rank
    new = b.reduce("REDUCE_ANY", b.equal(b.reshape(b.iota(rank), (rank, 1)), b.reshape(axes, (1, -1))), [1])
    place = b.cumsum(b.where(new, np.int32(0), np.ones(rank, np.int32)), 0, exclusive=True)
    extents = b.gather(b.dims_value(x.shape), b.minimum(place, x.rank - 1))
    return b.dims_of(b.where(new, np.int32(1), extents))


@op("Transpose")
def transpose(x: Value, *, perm: Sequence[int] | None = None) -> Value:
    return b.transpose(x, range(x.rank)[::-1] if perm is None else perm)


# ------------------------------------------------------------------------------------------------ joining, repeating


@op("Concat")
def concat(*xs: Value, axis: int) -> Value:
    return b.concat(xs, axis)


@op("Split")
def split(x: Value, split: Value | None = None, *, axis: int = 0, num_outputs: int | None = None) -> list[Value]:
    """Parts of the sizes in ``split``, or equal ones of which the last may be smaller."""
    extent = x.shape[b.axis_of(axis, x.rank)]
    if split is not None:
        return b.split(x, b.dims_of(split), axis)
    count = num_outputs or len(current_node().outputs)
    part = dims.ceildiv(extent, count)
    return b.split(x, [part] * len(b.parts(count - 1)) + [extent - part * (count - 1)], axis)


@op("Expand")
def expand(x: Value, shape: Value) -> Value:
    return b.broadcast_to(x, broadcast(x.shape, b.dims_of(shape)))


@op("Tile")
def tile(x: Value, repeats: Value) -> Value:
    return b.tile(x, b.dims_of(repeats))


# ------------------------------------------------------------------------------------------------ creating


@op("Constant")
def constant_(*, value: TensorAttribute | None = None, **plain: float | Sequence[float]) -> Value:
    """``value`` is a tensor; value_float, value_ints, ... are plain numbers."""
    if value is not None:
        array = np.asarray(value.values)
        return constant(array.astype(ir_type(helper.np_dtype_to_tensor_dtype(array.dtype)), copy=False))
    ((name, content),) = plain.items()
    return constant(np.asarray(content, np.float32 if "float" in name else np.int64))


@op("ConstantOfShape")
def constant_of_shape(shape: Value, *, value: TensorAttribute | None = None) -> Value:
    element = np.zeros(1, np.float32) if value is None else np.asarray(value.values)
    return b.fill(b.dims_of(shape), element.reshape(()), ir_type(helper.np_dtype_to_tensor_dtype(element.dtype)))


@op("Range")
def range_(start: Value, limit: Value, delta: Value) -> Value:
    """start, start + delta, ... below limit; the count is symbolic where the operands are.

    The kernel refuses a limit on the wrong side of the start, which means no elements.
    """
    start, limit, delta = (b.reshape(v, ()) for v in (start, limit, delta))
    known = [content_of(v) for v in (start, limit, delta)]
    first, last, step = (None if c is None else c.item() for c in known)
    if not (isinstance(first, (int, Expr)) and isinstance(last, (int, Expr)) and isinstance(step, int)):
        count = _count(*(v.data for v in (start, limit, delta)))
    else:
        count = dims.ceildiv(last - first, step) if step > 0 else dims.ceildiv(first - last, -step)
        if dims.nonnegative(count):
            return b.emit("RANGE", start, limit, delta, count=count)
        count = dims.maximum(count, 0)
    if not isinstance(count, int):
        limit = b.where(b.greater(delta, 0), b.maximum(limit, start), b.minimum(limit, start))
    return b.emit("RANGE", start, limit, delta, count=count)


def _count(*ends: np.ndarray | None) -> Dim:
    if any(e is None for e in ends):
        return current_graph().fresh_symbol("range")
    start, limit, delta = (e.item() for e in ends if e is not None)
    count: int = math.ceil((limit - start) / delta)
    return max(count, 0)


@op("EyeLike")
def eye_like(x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    column_minus_row = diagonal(x.shape)
    return b.cast(b.equal(column_minus_row, k), x.dtype if dtype is None else ir_type(dtype))


def diagonal(shape: Shape) -> Value:
    """[rows, columns]: the number of the diagonal, column - row."""
    rows, columns = shape[-2:]
    return b.reshape(b.iota(columns), (1, columns)) - b.reshape(b.iota(rows), (rows, 1))


@op("Trilu")
def trilu(x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """The triangle on and above diagonal ``k`` (below it with ``upper`` = 0); zero elsewhere."""
    limit = 0 if k is None else b.cast(b.reshape(k, ()), np.int32)
    kept = (b.greater_equal if upper else b.less_equal)(diagonal(x.shape), limit)
    return b.where(kept, x, 0)


# ------------------------------------------------------------------------------------------------ dtypes


@op("Cast")
def cast(x: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    """Float to integer truncates; all wider floats are float32 here, so a cast between them is nothing."""
    narrowed = narrow(x, np.dtype(helper.tensor_dtype_to_np_dtype(to)), bool(saturate))
    return convert(x, ir_type(to)) if narrowed is None else narrowed


@op("CastLike")
def cast_like(x: Value, like: Value, *, saturate: int = 1, round_mode: str = "up") -> Result:
    """The declared dtype of the result says more than ``like``, which may be stored in a wider one."""
    dtype = (current_node().dtypes or (None,))[0] or like.dtype
    return cast(x, to=helper.np_dtype_to_tensor_dtype(dtype), saturate=saturate)


def convert(x: Value, dtype: np.dtype) -> Value:
    """To bool means "not zero" (NaN included)."""
    return b.not_equal(x, 0) if dtype.kind == "b" and x.dtype.kind == "f" else b.cast(x, dtype)
