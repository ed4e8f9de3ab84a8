"""Operators that read or write at computed places: Gather*, Scatter*, OneHot, Where, NonZero, Compress, Unique, ..."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Shape
from ..ir.graph import Graph, Value, building, constant, current_graph
from ..ir.kinds import KINDS
from ..ir.ranges import Ranges
from .reductions import descending
from .registry import UnsupportedError, fixed, op
from .shapes import scalar

I32, I64 = np.dtype(np.int32), np.dtype(np.int64)


def nonnegative(index: Value) -> bool:
    """True where no element can be negative."""
    return Ranges().of(index)[0] >= 0


def wrap(index: Value, extent: Dim | Sequence[Dim]) -> Value:
    """An i32 index with negative elements counted from the end; ``extent`` may be one per element of the last axis.

    Kernels stop at a negative index, and extents fit in 32 bits.
    """
    small = b.cast(index, I32)
    if nonnegative(index):
        return small
    limit = b.dims_value(extent) if isinstance(extent, Sequence) else scalar(extent, I32)
    return b.floor_mod(small, limit)


# ------------------------------------------------------------------------------------------------ reading


@op("Gather")
def gather(x: Value, index: Value, *, axis: int = 0) -> Value:
    """A constant run of neighbours is a SLICE, which XNNPACK takes and GATHER not."""
    axis = b.axis_of(axis, x.rank)
    index = wrap(index, x.shape[axis])
    places = None if index.data is None else index.data.ravel()
    if places is None or not places.size or np.any(np.diff(places) != 1) or x.is_constant:
        return b.gather(x, index, axis)
    part = b.narrow(x, axis, int(places[0]), len(places))
    return b.reshape(part, x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def offsets(shape: Shape, strides: Sequence[Dim], without: int) -> Value:
    """sum(i_a * strides[a]) over all axes but one: i32, with that axis 1."""
    total = constant(np.zeros((1,) * len(shape), I32))
    for axis, (extent, stride) in enumerate(zip(shape, strides, strict=True)):
        if axis != without and extent != 1:
            place = b.iota(extent) * scalar(stride, I32)
            total = total + b.reshape(place, [extent if a == axis else 1 for a in range(len(shape))])
    return total


def row_strides(shape: Shape) -> list[Dim]:
    """Elements from one entry to the next along each axis, row-major."""
    return [dims.product(shape[a + 1 :]) for a in range(len(shape))]


def flat_index(index: Value, shape: Shape, axis: int) -> Value:
    """Row-major place in a tensor of ``shape`` of the element with ``index`` along ``axis``."""
    strides = row_strides(shape)
    return wrap(index, shape[axis]) * scalar(strides[axis], I32) + offsets(index.shape, strides, axis)


@op("GatherElements")
def gather_elements(x: Value, index: Value, *, axis: int = 0) -> Value:
    axis = b.axis_of(axis, x.rank)
    if axis == x.rank - 1 and x.shape[:axis] == index.shape[:axis]:
        return b.gather(x, wrap(index, x.shape[axis]), axis, batch_dims=axis)
    return b.gather(b.reshape(x, (x.size,)), flat_index(index, x.shape, axis))


@op("GatherND")
def gather_nd(x: Value, index: Value, *, batch_dims: int = 0) -> Value:
    """The kernel has no batch axes: their places become leading entries of the index vectors."""
    depth = fixed(index.shape[-1], "the length of the index vectors")
    index = wrap(index, x.shape[batch_dims : batch_dims + depth])
    lead = (*index.shape[:-1], 1)
    columns = [
        b.reshape(b.iota(d), [d if a == axis else 1 for a in range(len(lead))])
        for axis, d in enumerate(lead[:batch_dims])
    ]
    return b.gather_nd(x, b.concat([*(b.broadcast_to(c, lead) for c in columns), index], -1))


@op("Where")
def where(condition: Value, x: Value, y: Value) -> Value:
    return b.where(condition, x, y)


@op("NonZero")
def non_zero(x: Value) -> Value:
    """[rank, count]; a scalar counts as one element."""
    return b.transpose(b.emit("WHERE", x if x.rank else b.reshape(x, (1,))), (1, 0))


@op("Compress")
def compress(x: Value, condition: Value, *, axis: int | None = None) -> Value:
    if condition.rank != 1:
        raise ValueError(f"the condition has {condition.rank} axes: it is a list of truth values")
    x = b.reshape(x, (x.size,)) if axis is None else x
    return b.gather(x, b.reshape(b.emit("WHERE", condition), (-1,)), axis or 0)


@op("ReverseSequence")
def reverse_sequence(x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    return b.emit("REVERSE_SEQUENCE", x, lengths, seq_dim=time_axis, batch_dim=batch_axis)


@op("OneHot")
def one_hot(index: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    """values = [off, on]; an index outside [-depth, depth) is off everywhere."""
    (extent,) = b.dims_of(depth)
    off, on = (b.reshape(v, ()) for v in b.split(values, (1, 1), 0))
    index = b.cast(index, I64) if index.dtype.kind == "f" else index
    if not nonnegative(index):
        index = b.where(b.less(index, 0), index + scalar(extent, index.dtype), index)
    return b.one_hot(index, extent, on, off, axis)


# ------------------------------------------------------------------------------------------------ writing

BODIES = {"none": None} | {kind.combines: name for name, kind in KINDS.items() if kind.combines}


def _distinct(index: Value) -> bool:
    """True where the index vectors are constant and no two are equal."""
    if index.data is None:
        return False
    vectors = index.data.reshape(-1, index.data.shape[-1])
    return len(np.unique(vectors, axis=0)) == len(vectors)


def scatter(x: Value, index: Value, updates: Value, reduction: str) -> Value:
    """``x`` with ``updates`` written at i32 index vectors [..., depth], or combined with what is there.

    Addition, and assignment to distinct places, need SCATTER_ND only, which every runtime and accelerator knows.  It
    adds where a place occurs twice; there the last update counts in ONNX Runtime as in STABLEHLO_SCATTER.
    """
    if reduction not in ("add", *BODIES):
        raise UnsupportedError(f"reduction {reduction!r} is unknown")
    if reduction == "add":
        return x + b.scatter_nd(index, updates, x.shape)
    if reduction == "none" and _distinct(index):
        hit = b.scatter_nd(index, b.fill(updates.shape, True, bool), x.shape)
        return b.where(hit, b.scatter_nd(index, updates, x.shape), x)
    index, body = b.cast(index, I64), _combination(BODIES[reduction], x.dtype)
    return b.emit("STABLEHLO_SCATTER", x, index, updates, reduction=reduction, body=body)


def _combination(kind: str | None, dtype: np.dtype) -> Graph:
    """(old, new) -> what is stored: the result of ``kind``, or the new value."""
    body = Graph(current_graph().fresh_name("scatter"))
    with building(body):
        pair = [body.add_input(f"{body.name}/{n}", (), dtype) for n in ("old", "new")]
        body.outputs.append(b.emit(kind, *pair) if kind else pair[1])
    return body


@op("ScatterND")
def scatter_nd(x: Value, index: Value, updates: Value, *, reduction: str = "none") -> Value:
    depth = fixed(index.shape[-1], "the length of the index vectors")
    return scatter(x, wrap(index, x.shape[:depth]), updates, reduction)


def scatter_along(x: Value, index: Value, updates: Value, axis: int, reduction: str = "none") -> Value:
    """ScatterElements on the flat view of ``x``."""
    places = b.reshape(flat_index(index, x.shape, axis), (index.size, 1))
    flat = scatter(b.reshape(x, (x.size,)), places, b.reshape(updates, (index.size,)), reduction)
    return b.reshape(flat, x.shape)


@op("ScatterElements", "Scatter")
def scatter_elements(x: Value, index: Value, updates: Value, *, axis: int = 0, reduction: str = "none") -> Value:
    return scatter_along(x, index, updates, b.axis_of(axis, x.rank), reduction)


@op("TensorScatter")
def tensor_scatter(
    cache: Value, update: Value, start: Value | None = None, *, axis: int = -2, mode: str = "linear"
) -> Value:
    """``update`` written along ``axis`` from ``start[n]`` on in batch entry n; circular: on around the end."""
    at = b.axis_of(axis, cache.rank)
    place = b.reshape(b.iota(update.shape[at]), [d if a == at else 1 for a, d in enumerate(update.shape)])
    if start is not None:
        place = place + b.cast(b.reshape(start, (-1, *(1,) * (cache.rank - 1))), I32)
    if mode == "circular":
        place = b.floor_mod(place, scalar(cache.shape[at], I32))
    return scatter_along(cache, b.broadcast_to(place, update.shape), update, at)


# ------------------------------------------------------------------------------------------------ sets


def ascending(key: Value) -> Value:
    """The stable order that sorts a vector: i32 places."""
    return b.topk(descending(key), key.shape[0])[1]


@op("Unique")
def unique(x: Value, *, axis: int | None = None, sorted: int = 1) -> tuple[Value | None, ...]:
    """Distinct elements, or slices along ``axis``: values, first places, inverse, counts.

    Slices are rows of columns, sorted by the last column first (every sort is stable) and cut where neighbours differ.
    """
    moved = b.reshape(x, (x.size,)) if axis is None else b.move_axis(x, axis, 0)
    count, width = moved.shape[0], dims.product(moved.shape[1:])
    if not isinstance(width, int) or width > 64:
        raise UnsupportedError(f"unique slices of {width} elements", "use slices of at most 64 elements")
    rows = b.reshape(moved, (count, width))
    order = b.iota(count)
    for column in reversed(range(width)):
        key = b.reshape(b.narrow(rows, 1, column, 1), (count,))
        order = b.gather(order, ascending(b.gather(key, order)))
    ranked = b.gather(rows, order)
    changed = b.not_equal(b.narrow(ranked, 0, 1, count - 1), b.narrow(ranked, 0, 0, count - 1))
    new = b.concat([np.ones(1, bool), b.reduce("REDUCE_ANY", changed, [1])], 0)
    starts = b.cast(b.reshape(b.emit("WHERE", new), (-1,)), I32)
    group = b.cumsum(b.cast(new, I32), 0) - 1
    first = b.gather(order, starts)
    counts = b.concat([b.narrow(starts, 0, 1, starts.shape[0] - 1), b.dims_value([count])], 0) - starts
    inverse = b.scatter_nd(b.reshape(order, (count, 1)), group, (count,))
    if not sorted:
        seen = ascending(first)
        first, counts = b.gather(first, seen), b.gather(counts, seen)
        renamed = b.scatter_nd(b.reshape(seen, (-1, 1)), b.iota(seen.shape[0]), seen.shape)
        inverse = b.gather(renamed, inverse)
    values = b.gather(moved, first)
    return values if axis is None else b.move_axis(values, 0, axis), *(b.cast(v, I64) for v in (first, inverse, counts))
