"""How the inputs and outputs of a model are stored: one rule, whatever the transposes inside cost.

**Images are stored channels-last, everything else as in ONNX.**  An image is a tensor of rank 4 or 5 that a
convolution, a pooling, a resizing or a normalisation by channels reads or gives: itself, or through operations that
leave every axis what it is.  Extents say nothing here: a grey picture is an image.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

from ..ir.graph import Graph, Op, Value
from ..ir.orders import MatMul, Order, Orders, every_port, natural, tensor

#: ONNX operators whose first input and output are [N, C, ...] by definition.
CHANNELLED = re.compile(
    "(Fused|QLinear|Deform)?Conv(Integer|Transpose)?|(Average|Lp|Max|QLinearAverage|MaxRoi)Pool|MaxUnpool|RoiAlign"
    "|(QLinear)?Global(Average|Lp|Max)Pool|(Batch|Group|Instance)Normalization|LRN|GridSample|DepthToSpace"
    "|SpaceToDepth|Col2Im"
)


def channels_last(rank: int) -> Order:
    """[N, C, ...] stored as [N, ..., C]; up to rank 2 as it is."""
    return (0, *range(2, rank), 1)[:rank]


def stored_orders(graph: Graph, rule: str, pins: Mapping[str, str]) -> dict[str, Order]:
    """The order in which each input and output is stored, by name.

    :param rule: ``auto``; ``onnx``: nothing is moved; ``channels-last``: as ``auto``, and every input of rank 3 to 5 is
        moved, image or not, which is what onnx2tf does.
    :param pins: name -> ``onnx`` or ``channels_last``, whatever the rule says.
    """
    inputs = {v.name: v for v in graph.inputs}
    ends = dict(zip(graph.output_names, graph.outputs, strict=True)) | inputs
    images = {} if rule == "onnx" else _images(graph)
    moved = {name for name, value in ends.items() if channels_last(value.rank) in images.get(value, ())}
    if rule == "channels-last":
        moved |= {name for name, value in inputs.items() if value.rank in (3, 4, 5)}
    moved = {name for name in ends if pins.get(name, "channels_last" if name in moved else "onnx") == "channels_last"}
    return {n: (channels_last if n in moved else natural)(v.rank) for n, v in ends.items()}


def _images(graph: Graph) -> dict[Value, set[Order]]:
    """For each value of rank 4 or 5 the orders in which its axes are those of a channels-last image."""
    found: dict[Value, set[Order]] = {}
    touching: dict[Value, list[tuple[Op, int]]] = {}
    for op in graph.ops:
        for port in every_port(op):
            if (value := tensor(op, port)) is not None:
                touching.setdefault(value, []).append((op, port))
    queue = deque(_seeds(graph))
    while queue:
        value, order = queue.popleft()
        if value.rank not in (4, 5) or value.is_constant or order in found.setdefault(value, set()):
            continue
        found[value].add(order)
        for op, port in touching.get(value, ()):
            for other, follows in _through(op, port, order).items():
                if (reached := tensor(op, other)) is not None and reached.rank == value.rank:
                    queue.append((reached, follows))
    return found


def _seeds(graph: Graph) -> Iterator[tuple[Value, Order]]:
    """What kernels and ONNX's operators say of their own operands."""
    for op in graph.ops:
        if op.kind.layout.channels_last:
            for port in (0, ~0):
                if (value := tensor(op, port)) is not None:
                    yield value, natural(value.rank)
        if op.origin:
            names = [*op.origin.inputs[:1], *op.origin.outputs[:1]]
            ends = [graph.tensors[name] for name in names if name in graph.tensors]
            if CHANNELLED.fullmatch(op.origin.op_type) or (op.origin.op_type == "Resize" and _resizes_space(ends)):
                yield from ((value, channels_last(value.rank)) for value in ends)


def _resizes_space(ends: list[Value]) -> bool:
    """True where a Resize, which any axis may take part in, leaves the second alone and not the last."""
    return len(ends) == 2 and ends[0].shape[1] == ends[1].shape[1] and ends[0].shape[-1] != ends[1].shape[-1]


def _through(op: Op, port: int, order: Order) -> Orders:
    """The orders of the other tensors of ``op`` where every axis stays what it is."""
    if op.kind.permutes:
        perm = op.attrs["perm"]
        return {~0: tuple(perm.index(a) for a in order)} if port >= 0 else {0: tuple(perm[a] for a in order)}
    if op.kind.is_view or op.kind.layout.anchored or isinstance(op.kind.layout, MatMul):
        return {}
    return op.kind.layout.orders(op, port, order) or {}
