"""Copies that nobody needs: Expand and Tile in front of operators that broadcast anyway, or that could.

Where copies are needed they stay an operator: the budget of `fold` keeps them from becoming constants.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..model.edit import Dim, Dims, GraphEdit, Tensor, graphs, ints, producer, set_inputs, shape, static
from .manager import Pass, PassResult, counted

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean")
_COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
BROADCASTING = frozenset((*_ARITHMETIC, *_COMPARISONS, "And", "Or", "Xor", "Where"))


class Tile(Pass):
    """Remove Expand and Tile where the reader broadcasts by itself; GatherElements of a broadcast index is a Gather."""

    name = "tile"

    def call(self, graph: gs.Graph) -> PassResult:
        """Leave out copies that the reader would make itself."""
        copies = gathers = 0
        for g in graphs(graph):
            edit = GraphEdit(g)
            for node in self.mine(g):
                if node.op == "GatherElements":
                    gathers += _gather(edit, node)
                elif node.op in BROADCASTING:
                    copies += _broadcast(node)
            edit.commit()
        return counted(graph, {"removed where the operator broadcasts": copies, "GatherElements to Gather": gathers})


def _source(tensor: Tensor) -> Tensor | None:
    """What a tensor is copies of: the input of an Expand, or of a Tile that only repeats dimensions of size 1."""
    node = producer(tensor)
    if node is None or node.op not in ("Expand", "Tile") or node.domain:
        return None
    x = node.inputs[0]
    before, after = shape(x), shape(tensor)
    if before is None or after is None:
        return None
    repeats = ints(node.inputs[1]) if node.op == "Tile" else [1] * len(before)
    only_ones = repeats is not None and all(r == 1 or d == 1 for r, d in zip(repeats, before, strict=True))
    return x if only_ones else None


def _broadcast(node: gs.Node) -> int:
    """Read the source of a copy, as long as the result has the shape it had."""
    count = 0
    for tensor in list(node.inputs):
        source = _source(tensor)
        others = [source if t is tensor else t for t in node.inputs]
        if source is not None and _joined([shape(t) for t in others]) == list(shape(node.outputs[0]) or [None]):
            set_inputs(node, others)
            count += 1
    return count


def _joined(shapes: list[Dims | None]) -> list[Dim] | None:
    """The broadcast shape, if it follows from what is known."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known))
    dims: list[Dim] = []
    for column in zip(*((1,) * (rank - len(s)) + s for s in known), strict=True):
        wide = {d for d in column if d != 1}
        if len(wide) > 1 or None in wide:
            return None
        dims.append(wide.pop() if wide else 1)
    return dims


def _gather(edit: GraphEdit, node: gs.Node) -> bool:
    """GatherElements-13 whose index differs along `axis` only, and covers the data in all other axes."""
    data, index = node.inputs
    source = index
    while (below := _source(source)) is not None:
        source = below
    dims, small, full = static(data), static(source), static(index)
    if source is index or dims is None or small is None or full is None:
        return False
    axis = node.attrs.get("axis", 0) % len(dims)
    small = (1,) * (len(full) - len(small)) + small
    if small != tuple(d if i == axis else 1 for i, d in enumerate(full)):
        return False
    if any(i != axis and a != b for i, (a, b) in enumerate(zip(dims, full, strict=True))):
        return False
    flat = edit.add("Reshape", [source, edit.i64([-1], f"{source.name}/flat")], node)
    edit.become(node, "Gather", [data, flat], axis=axis)
    return True
