"""The order of channels, and which of them there are, is a matter of the weights that make or read them.

A pixel or channel shuffle permutes the last axis as RESHAPE, TRANSPOSE, RESHAPE; a convolution in front of it can make
its results, and one behind it can take its operands, in any order.  Nothing is computed anew: the same numbers stand in
other places, so all of it is exact but for the order of a sum.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Op, Value, constant
from ..ir.orders import Elementwise
from ..ir.rules import Match, NearMissError, again, has_one_reader, rule
from ..ir.traits import Elements
from .padding import kernel_of
from .shared import changed
from .splits import part, parts_of
from .views import part_before
from .weights import axes_of

WIDTH = 16  # output channels that a kernel makes at a time, and twice that over a window (benchmarks/kernels.py)


_SHUFFLE = "result := shared(RESHAPE(moved := shared(TRANSPOSE(split := shared(RESHAPE(x))))))"


def order_of(m: Match, shuffled: Value) -> np.ndarray | None:
    """Where the last axis of a shuffle's result comes from, where that is all that the shuffle does; else None."""
    split, perm, channels = m.split.shape, m.op("moved").attrs["perm"], m.x.shape[-1]
    if shuffled.shape != m.x.shape or not isinstance(channels, int):
        return None
    tail, first = 1, len(split)
    while first and tail != channels:
        first -= 1
        extent = split[first]
        if not isinstance(extent, int) or channels % (tail * extent):
            return None
        tail *= extent
    if tail != channels or tuple(perm[:first]) != tuple(range(first)):
        return None
    places = np.arange(channels).reshape([int(d) for d in split[first:] if isinstance(d, int)])
    return places.transpose([a - first for a in perm[first:]]).reshape(-1)


def taken(value: Value, order: np.ndarray, axis: int) -> Value:
    """A constant with the entries of ``axis`` in another order, or some of them.

    :raises NearMissError: it is computed, or stored as integers.
    """
    if value.data is None or value.quant is not None:
        raise NearMissError("weights or bias are only known at run time, or quantised")
    return constant(np.ascontiguousarray(np.take(value.data, order, axis)), name=value.name)


def weights_taken(m: Match, layer: Op, order: np.ndarray, axis: int) -> Value:
    """:func:`taken` of the weights of a layer, which others may share."""
    weights = layer.inputs[1]
    assert weights is not None
    change = (axis, order.tobytes()) if len(order) == weights.shape[axis] else None
    return changed(m, weights, layer, change, lambda: taken(weights, order, axis))


def picked(m: Match, linear: Op, order: np.ndarray) -> Value:
    """A linear operation with the output channels ``order`` alone, in that order.  That of a depthwise convolution is
    the order of its operand, too.  NearMissError where groups or other readers are against it."""
    x, _, *rest = linear.inputs
    if linear.attrs.get("groups"):
        raise NearMissError("the convolution has groups")
    attrs = {name: (*shape[:-1], len(order)) for name, shape in linear.attrs.items() if name == "output_shape"}
    if axes_of(linear).inputs is None and x is not None:
        x = reordered(m, x, order)
    filters, biases = weights_taken(m, linear, order, axes_of(linear).outputs), [v and taken(v, order, 0) for v in rest]
    return again(linear, x, filters, *biases, **attrs)


def reordered(m: Match, value: Value, order: np.ndarray) -> Value:
    """``value`` with its last axis in another order, made in this order by the weights that it comes of.

    :raises NearMissError: where it does not come of weights alone.
    """
    op = value.producer
    if value.shape[-1:] in ((), (1,)):
        return value
    if value.is_constant:
        return taken(value, order, -1)
    if op is None or not m.view.operator(op) or not has_one_reader(m, value) or len(op.outputs) != 1:
        raise NearMissError("what is shuffled does not come of weights, or is read elsewhere")
    if op.kind.weights is not None and op.attrs.get("multiplier", 1) == 1:
        return picked(m, op, order)
    if isinstance(op.kind.layout, Elementwise) and op.kind.elements is Elements.COMPUTED:
        operands = {v: reordered(m, v, order) for v in op.uses()}
        return again(op, *(None if v is None else operands[v] for v in op.inputs))
    raise NearMissError(f"a {op.kind.name} is between the shuffle and the weights")


@rule("RESHAPE(moved := TRANSPOSE(split := RESHAPE(x)))", above=4)
def shuffle_before(m: Match) -> Value | None:
    """shuffle of channels into the weights before it

    P (W x + b) = (P W) x + P b, and P f(x) = f(P x) for what treats every channel alike.
    """
    order = order_of(m, m.root.outputs[0])
    return None if order is None else reordered(m, m.x, order)


