"""Layouts of operators: in which physical axis orders an operator can work.

An *order* is a tuple: physical axis ``i`` holds logical axis ``order[i]`` (the permutation of ``numpy.transpose``).  A
layout is asked "can port p work in this order, and what follows for the other ports?"; it answers with an order for
every tensor of the operator, or None.  Ports: input ``i`` is ``i``, output ``j`` is ``~j``.  Nothing here looks at
sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from ..record import record

if TYPE_CHECKING:
    from .graph import Attrs, Op, Value

ALONE = 12  # elements of a TRANSPOSE that take as long as one that is copied by itself (benchmarks/kernels.py)
Order = tuple[int, ...]
Orders = dict[int, Order]
_Item = TypeVar("_Item")


def natural(rank: int) -> Order:
    """The order in which the handler wrote the tensor."""
    return tuple(range(rank))


def inverse(order: Order) -> Order:
    """The permutation that undoes ``order``."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def tensor(op: Op, port: int) -> Value | None:
    """The value at a port."""
    return op.inputs[port] if port >= 0 else op.outputs[~port]


def every_port(op: Op) -> list[int]:
    """All ports that hold a tensor."""
    return [i for i, v in enumerate(op.inputs) if v is not None] + [~j for j in range(len(op.outputs))]


@record
class Layout:
    """Base and strictest layout: every tensor in the order the handler wrote (an anchor).

    ``channels_last`` says to which of the two families the anchor belongs: kernels that exist in channels-last form
    only, or ONNX order.
    """

    channels_last: bool = False
    anchored: bool = True

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """Orders of all ports when ``port`` is in ``order``; None where the kernel cannot."""
        return self.written(op) if order == natural(len(order)) else None

    def written(self, op: Op) -> Orders:
        """Orders of all ports as the handler wrote them."""
        return {p: natural(v.rank) for p in every_port(op) if (v := tensor(op, p)) is not None}

    def dropped(self, op: Op) -> frozenset[int]:
        """The axes of the data that the result lacks."""
        return frozenset()

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        """Attributes of ``op`` rewritten for ``orders``."""
        return dict(op.attrs)


@record
class Elementwise(Layout):
    """Any order, the same on all operands of the result's rank; scalars take no part."""

    anchored: bool = False

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """The same order for every operand of full rank; None for an order of another rank."""
        rank = op.outputs[0].rank
        if len(order) != rank:
            return None
        return {p: order if v.rank == rank else natural(v.rank) for p in every_port(op) if (v := tensor(op, p))}


@record
class AnyOrder(Layout):
    """Any order; attributes that name axes are renumbered.

    ``axis``: attributes with one axis or a tuple of axes; ``per_axis``: attributes with one entry per axis; inputs in
    ``fixed`` (index vectors and the like) keep their order.  ``last``: this many trailing axes must stay in place
    (softmax).  ``drops``: the result lacks the axes in that attribute unless ``keepdims``.
    """

    anchored: bool = False
    axis: tuple[str, ...] = ()
    per_axis: tuple[str, ...] = ()
    fixed: tuple[int, ...] = ()
    last: int = 0
    drops: str = ""

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """The same order for every operand that has the rank of the data; None where ``last`` axes would move."""
        rank = op.inputs[self._data(op)].rank  # type: ignore[union-attr]
        dropped = self.dropped(op)
        if dropped and port < 0:
            order = _restore(order, dropped, rank)
        if len(order) != rank or order[rank - self.last :] != tuple(range(rank - self.last, rank)):
            return None
        short = tuple(_renumber(a, dropped) for a in order if a not in dropped)
        result: Orders = {}
        for p in every_port(op):
            value = tensor(op, p)
            assert value is not None
            if p in self.fixed or (p >= 0 and value.rank != rank):
                result[p] = natural(value.rank)
            else:
                result[p] = short if p < 0 else order
        return result

    def _data(self, op: Op) -> int:
        return next(i for i in range(len(op.inputs)) if i not in self.fixed and op.inputs[i] is not None)

    def dropped(self, op: Op) -> frozenset[int]:
        """The reduced axes, unless they are kept."""
        if not self.drops or op.attrs.get("keepdims"):
            return frozenset()
        axes = op.attrs[self.drops]
        return frozenset(axes) if isinstance(axes, tuple) else frozenset([axes])

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        """``axis`` and ``per_axis`` attributes by physical axes."""
        order = orders[self._data(op)]
        attrs = dict(op.attrs)
        for name in self.axis:
            value = attrs[name]
            attrs[name] = (
                tuple(sorted(order.index(a) for a in value)) if isinstance(value, tuple) else order.index(value)
            )
        for name in self.per_axis:
            if attrs.get(name) is not None:
                attrs[name] = tuple(attrs[name][a] for a in order)
        return attrs


def _renumber(axis: int, dropped: frozenset[int]) -> int:
    return axis - sum(d < axis for d in dropped)


