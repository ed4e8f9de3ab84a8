"""Which tensors are images, and what each of their axes is: followed from operators that say so.

An axis has a letter (``NHWC``), and a tensor that has lost some axes, to a reduction or an index, has the letters that
are left.  An axis of one element that comes back takes the letter that is missing: ``ArgMax`` with ``keepdims``, or a
channel that is picked and unsqueezed, gives an image of one channel.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from ..ir.dims import Shape
from ..ir.graph import Graph, Op, Origin, Value
from ..ir.orders import MatMul, Order, every_port, tensor

#: ONNX operators whose first input and output are [N, C, ...] by definition.
CHANNELLED = re.compile(
    "(Fused|QLinear|Deform)?Conv(Integer|Transpose)?|(Average|Lp|Max|QLinearAverage|MaxRoi)Pool|MaxUnpool|RoiAlign"
    "|(QLinear)?Global(Average|Lp|Max)Pool|(Batch|Group|Instance)Normalization|LRN|GridSample|DepthToSpace"
    "|SpaceToDepth|Col2Im"
)
#: Those whose first input and outputs have the same axes by definition, though their kernels take one order only.
KEPT = re.compile(
    "Hardmax|(Log)?Softmax|Pad|Reduce.*|Resize|Slice|TopK|(Gather|Scatter)Elements|ScatterND|MaxPool|Dropout"
)
#: Those whose operands are matrices, or stacks of them.
PRODUCTS = re.compile(".*MatMul.*|.*Attention")
#: The axes of an image of each rank, channels-last.
LETTERS = {3: "NWC", 4: "NHWC", 5: "NDHWC"}


class Axes(NamedTuple):
    """``here``: what the axes of a tensor are, in its order; ``image``: all of that image, channels-last."""

    image: str
    here: str

    @property
    def channels_first(self) -> bool:
        """The whole image, with its channels second."""
        return len(self.here) == len(self.image) and self.here[:2] == "NC"


Found = dict[Value, set[Axes]]
Seed = tuple[Value, Axes]


def channels_first(value: Value) -> Seed:
    """``value`` as an image whose second axis are the channels."""
    image = LETTERS[value.rank]
    return value, Axes(image, f"NC{image[1:-1]}")


class Links:
    """What carries axes from one tensor of a graph to another: collected once, and followed from several seeds."""

    def __init__(self, graph: Graph):
        self.alike = _alike(graph)
        self.touching: dict[Value, list[tuple[Op, int]]] = {}
        for op in graph.ops:
            for port in every_port(op):
                if (value := tensor(op, port)) is not None and value.data is None:
                    self.touching.setdefault(value, []).append((op, port))

    def follow(self, seeds: Iterable[Seed]) -> Found:
        """For every value that is one the axes of the image: the ``seeds`` and what has its axes from them."""
        found: Found = {}
        queue = deque(seeds)
        while queue:
            value, axes = queue.popleft()
            if value.data is not None or axes in (known := found.setdefault(value, set())):
                continue
            known.add(axes)
            for other in self.alike.get(value, ()):
                queue.append((other, axes))
            for op, port in self.touching.get(value, ()):
                queue.extend(_through(op, port, axes))
        return found


def seeds(graph: Graph) -> Iterator[Seed]:
    """What kernels and ONNX's operators say of their own operands."""
    for op in graph.ops:
        if op.kind.layout.channels_last:
            for port in (0, ~0):
                if (value := tensor(op, port)) is not None and value.rank in LETTERS:
                    yield value, Axes(LETTERS[value.rank], LETTERS[value.rank])
    for origin in _origins(graph):
        if origin.op_type == "Resize" or CHANNELLED.fullmatch(origin.op_type):
            ends = _named(graph, *origin.inputs[:1], *origin.outputs[:1])
            if origin.op_type != "Resize" or _resizes_space(ends):
                yield from (channels_first(value) for value in ends if value.rank in LETTERS)


def _origins(graph: Graph) -> list[Origin]:
    """The ONNX nodes of a graph, each once though there are several operations for it."""
    return list({id(op.origin): op.origin for op in graph.ops if op.origin}.values())


def _named(graph: Graph, *names: str) -> list[Value]:
    """The tensors of these ONNX names that there are."""
    return [graph.tensors[name] for name in names if name in graph.tensors]


def operands(graph: Graph) -> set[Value]:
    """What an operator says to be no image: weights, grids, and what ends in the two axes of a matrix of a product."""
    origins = _origins(graph)
    named = {n for o in origins if PRODUCTS.fullmatch(o.op_type) for n in (*o.inputs, *o.outputs)}
    named |= {n for o in origins if CHANNELLED.fullmatch(o.op_type) for n in o.inputs[1:]}
    queue = _named(graph, *named)
    touching: dict[Value, list[Op]] = {}
    for op in filter(_keeps_matrices, graph.ops):
        for value in (*op.uses(), *op.outputs):
            touching.setdefault(value, []).append(op)
    found: set[Value] = set()
    while queue:
        value = queue.pop()
        if value not in found and not value.is_constant and value.rank >= 2:
            found.add(value)
            queue += [other for op in touching.get(value, ()) for other in (*op.uses(), *op.outputs)]
    return found


