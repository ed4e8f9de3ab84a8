"""What does nothing, or is there twice, goes. The graph's inputs and outputs keep their names, nodes their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

import numpy as np
import onnx_graphsurgeon as gs
from onnx import AttributeProto

from ..model.edit import (
    GraphEdit,
    arg,
    bodies,
    detach,
    graphs,
    ints,
    producer,
    same_shape,
    set_inputs,
    shape,
    static,
    value,
)
from ..model.surgeon import LazyTensor, numpy_type
from .fold import KEEP
from .manager import Pass, PassResult, counted

#: Constants up to this size are compared by content; bigger ones only with others of their type and shape.
SMALL = 4096


class Clean(Pass):
    """Remove dead code, no-ops and duplicates (constants and subexpressions); merge Transposes and Reshapes."""

    name = "clean"

    def call(self, graph: gs.Graph) -> PassResult:
        """Remove what has no effect, in the graph and its bodies."""
        counts = Counter({"dead node(s)": eliminate_dead(graph), "duplicate constant(s)": _constants(graph)})
        changes = {"merged pair(s)": _merge, "no-op(s)": _no_ops, "common subexpression(s)": _common}
        for g in graphs(graph):
            before = -1
            while before != (before := counts.total()):  # each makes work for the others
                for what, change in changes.items():
                    counts[what] += change(g, self.mine(g))
        counts["dead node(s)"] += eliminate_dead(graph)
        return counted(graph, counts)


def eliminate_dead(graph: gs.Graph) -> int:
    """Remove nodes nobody reads, last first, so that what fed only them goes as well."""
    outputs = {id(t) for t in graph.outputs}
    kept, removed = [], 0
    for node in reversed(graph.nodes):
        if any(len(t.outputs) or id(t) in outputs for t in node.outputs if t.name):
            removed += sum(map(eliminate_dead, bodies(node)))
            kept.append(node)
        else:
            detach(node)
            removed += 1
    if removed:
        graph.nodes = kept[::-1]
    return removed


# -- no-ops -----------------------------------------------------------------------------------------------------------
def _same(node: gs.Node) -> bool:
    """For operators that only move elements in order: what has the same shape is the same."""
    return same_shape(node.inputs[0], node.outputs[0])


def _neutral(number: float, *sides: int) -> Callable[[gs.Node], gs.Tensor | None]:
    """x + 0, x * 1 and so on, where the constant neither broadcasts nor promotes."""

    def test(node: gs.Node) -> gs.Tensor | None:
        for side in sides:
            array, x = value(node.inputs[side]), node.inputs[1 - side]
            neutral = array is not None and array.dtype.kind in "fiu" and (array == number).all()
            if neutral and same_shape(x, node.outputs[0]):
                return x
        return None

    return test


def _if(test: Callable[[gs.Node], bool]) -> Callable[[gs.Node], gs.Tensor | None]:
    return lambda node: node.inputs[0] if test(node) else None


def _transpose(node: gs.Node) -> bool:
    perm = node.attrs.get("perm")
    dims = shape(node.inputs[0])
    return list(perm) == sorted(perm) if perm is not None else dims is not None and len(dims) < 2


def _slice(node: gs.Node) -> bool:
    steps = arg(node, 4)
    return static(node.outputs[0]) is not None and _same(node) and (steps is None or min(ints(steps) or [-1]) > 0)


def _resize(node: gs.Node) -> bool:
    """The same size by a factor of exactly one."""
    scales = value(arg(node, 2))
    exact = arg(node, 3) is not None or (scales is not None and bool((scales == 1).all()))
    plain = node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    return exact and plain and static(node.outputs[0]) is not None and _same(node)


_NO_OP: dict[str, Callable[[gs.Node], gs.Tensor | None]] = {
    "Identity": _if(lambda n: True),
    "Cast": _if(lambda n: n.inputs[0].dtype is not None and n.inputs[0].dtype == numpy_type(n.attrs["to"])),
    "Transpose": _if(_transpose),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"), _if(_same)),
    "Slice": _if(_slice),
    "Resize": _if(_resize),
    "Pad": _if(lambda n: not any(ints(n.inputs[1]) or [1])),
    **dict.fromkeys(("Concat", "Sum", "Mean", "Max", "Min"), _if(lambda n: len(n.inputs) == 1)),
    "Split": _if(lambda n: len(n.outputs) == 1),
    "Clip": _if(lambda n: arg(n, 1) is None and arg(n, 2) is None),
    "Add": _neutral(0, 0, 1),
    "Mul": _neutral(1, 0, 1),
    "Sub": _neutral(0, 1),
    "Div": _neutral(1, 1),
    "Pow": _neutral(1, 1),
}


def _no_ops(graph: gs.Graph, nodes: list[gs.Node]) -> int:
    edit, count = GraphEdit(graph), 0
    for node in nodes:
        source = _NO_OP[node.op](node) if node.op in _NO_OP else None
        if source is None or getattr(source, "type", "tensor_type") != "tensor_type":
            continue
        if id(node.outputs[0]) in edit.outputs and isinstance(source, gs.Constant):
            edit.freeze(node, source.values)
            count += 1
        else:
            count += edit.bypass(node, source)
    edit.commit()
    return count


# -- pairs ------------------------------------------------------------------------------------------------------------
def _merge(graph: gs.Graph, nodes: list[gs.Node]) -> int:
    """Transpose(Transpose(x)) and Reshape(Reshape(x)): the second does it alone."""
    count, ours = 0, {id(n) for n in nodes if n.op in ("Transpose", "Reshape")}
    for node in (n for n in nodes if id(n) in ours):
        first = producer(node.inputs[0])
        if first is None or id(first) not in ours or first.op != node.op:
            continue
        if node.op == "Transpose":
            inner, outer = first.attrs.get("perm"), node.attrs.get("perm")
            if inner is None or outer is None:
                continue
            node.attrs["perm"] = [inner[i] for i in outer]
        else:
            target = ints(node.inputs[1])
            if target is None or 0 in target or (-1 in target and 0 in (static(node.inputs[0]) or ())):
                continue  # a 0 copies a dimension of what it is applied to
        set_inputs(node, [first.inputs[0], *node.inputs[1:]])
        count += 1
    return count


# -- duplicates -------------------------------------------------------------------------------------------------------
def _content(tensor: gs.Constant) -> Hashable:
    """A key that equal constants share: of a big one only its ends, the rest is compared later."""
    held = tensor._values
    kind = (held.dtype, tuple(held.shape))
    in_message = isinstance(held, LazyTensor) and held.read is None
    if held.nbytes > SMALL:
        if in_message:  # gives its bytes only by copying them
            return (*kind, id(tensor))
        ends = _bytes(tensor)
        return (*kind, ends[:64].tobytes(), ends[-64:].tobytes())
    if in_message and held.proto.HasField("raw_data"):
        return (*kind, held.proto.raw_data)
    array = np.asarray(tensor.values)
    return (*kind, tuple(array.reshape(-1)) if array.dtype == object else array.tobytes())


def _constants(graph: gs.Graph) -> int:
    """One constant for all of the same content."""
    outputs = {id(t) for g in graphs(graph) for t in g.outputs}
    read = {id(t): t for g in graphs(graph) for n in g.nodes for t in n.inputs if isinstance(t, gs.Constant)}
    first: dict[Hashable, list[gs.Constant]] = {}
    edit, count = GraphEdit(graph), 0
    for tensor in read.values():
        alike = first.setdefault(_content(tensor), [])
        small = tensor._values.nbytes <= SMALL
        twin = next((t for t in alike if small or np.array_equal(_bytes(t), _bytes(tensor))), None)
        if twin is None:
            alike.append(tensor)
        elif id(tensor) not in outputs:
            edit.redirect(tensor, twin)
            count += 1
    return count


def _bytes(tensor: gs.Constant) -> np.ndarray:
    """A constant's bytes, where they lie; it stays lazy."""
    held = tensor._values
    array = held.load() if isinstance(held, LazyTensor) else held
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _common(graph: gs.Graph, nodes: list[gs.Node]) -> int:
    """Common subexpressions: a node that does what an earlier one did reads like it."""
    edit, seen, count = GraphEdit(graph), dict[Hashable, gs.Node](), 0
    for node in nodes:
        attrs = [_attribute(item) for item in node.attrs.items()]
        if node.op in KEEP or None in attrs or any(id(t) in edit.outputs for t in node.outputs):
            continue
        inputs = tuple(id(t) if t.name else 0 for t in node.inputs)
        twin = seen.setdefault((node.op, frozenset(attrs), inputs, tuple(bool(t.name) for t in node.outputs)), node)
        if twin is not node:
            for mine, theirs in zip(list(node.outputs), twin.outputs, strict=True):
                if mine.name:
                    edit.redirect(mine, theirs)
            edit.delete(node)
            count += 1
    edit.commit()
    return count


def _attribute(named: tuple[str, object]) -> Hashable:
    """An attribute as a key, or None where it cannot be compared (bodies)."""
    name, item = named
    if isinstance(item, gs.Constant):
        return (name, _content(item)) if item._values.nbytes <= SMALL else None
    return None if isinstance(item, gs.Graph | AttributeProto) else (name, repr(item))
