"""What does nothing, or is there twice, goes. The graph's inputs and outputs keep their names, nodes their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import AttributeProto

from .edit import (
    Edit,
    Tensor,
    arg,
    bodies,
    detach,
    graphs,
    ints,
    producer,
    same_shape,
    set_inputs,
    shape,
    standard,
    static,
    value,
)
from .fold import KEEP
from .manager import Pass, PassResult, plural
from .proto import LazyTensor, numpy_type

#: Constants up to this size are compared by content; bigger ones only with others of their type and shape.
SMALL = 4096


class Clean(Pass):
    """Remove dead code, no-ops and duplicates (constants and subexpressions); merge Transposes and Reshapes."""

    name = "clean"

    def call(self, graph: gs.Graph) -> PassResult:
        keep = self.options.keep_nodes
        counts = {"dead node": eliminate_dead(graph)}
        counts["duplicate constant"] = _constants(graph)
        changes = {"merged pair": _merge, "no-op": _no_ops, "common subexpression": _common}
        for g in graphs(graph):
            more = True
            while more:  # each makes work for the others
                found = {what: change(g, keep) for what, change in changes.items()}
                more = any(found.values())
                counts.update({what: counts.get(what, 0) + n for what, n in found.items()})
        counts["dead node"] += eliminate_dead(graph)
        return PassResult(graph, any(counts.values()), [plural(n, what) for what, n in counts.items() if n])


def eliminate_dead(graph: gs.Graph) -> int:
    """Remove nodes nobody reads, last first, so that what fed only them goes as well."""
    outputs = {id(t) for t in graph.outputs}
    kept, removed = [], 0
    for node in reversed(graph.nodes):
        if any(len(t.outputs) or id(t) in outputs for t in node.outputs if t.name):
            for body in bodies(node):
                removed += eliminate_dead(body)
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


def _neutral(number: float, sides: tuple[int, ...]) -> Callable[[gs.Node], Tensor | None]:
    """x + 0, x * 1 and so on, where the constant neither broadcasts nor promotes."""

    def test(node: gs.Node) -> Tensor | None:
        for side in sides:
            array, x = value(node.inputs[side]), node.inputs[1 - side]
            if (
                array is not None
                and array.dtype.kind in "fiu"
                and (array == number).all()
                and same_shape(x, node.outputs[0])
            ):
                return x
        return None

    return test


def _if(test: Callable[[gs.Node], bool]) -> Callable[[gs.Node], Tensor | None]:
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


def _pad(node: gs.Node) -> bool:
    pads = ints(node.inputs[1])
    return pads is not None and not any(pads)


def _cast(node: gs.Node) -> bool:
    dtype = node.inputs[0].dtype
    return dtype is not None and np.dtype(dtype) == numpy_type(node.attrs["to"])


def _alone(node: gs.Node) -> bool:
    return len(node.inputs) == 1


_NO_OP: dict[str, Callable[[gs.Node], Tensor | None]] = {
    "Identity": _if(lambda n: True),
    "Cast": _if(_cast),
    "Transpose": _if(_transpose),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"), _if(_same)),
    "Slice": _if(_slice),
    "Resize": _if(_resize),
    "Pad": _if(_pad),
    **dict.fromkeys(("Concat", "Sum", "Mean", "Max", "Min"), _if(_alone)),
    "Split": _if(lambda n: len(n.outputs) == 1),
    "Clip": _if(lambda n: arg(n, 1) is None and arg(n, 2) is None),
    "Add": _neutral(0, (0, 1)),
    "Mul": _neutral(1, (0, 1)),
    "Sub": _neutral(0, (1,)),
    "Div": _neutral(1, (1,)),
    "Pow": _neutral(1, (1,)),
}


def _no_ops(graph: gs.Graph, keep: frozenset[str]) -> int:
    edit, count = Edit(graph), 0
    for node in graph.nodes:
        if node.op not in _NO_OP or not standard(node) or node.name in keep:
            continue
        source = _NO_OP[node.op](node)
        if source is not None and getattr(source, "type", "tensor_type") == "tensor_type":
            if id(node.outputs[0]) in edit.outputs and isinstance(source, gs.Constant):
                y, array = node.outputs[0], source.values
                edit.delete(node)
                y.to_constant(array)
                count += 1
            else:
                count += edit.bypass(node, source)
    edit.commit()
    return count


# -- pairs ------------------------------------------------------------------------------------------------------------
def _merge(graph: gs.Graph, keep: frozenset[str]) -> int:
    """Transpose(Transpose(x)) and Reshape(Reshape(x)): the second does it alone."""
    count = 0
    for node in graph.nodes:
        if node.op not in ("Transpose", "Reshape") or not standard(node) or node.name in keep:
            continue
        first = producer(node.inputs[0])
        if first is None or first.op != node.op or not standard(first) or first.name in keep:
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
def _content(tensor: gs.Constant) -> Any:
    """A key that equal constants share: of a big one only its ends, the rest is compared later."""
    held = tensor._values
    kind = (str(held.dtype), tuple(held.shape))
    if held.nbytes > SMALL:
        if isinstance(held, LazyTensor) and held._read is None:
            return (*kind, id(tensor))  # a caller's message gives its bytes only by copying them
        ends = _bytes(tensor)
        return (*kind, ends[:64].tobytes(), ends[-64:].tobytes())
    if isinstance(held, LazyTensor) and held._read is None and held._proto.HasField("raw_data"):
        return (*kind, held._proto.raw_data)
    array = np.asarray(tensor.values)
    return (*kind, tuple(array.reshape(-1)) if array.dtype == object else array.tobytes())


def _constants(graph: gs.Graph) -> int:
    """One constant for all of the same content."""
    everyone: dict[int, gs.Constant] = {}
    outputs: set[int] = set()
    for g in graphs(graph):
        outputs.update(id(t) for t in g.outputs)
        everyone.update((id(t), t) for n in g.nodes for t in n.inputs if isinstance(t, gs.Constant))
    first: dict[Any, list[gs.Constant]] = {}
    edit, count = Edit(graph), 0
    for tensor in everyone.values():
        key = _content(tensor)
        twin = next((t for t in first.get(key, ()) if tensor._values.nbytes <= SMALL or _equal(t, tensor)), None)
        if twin is None:
            first.setdefault(key, []).append(tensor)
        elif id(tensor) not in outputs:
            edit.redirect(tensor, twin)
            count += 1
    return count


def _equal(a: gs.Constant, b: gs.Constant) -> bool:
    return np.array_equal(_bytes(a), _bytes(b))


def _bytes(tensor: gs.Constant) -> np.ndarray:
    """A constant's bytes, where they lie; it stays lazy."""
    held = tensor._values
    array = held.load() if isinstance(held, LazyTensor) else held
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _common(graph: gs.Graph, keep: frozenset[str]) -> int:
    """Common subexpressions: a node that does what an earlier one did reads like it."""
    edit, seen, count = Edit(graph), dict[Any, gs.Node](), 0
    for node in graph.nodes:
        if node.op in KEEP or node.name in keep or any(id(t) in edit.outputs for t in node.outputs):
            continue
        attrs = _attributes(node)
        if attrs is None:
            continue
        key = (node.op, node.domain, attrs, tuple(id(t) if t.name else 0 for t in node.inputs), len(node.outputs))
        twin = seen.setdefault(key, node)
        if twin is not node and all(
            bool(a.name) == bool(b.name) for a, b in zip(twin.outputs, node.outputs, strict=True)
        ):
            for mine, theirs in zip(list(node.outputs), twin.outputs, strict=True):
                if mine.name:
                    edit.redirect(mine, theirs)
            edit.delete(node)
            count += 1
    edit.commit()
    return count


def _attributes(node: gs.Node) -> Any:
    """The attributes as a key, or None where they cannot be compared (bodies)."""
    key = []
    for name, item in sorted(node.attrs.items()):
        if isinstance(item, gs.Graph | AttributeProto) or (
            isinstance(item, gs.Constant) and item._values.nbytes > SMALL
        ):
            return None
        key.append((name, _content(item) if isinstance(item, gs.Constant) else repr(item)))
    return tuple(key)