def _restore(order: Order, dropped: frozenset[int], rank: int) -> Order:
    """An order of the full tensor that becomes ``order`` when ``dropped`` goes; dropped axes keep their neighbours."""
    kept = [a for a in range(rank) if a not in dropped]
    if len(order) != len(kept):
        return ()
    full = [kept[a] for a in order]
    for axis in sorted(dropped):
        full.insert(full.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(full)


def _gathered_from(order: Order, axis: int, width: int) -> Order:
    """The order of the data that gives a result in ``order``, which has ``width`` axes instead of ``axis``; else ()."""
    inside = [i for i, a in enumerate(order) if axis <= a < axis + width]
    together = inside == list(range(inside[0], inside[0] + width)) if inside else True
    if not together or [order[i] for i in inside] != list(range(axis, axis + width)):
        return ()
    outer = [a if a < axis else a - width + 1 for a in order if not axis <= a < axis + width]
    place = inside[0] if inside else (outer.index(axis - 1) + 1 if axis else 0)
    return tuple(outer[:place] + [axis] + outer[place:])


@record
class Gather(Layout):
    """GATHER along ``axis``: the data in any order; the index axes stay together where the axis was."""

    anchored: bool = False

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """Any order of the data, and of the result any in which the axes of the indices lie together."""
        data, index = op.inputs
        assert data is not None and index is not None
        axis, batch = op.attrs["axis"], op.attrs.get("batch_dims", 0)
        width = index.rank - batch
        if batch or port == 1:
            return self.written(op) if order == natural(len(order)) else None
        if port < 0:
            order = _gathered_from(order, axis, width)
        if len(order) != data.rank:
            return None
        result: list[int] = []
        for a in order:
            result += range(axis, axis + width) if a == axis else [a if a < axis else a + width - 1]
        return {0: order, 1: natural(index.rank), ~0: tuple(result)}

    def dropped(self, op: Op) -> frozenset[int]:
        """The axis along which one place is picked."""
        index = op.inputs[1]
        return frozenset([op.attrs["axis"]]) if index is not None and index.rank == 0 else frozenset()

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        """``axis`` by physical axes."""
        return op.attrs | {"axis": orders[0].index(op.attrs["axis"])}


@record
class Fill(Layout):
    """FILL: one number everywhere looks the same in any order."""

    anchored: bool = False

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """Any order of the result."""
        return self.written(op) | {~0: order} if port < 0 else None

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        """``shape`` in physical order."""
        return op.attrs | {"shape": permute(op.attrs["shape"], orders[~0])}


@record
class MatMul(Layout):
    """BATCH_MATMUL: batch axes first and in equal order everywhere; each operand's matrix may lie transposed."""

    anchored: bool = False

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """Batch axes alike everywhere; only an operand that was asked for itself has its matrix transposed."""
        rank = op.outputs[0].rank
        batch = order[:-2]
        if len(order) != rank or any(a >= rank - 2 for a in batch):
            return None
        normal = batch + (rank - 2, rank - 1)
        if port < 0 and order != normal:
            return None
        if any(v is None or v.rank != rank for v in op.inputs) and batch != natural(rank - 2):
            return None
        result = {p: normal if v.rank == rank else natural(v.rank) for p in every_port(op) if (v := tensor(op, p))}
        result[port] = order
        return result

    def adapt(self, op: Op, orders: Orders, port: int, order: Order) -> Orders | None:
        """``orders`` with operand ``port`` in another order, the rest unchanged."""
        if port < 0 or order[:-2] != orders[port][:-2] or len(order) != len(orders[port]):
            return None
        return orders | {port: order}

    def attrs(self, op: Op, orders: Orders) -> Attrs:
        """``adj_x`` and ``adj_y`` as the operands lie."""
        swapped = {p: len(orders[p]) > 1 and orders[p][-1] < orders[p][-2] for p in (0, 1)}
        return op.attrs | {n: op.attrs[n] != swapped[p] for p, n in ((0, "adj_x"), (1, "adj_y"))}


@record
class FullyConnected(Layout):
    """FULLY_CONNECTED with constant weights: leading axes in any order.

    The *contents* of the last axis may come and go in any order too, because the columns and rows of the weights are
    permuted at compile time; ``layout.variants`` does that on the level of axis atoms.
    """

    anchored: bool = False

    def orders(self, op: Op, port: int, order: Order) -> Orders | None:
        """Any order that leaves the last axis in place; weights and bias as written."""
        rank = op.outputs[0].rank
        if len(order) != rank or order[-1] != rank - 1:
            return None
        return {p: order if p in (0, ~0) else natural(v.rank) for p in every_port(op) if (v := tensor(op, p))}


@record
class Renamed(Layout):
    """TRANSPOSE (``permutes``) and RESHAPE: no operation at all for the layout stage, only a renaming of axes."""

    anchored: bool = False
    permutes: bool = False


AS_WRITTEN = Layout()
CHANNELS_LAST = Layout(channels_last=True)
ELEMENTWISE = Elementwise()
LAST_AXIS = AnyOrder(last=1)


def permute(sequence: Sequence[_Item], order: Order) -> tuple[_Item, ...]:
    """``sequence`` with one entry per axis, in physical order."""
    return tuple(sequence[a] for a in order)