def _keeps_matrices(op: Op) -> bool:
    """True where the last two axes of every operand and result are the same."""
    if not op.kind.is_view:
        return not op.kind.layout.anchored and not op.kind.layout.dropped(op)
    rank = op.outputs[0].rank
    if op.kind.permutes:
        return {*op.attrs["perm"][-2:]} == {*range(rank)[-2:]}
    x = op.inputs[0]
    return x is not None and x.shape[-2:] == op.outputs[0].shape[-2:]


def _alike(graph: Graph) -> dict[Value, list[Value]]:
    """Ends of ONNX nodes that keep the axes of their first input."""
    found: dict[Value, list[Value]] = {}
    for origin in _origins(graph):
        if KEPT.fullmatch(origin.op_type):
            ends = _named(graph, *origin.inputs[:1], *origin.outputs)
            for result in ends[1:]:
                if ends[0].rank == result.rank:
                    found.setdefault(ends[0], []).append(result)
                    found.setdefault(result, []).append(ends[0])
    return found


def _resizes_space(ends: list[Value]) -> bool:
    """True where a Resize, which any axis may take part in, leaves the second alone and not the last."""
    return len(ends) == 2 and ends[0].shape[1] == ends[1].shape[1] and ends[0].shape[-1] != ends[1].shape[-1]


def _through(op: Op, port: int, axes: Axes) -> Iterator[Seed]:
    """The other tensors of ``op`` where every axis stays what it is, or goes, or is of one element."""
    if op.kind.is_view:
        yield from _renamed(op, port, axes)
    elif (dropped := op.kind.layout.dropped(op)) and port in (0, ~0):
        x, y = op.inputs[0], op.outputs[0]
        assert x is not None
        if port == 0:
            yield y, axes._replace(here="".join(a for i, a in enumerate(axes.here) if i not in dropped))
        else:
            left = iter(axes.here)
            yield from _filled(x, axes, ["" if i in dropped else next(left) for i in range(x.rank)])
    elif not op.kind.layout.anchored and not isinstance(op.kind.layout, MatMul):
        for other, follows in (op.kind.layout.orders(op, port, _order(axes)) or {}).items():
            reached = tensor(op, other)
            if reached is not None and reached.data is None and len(follows) == len(axes.here):
                yield reached, _carried(axes, follows)


@cache  # of some orders of few axes
def _order(axes: Axes) -> Order:
    """The order that makes the image channels-last."""
    return tuple(sorted(range(len(axes.here)), key=lambda i: axes.image.index(axes.here[i])))


@cache
def _carried(axes: Axes, follows: Order) -> Axes:
    """What the axes are of a tensor that lies as ``follows`` where the one with ``axes`` is channels-last."""
    letters = {physical: axes.here[logical] for physical, logical in zip(follows, _order(axes), strict=True)}
    return axes._replace(here="".join(letters[i] for i in range(len(follows))))


def _renamed(op: Op, port: int, axes: Axes) -> Iterator[Seed]:
    """Through a TRANSPOSE, or a RESHAPE that only adds and removes axes of one element."""
    here, other = tensor(op, port), tensor(op, ~0 if port >= 0 else 0)
    assert here is not None and other is not None
    if op.kind.permutes:
        perm = op.attrs["perm"]
        places = perm if port >= 0 else [perm.index(i) for i in range(len(perm))]
        yield other, axes._replace(here="".join(axes.here[i] for i in places))
    elif _extents(here.shape) == _extents(other.shape):
        left = [*zip(axes.here, here.shape, strict=True)]
        letters = []
        for extent in other.shape:
            if extent != 1:  # what is of one element before it has no counterpart
                left = left[next(i for i, (_, d) in enumerate(left) if d != 1) :]
            letters.append(left.pop(0)[0] if left and (left[0][1] != 1) == (extent != 1) else "")
        yield from _filled(other, axes, letters)


def _extents(shape: Shape) -> list[object]:
    return [d for d in shape if d != 1]


def _filled(value: Value, axes: Axes, letters: list[str]) -> Iterator[Seed]:
    """``value`` whose axes are ``letters``, where those that have none ("") can only be the missing ones."""
    missing = [a for a in axes.image if a not in letters]
    gaps = letters.count("")
    if gaps == 0 or (gaps <= len(missing) and (len(missing) == 1 or "C" not in missing)):
        new = iter(missing)
        yield value, axes._replace(here="".join(a or next(new) for a in letters))
