"""Copies that nobody needs: Expand and Tile in front of operators that broadcast anyway, or that could.

Where copies are needed they stay an operator: the budget of `fold` keeps them from becoming constants.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from .edit import Edit, Tensor, graphs, ints, producer, set_inputs, shape, standard, static
from .manager import Pass, PassResult

BROADCASTING = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Mod",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "Where",
        "Min",
        "Max",
        "Sum",
        "Mean",
    ]
)


class Tile(Pass):
    """Remove Expand and Tile where the reader broadcasts by itself; GatherElements of a broadcast index is a Gather."""

    name = "tile"

    def call(self, graph: gs.Graph) -> PassResult:
        copies = gathers = 0
        for g in graphs(graph):
            edit = Edit(g)
            for node in g.nodes:
                if not standard(node) or node.name in self.options.keep_nodes:
                    continue
                if node.op == "GatherElements":
                    gathers += _gather(edit, node)
                elif node.op in BROADCASTING:
                    copies += _broadcast(node)
            edit.commit()
        counted = ((copies, "removed from operators that broadcast"), (gathers, "GatherElements to Gather"))
        notes = [f"{n} {what}" for n, what in counted if n]
        return PassResult(graph, bool(copies or gathers), notes)


def _source(tensor: Tensor) -> Tensor | None:
    """What a tensor is copies of: the input of an Expand, or of a Tile that only repeats dimensions of size 1."""
    node = producer(tensor)
    if node is None or node.op not in ("Expand", "Tile") or not standard(node):
        return None
    x = node.inputs[0]
    before, after = shape(x), shape(tensor)
    if before is None or after is None or (node.op == "Tile" and len(before) != len(after)):
        return None
    if node.op == "Expand":
        return x
    repeats = ints(node.inputs[1])
    only_ones = repeats is not None and all(r == 1 or d == 1 for r, d in zip(repeats, before, strict=True))
    return x if only_ones else None


def _broadcast(node: gs.Node) -> int:
    """Read the source of a copy, as long as the result has the shape it had."""
    count = 0
    for tensor in list(node.inputs):
        source = _source(tensor) if tensor.name else None
        if source is None:
            continue
        others: list[Any] = [source if t is tensor else t for t in node.inputs]
        shapes = [shape(t) for t in others]
        if None not in shapes and _joined(shapes) == list(shape(node.outputs[0]) or [None]):
            set_inputs(node, others)
            count += 1
    return count


def _joined(shapes: list[Any]) -> list[Any] | None:
    """The broadcast shape, if it follows from what is known."""
    rank = max(len(s) for s in shapes)
    dims: list[Any] = []
    for column in zip(*([1] * (rank - len(s)) + list(s) for s in shapes), strict=True):
        wide = {d for d in column if d != 1}
        if len(wide) > 1 or None in wide or "" in wide:
            return None
        dims.append(wide.pop() if wide else 1)
    return dims


def _gather(edit: Edit, node: gs.Node) -> bool:
    """GatherElements-13 whose index differs along `axis` only, and covers the data in all other axes."""
    data, index = node.inputs
    source, axis = index, node.attrs.get("axis", 0)
    while (below := _source(source)) is not None:
        source = below
    dims, small, full = static(data), static(source), static(index)
    if source is index or dims is None or small is None or full is None:
        return False
    axis += len(dims) if axis < 0 else 0
    small = (1,) * (len(full) - len(small)) + small
    along = all(s == 1 for i, s in enumerate(small) if i != axis) and small[axis] == full[axis]
    if not along or any(a != b for i, (a, b) in enumerate(zip(dims, full, strict=True)) if i != axis):
        return False
    if isinstance(source, gs.Constant):
        flat: Tensor = edit.const(np.asarray(source.values).reshape(-1), f"{source.name}/flat")
    else:
        target = edit.i64([full[axis]], f"{source.name}/length")
        flat = edit.add("Reshape", [source, target], node, dtype=source.dtype, shape=[full[axis]])
    edit.become(node, "Gather", [data, flat], axis=axis)
    return True