@rule(f"linear({_SHUFFLE}, const(w), ...)")
def shuffle_behind(m: Match) -> Value | None:
    """shuffle of channels into the weights behind it

    W (P x) = (W P) x, the columns of W in another order.
    """
    axis, order = axes_of(m.root).inputs, order_of(m, m.result)
    if order is None or axis is None:
        return None
    if m.w.shape[axis] != len(order):
        raise NearMissError("the convolution has groups")
    return again(m.root, m.x, weights_taken(m, m.root, np.argsort(order), axis), *m.root.inputs[2:])


def columns(m: Match, slice_: Op) -> Value | None:
    """What a slice takes of a shuffle that transposes [R, C] channels, as [..., R, n] of the unshuffled ones; None
    where that is more, or less, than whole columns."""
    (rows, count), place = m.split.shape[-2:], part(slice_)
    if order_of(m, m.result) is None or place is None or place[0] != m.result.rank - 1:
        return None
    last = len(m.op("moved").attrs["perm"]) - 1
    swapped = tuple(m.op("moved").attrs["perm"][-2:]) == (last, last - 1)
    _, begin, size = place
    if not swapped or not isinstance(rows, int) or not isinstance(count, int) or begin % rows or size % rows:
        return None
    if rows * count != m.x.shape[-1]:
        return None
    return b.narrow(b.reshape(m.x, (*m.x.shape[:-1], rows, count)), -1, begin // rows, size // rows)


@rule(f"linear(some := shared(SLICE({_SHUFFLE})), const(w), ...)")
def slice_behind(m: Match) -> Value | None:
    """part of a shuffle of channels into the weights behind it

    Whole columns of the transposed matrix of channels are these columns of the matrix itself, in another order, which
    the columns of the weights take.
    """
    axis, seen = axes_of(m.root).inputs, columns(m, m.op("some"))
    if axis is None or seen is None:
        return None
    if m.w.shape[axis] != m.some.shape[-1]:
        raise NearMissError("the convolution has groups")
    rows, count = seen.shape[-2:]
    order = np.arange(rows * count).reshape(rows, count).T.reshape(-1)  # type: ignore[arg-type]
    return again(
        m.root, b.reshape(seen, m.some.shape), weights_taken(m, m.root, np.argsort(order), axis), *m.root.inputs[2:]
    )


@rule("SLICE(result := RESHAPE(moved := TRANSPOSE(split := RESHAPE(x))))")
def slice_first(m: Match) -> Value | None:
    """SLICE of a shuffle as a shuffle of a SLICE

    The columns that are taken are all that has to be moved.
    """
    seen = columns(m, m.root)
    return None if seen is None else b.reshape(b.move_axis(seen, -1, -2), m.root.outputs[0].shape)


# -- which of them ----------------------------------------------------------------------------------------------------
@rule("SLICE(x)", above=5)
def slice_of_weights(m: Match) -> Value | None:
    """slice of channels as a layer of these channels alone

    (W x + b)[s] = W[s] x + b[s], seen through views.  Where the slices share the channels out no product is computed
    twice, and what was copied to be apart is made apart.
    """
    parts = parts_of(m, m.x)
    if parts is None:
        return None
    place, value, views = parts[m.root], m.x, list[tuple[Op, int, int]]()
    while value.producer is not None and value.producer.kind.is_view:
        view, (axis, _, size) = value.producer, place
        views.append((view, axis, size))
        before = part_before(view, *place)
        (value,) = view.uses()
        if before is None or not has_one_reader(m, value):
            return None
        place = before
    op, (axis, begin, size) = value.producer, place
    if (
        op is None
        or not m.view.operator(op)
        or axis != value.rank - 1
        or op.kind.weights is None
        or op.attrs.get("multiplier", 1) != 1
    ):
        return None
    channels = size // parts[m.root][2]  # for each element of the axis that is sliced
    window = kernel_of(op) if op.kind.weights.window else ()
    width = WIDTH if all(k == 1 for k in window) else 2 * WIDTH
    if any(n * channels % width for _, _, n in parts.values()):
        raise NearMissError(f"kernels make {width} channels at a time")
    result = picked(m, op, np.arange(begin, begin + size))
    for view, axis, size in reversed(views):
        shape = view.outputs[0].shape
        perm = view.attrs.get("perm")
        result = b.transpose(result, perm) if perm else b.reshape(result, (*shape[:axis], size, *shape[axis + 1 :]))
    return result


RULES = [shuffle_before, shuffle_behind, slice_behind, slice_first, slice_of_weights]
