"""Index arithmetic in int32 where its values provably fit.

ONNX wants int64 for shapes and counts (and in GatherND and ScatterND), and takes int32 for the indices of Gather,
GatherElements, ScatterElements and OneHot. A region of int64 tensors becomes int32 if interval analysis bounds every
value in it, and every reader of it either is in the region too or takes int32. Nothing wraps: what has no bound stays
as it is, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from ..ir.ranges import EXTENT, TRANSFER, dtype_range
from ..model.edit import Edit, Tensor, arg, graphs, producer, scalar, set_inputs, shape
from .manager import Pass, PassResult, counted, plural

Range = tuple[int, int]
LOW, HIGH = -(1 << 31), (1 << 31) - 1
WHOLE: Range = (-(1 << 63), (1 << 63) - 1)
I64 = np.dtype(np.int64)

#: Readers that take int32 as they are: operator -> the inputs.
TAKES = {"Gather": (1,), "GatherElements": (1,), "ScatterElements": (1,), "OneHot": (0,), "Cast": (0,)}
#: Operators whose result has the type of these inputs, for any integer type.
THROUGH: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Range", "Clip", "Concat"), None),
    **dict.fromkeys(("Neg", "Abs", "Identity", "Transpose", "Flatten", "ReduceMax", "ReduceMin"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split"), (0,)),
    **dict.fromkeys(("Gather", "GatherElements"), (0,)),
    "Where": (1, 2),
}
#: Comparisons: any integer type, both sides alike.
COMPARES = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


class Int64(Pass):
    """Narrow index arithmetic and its constants to int32 where the range of every value is proven."""

    name = "int64"

    def call(self, graph: gs.Graph) -> PassResult:
        every = list(graphs(graph))
        ranges = Ranges()
        region = self._candidates(every)
        ends = {id(t) for g in every for t in (*g.outputs, *g.inputs)}
        unproven: list[str] = []
        before = -1
        while before != (before := len(region)):  # the largest closed set: whoever breaks a rule leaves
            for key, tensor in list(region.items()):
                alone = key in ends or not _belongs(tensor, region)
                low, high = (LOW, HIGH) if alone else ranges(tensor)
                if alone or low < LOW or high > HIGH:
                    del region[key]
                    unproven += [] if alone else [tensor.name]
        result = counted(graph, {"tensor(s) to int32": _narrow(every, region)}, "narrowed ")
        if unproven:
            shown = ", ".join(unproven[:5]) + (", ..." if len(unproven) > 5 else "")
            result.notes.append(f"kept {plural(len(unproven), 'tensor(s)')} in int64, the range is not proven: {shown}")
        return result

    def _candidates(self, every: list[gs.Graph]) -> dict[int, Tensor]:
        """int64 results of operators that could work in int32, and the int64 constants that these or others read."""
        region: dict[int, Tensor] = {}
        for node in (n for g in every for n in self.mine(g)):
            if len(node.outputs) and node.outputs[0].dtype == I64 and (node.op in THROUGH or _begins(node)):
                region.update((id(t), t) for t in node.outputs)
        for node in (n for g in every for n in g.nodes if not n.domain):
            read = [*_values(node), *(node.inputs[i] for i in TAKES.get(node.op, ()))]
            region.update((id(t), t) for t in read if isinstance(t, gs.Constant) and t.dtype == I64)
        return region


def _begins(node: gs.Node) -> bool:
    """Does the operator say by itself of which type its result is?"""
    return node.op == "Cast" or (node.op == "ConstantOfShape" and "value" in node.attrs)


def _belongs(tensor: Tensor, region: dict[int, Tensor]) -> bool:
    """Does all that the tensor is made of, and with, work in int32, and every reader take it (of a constant: one)?"""
    maker = producer(tensor)
    mates = [] if maker is None or _begins(maker) else [*_values(maker), *maker.outputs]
    readers = {id(n): n for n in tensor.outputs}.values()
    fine = [_reads(n, i, region) for n in readers for i, t in enumerate(n.inputs) if t is tensor]
    read = any(fine) if isinstance(tensor, gs.Constant) else bool(fine) and all(fine)
    return read and all(id(t) in region for t in mates)


def _reads(node: gs.Node, slot: int, region: dict[int, Tensor]) -> bool:
    """Can int32 stand at this input?"""
    if node.domain:
        return False
    inside = id(node.outputs[0]) in region
    if slot in TAKES.get(node.op, ()):
        return node.op != "Cast" or node.attrs["to"] != TensorProto.INT64 or inside
    values = _values(node)
    if node.op in COMPARES:
        return all(id(t) in region for t in values)
    return inside and any(t is node.inputs[slot] for t in values)


def _narrow(every: list[gs.Graph], region: dict[int, Tensor]) -> int:
    edit = Edit(every[0])
    copies: dict[int, Tensor] = {}  # other readers of a constant keep it
    for node in (n for g in every for n in g.nodes):
        inputs = list(node.inputs)
        for i, tensor in enumerate(inputs):
            if id(tensor) in region and isinstance(tensor, gs.Constant) and _reads(node, i, region):
                if id(tensor) not in copies:
                    copies[id(tensor)] = edit.const(tensor.values, f"{tensor.name}/int32", np.int32)
                inputs[i] = copies[id(tensor)]
        if any(id(t) in region for t in node.inputs):
            set_inputs(node, inputs)
    results = [t for t in region.values() if not isinstance(t, gs.Constant)]
    for tensor in results:
        tensor.dtype = np.dtype(np.int32)
        maker = tensor.inputs[0]
        if maker.op == "Cast":
            maker.attrs["to"] = int(TensorProto.INT32)
        elif maker.op == "ConstantOfShape":
            maker.attrs["value"] = gs.Constant("value", np.asarray(maker.attrs["value"].values, np.int32))
    return len(copies) + len(results)


def _values(node: gs.Node) -> list[Tensor]:
    """The inputs whose type is that of the result (or that are compared with each other)."""
    if node.op not in THROUGH and node.op not in COMPARES:
        return []
    slots = THROUGH.get(node.op)
    return [t for i, t in enumerate(node.inputs) if t.name and (slots is None or i in slots)]


class Ranges:
    """Interval analysis: between which numbers all elements of an integer tensor lie."""

    def __init__(self) -> None:
        self.known: dict[int, Range] = {}

    def __call__(self, tensor: Tensor) -> Range:
        stack = [tensor]
        while stack:  # without recursion: chains can be long
            maker = producer(stack[-1])
            wait = [t for t in (_operands(maker) if maker else ()) if id(t) not in self.known]
            if wait and id(stack[-1]) not in self.known:
                stack += wait
            else:
                top = stack.pop()
                self.known.setdefault(id(top), self._range(top, maker))
        return self.known[id(tensor)]

    def _range(self, tensor: Tensor, maker: gs.Node | None) -> Range:
        dtype = None if tensor.dtype is None else np.dtype(tensor.dtype)
        whole = dtype is None or dtype.kind not in "iub" or dtype.isbuiltin != 1
        limit = WHOLE if dtype is None or whole else dtype_range(dtype)
        if isinstance(tensor, gs.Constant):
            array = np.asarray(tensor.values)
            return limit if whole or not array.size else (int(array.min()), int(array.max()))
        rule = None if maker is None or maker.domain else _RANGES.get(maker.op)
        found = rule(maker, *(self.known[id(t)] for t in _operands(maker))) if maker and rule else limit
        return found if limit[0] <= found[0] and found[1] <= limit[1] else limit


def _operands(node: gs.Node) -> list[Tensor]:
    return _values(node) or ([node.inputs[0]] if node.op == "Cast" else [])


def _mod(node: gs.Node, a: Range, b: Range) -> Range:
    """The sign is that of the divisor, with fmod=1 that of the dividend."""
    size = max(map(abs, b))
    return (-size, size) if node.attrs.get("fmod", 0) else TRANSFER["FLOOR_MOD"](node, a, b)


def _clip(node: gs.Node, x: Range, *bounds: Range) -> Range:
    low, high = (scalar(arg(node, i)) for i in (1, 2))
    a, b = x if low is None else (max(v, int(low)) for v in x)
    return (a, b) if high is None else (min(a, int(high)), min(b, int(high)))


def _value(node: gs.Node) -> Range:
    number = int(node.attrs["value"].values.item()) if "value" in node.attrs else 0
    return number, number


def _positions(node: gs.Node) -> Range:
    """Indices into a tensor lie within its dimensions."""
    sizes = [d if isinstance(d, int) else HIGH for d in shape(node.inputs[0]) or (None,)]
    return 0, max(*sizes, 1) - 1


#: Operators that the IR's interval analysis knows by another name.
_SAME = {op: op.upper() for op in ("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Range")}
_RANGES: dict[str, Callable[..., Range]] = {
    **dict.fromkeys(THROUGH, TRANSFER["CONCATENATION"]),
    **{op: TRANSFER[kind] for op, kind in _SAME.items()},
    "Cast": TRANSFER["CONCATENATION"],
    "Mod": _mod,
    "Clip": _clip,
    "Min": lambda n, *r: (min(a for a, _ in r), min(b for _, b in r)),
    "Max": lambda n, *r: (max(a for a, _ in r), max(b for _, b in r)),
    "ConstantOfShape": _value,
    **dict.fromkeys(("Shape", "Size"), lambda n: EXTENT),
    **dict.fromkeys(("ArgMax", "ArgMin", "NonZero"), _positions),
}
