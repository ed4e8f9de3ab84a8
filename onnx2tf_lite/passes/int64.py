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

from .edit import Edit, Tensor, graphs, producer, scalar, set_inputs, shape, standard
from .manager import Pass, PassResult, plural

Range = tuple[int, int]
LOW, HIGH = -(1 << 31), (1 << 31) - 1
WHOLE: Range = (-(1 << 63), (1 << 63) - 1)
#: A dimension of a tensor that TFLite can hold.
DIMENSION: Range = (0, HIGH)
I64 = np.dtype(np.int64)

#: Readers that take int32 as they are: operator -> the inputs.
TAKES: dict[str, tuple[int, ...]] = {
    "Gather": (1,),
    "GatherElements": (1,),
    "ScatterElements": (1,),
    "OneHot": (0,),
    "Cast": (0,),
}
#: Operators whose result has the type of these inputs, for any integer type.
THROUGH: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Range", "Clip", "Concat"), None),
    **dict.fromkeys(("Neg", "Abs", "Identity", "Transpose", "Flatten", "ReduceMax", "ReduceMin"), (0,)),
    **dict.fromkeys(
        ("Expand", "Tile", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "GatherElements"), (0,)
    ),
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
        region, sources = self._candidates(every, ranges)
        outputs = {id(t) for g in every for t in (*g.outputs, *g.inputs)}
        kept: dict[str, str] = {}
        changed = True
        while changed:  # the largest set that is closed: whoever breaks a rule leaves, until nobody does
            changed = False
            for k, tensor in list(region.items()):
                reason = self._against(tensor, region, sources, outputs, ranges)
                if reason:
                    del region[k]
                    kept[tensor.name] = reason
                    changed = True
        count = self._narrow(every, region, sources) if region else 0
        notes = [f"narrowed {plural(count, 'tensor')} to int32"] if count else []
        unproven = [n for n, why in kept.items() if why == "range"]
        if unproven:
            shown = ", ".join(unproven[:5]) + (", ..." if len(unproven) > 5 else "")
            notes.append(f"kept {plural(len(unproven), 'tensor')} in int64, the range is not proven: {shown}")
        return PassResult(graph, bool(count), notes)

    def _candidates(self, every: list[gs.Graph], ranges: Ranges) -> tuple[dict[int, Tensor], set[int]]:
        """Results of int64 operators that could work in int32; and those that begin in another type (Cast)."""
        region: dict[int, Tensor] = {}
        sources: set[int] = set()
        for node in (n for g in every for n in g.nodes if standard(n)):
            if node.name in self.options.keep_nodes or not len(node.outputs) or node.outputs[0].dtype != I64:
                continue
            begins = node.op == "Cast" or (node.op == "ConstantOfShape" and "value" in node.attrs)
            if node.op in THROUGH or begins:
                for tensor in node.outputs:
                    region[id(tensor)] = tensor
                    if begins:
                        sources.add(id(tensor))
        for node in (n for g in every for n in g.nodes if standard(n)):
            for i in _slots(node):
                if isinstance(node.inputs[i], gs.Constant) and node.inputs[i].dtype == I64:
                    region[id(node.inputs[i])] = node.inputs[i]
        return region, sources

    def _against(
        self, tensor: Tensor, region: dict[int, Tensor], sources: set[int], outputs: set[int], ranges: Ranges
    ) -> str:
        """Why a tensor has to stay in int64, or nothing."""
        maker = producer(tensor)
        if id(tensor) in outputs:
            return "output"
        if maker is not None and id(tensor) not in sources:
            mates = [t for t in _values(maker) if t.name]
            if any(id(t) not in region for t in mates) or any(id(t) not in region for t in maker.outputs):
                return "operand"
        readers = [(n, i) for n in _unique(tensor.outputs) for i, t in enumerate(n.inputs) if t is tensor]
        fine = [self._reads(node, i, region) for node, i in readers]
        if isinstance(tensor, gs.Constant):  # every reader gets the copy it needs
            if not any(fine):
                return "reader"
        elif not fine or not all(fine):
            return "reader"
        low, high = ranges(tensor)
        return "" if low >= LOW and high <= HIGH else "range"

    def _reads(self, node: gs.Node, slot: int, region: dict[int, Tensor]) -> bool:
        if not standard(node):
            return False
        if slot in TAKES.get(node.op, ()):
            return not (
                node.op == "Cast" and node.attrs["to"] == TensorProto.INT64 and id(node.outputs[0]) not in region
            )
        values = _values(node)
        if node.op in COMPARES:
            return all(id(t) in region for t in values)
        return any(t is node.inputs[slot] for t in values) and id(node.outputs[0]) in region

    def _narrow(self, every: list[gs.Graph], region: dict[int, Tensor], sources: set[int]) -> int:
        edit = Edit(every[0])
        copies: dict[int, Tensor] = {}
        for g in every:
            for node in g.nodes:
                inputs = list(node.inputs)
                for i, tensor in enumerate(inputs):
                    if id(tensor) in region and isinstance(tensor, gs.Constant) and self._reads(node, i, region):
                        if id(tensor) not in copies:
                            copies[id(tensor)] = edit.const(tensor.values, f"{tensor.name}/int32", np.int32)
                        inputs[i] = copies[id(tensor)]
                if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
                    set_inputs(node, inputs)
        count = len(copies)
        for k, tensor in region.items():
            if isinstance(tensor, gs.Constant):
                continue
            tensor.dtype = np.dtype(np.int32)
            count += 1
            if k in sources:
                maker = tensor.inputs[0]
                if maker.op == "Cast":
                    maker.attrs["to"] = int(TensorProto.INT32)
                else:
                    maker.attrs["value"] = gs.Constant("value", np.asarray(maker.attrs["value"].values, np.int32))
        return count


def _slots(node: gs.Node) -> list[int]:
    """The inputs where int32 may stand."""
    values = _values(node)
    return [i for i, t in enumerate(node.inputs) if i in TAKES.get(node.op, ()) or any(t is v for v in values)]


def _values(node: gs.Node) -> list[Tensor]:
    """The inputs whose type is that of the result (or that are compared with each other)."""
    if node.op not in THROUGH and node.op not in COMPARES:
        return []
    slots = THROUGH.get(node.op)
    return [t for i, t in enumerate(node.inputs) if t.name and (slots is None or i in slots)]


def _unique(nodes: list[gs.Node]) -> list[gs.Node]:
    return list({id(n): n for n in nodes}.values())


class Ranges:
    """Interval analysis: between which numbers all elements of an integer tensor lie."""

    def __init__(self) -> None:
        self.known: dict[int, Range] = {}
        self.held: list[Tensor] = []

    def __call__(self, tensor: Tensor) -> Range:
        stack = [tensor]
        while stack:  # without recursion: chains can be long
            top = stack[-1]
            maker = producer(top)
            wait = [] if id(top) in self.known or maker is None else _operands(maker)
            wait = [t for t in wait if id(t) not in self.known]
            if wait:
                stack += wait
                continue
            if id(top) not in self.known:
                self.known[id(top)] = self._range(top, maker)
                self.held.append(top)
            stack.pop()
        return self.known[id(tensor)]

    def _range(self, tensor: Tensor, maker: gs.Node | None) -> Range:
        if isinstance(tensor, gs.Constant):
            array = np.asarray(tensor.values)
            return (int(array.min()), int(array.max())) if array.size and array.dtype.kind in "iub" else _type(tensor)
        if maker is None or not standard(maker):
            return _type(tensor)
        rule = _RANGES.get(maker.op)
        found = rule(maker, [self.known[id(t)] for t in _operands(maker)]) if rule else _type(tensor)
        limit = _type(tensor)
        return found if limit[0] <= found[0] and found[1] <= limit[1] else limit


def _type(tensor: Tensor) -> Range:
    dtype = None if tensor.dtype is None or isinstance(tensor.dtype, int) else np.dtype(tensor.dtype)
    if dtype is None or dtype.kind not in "iub" or dtype.isbuiltin != 1:
        return WHOLE
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def _operands(node: gs.Node) -> list[Tensor]:
    return _values(node) or ([node.inputs[0]] if node.op in ("Cast", "CastLike") else [])


def _corners(of: Callable[[int, int], int]) -> Callable[[gs.Node, list[Range]], Range]:
    def rule(node: gs.Node, r: list[Range]) -> Range:
        found = [of(a, b) for a in r[0] for b in r[1]]
        return min(found), max(found)

    return rule


def _hull(node: gs.Node, r: list[Range]) -> Range:
    return min(a for a, _ in r), max(b for _, b in r)


def _div(node: gs.Node, r: list[Range]) -> Range:
    """Integer division truncates; nothing is further from 0 than the dividend."""
    size = max(abs(r[0][0]), abs(r[0][1]))
    return (0 if min(r[0][0], r[1][0]) >= 0 else -size), size


def _mod(node: gs.Node, r: list[Range]) -> Range:
    size = max(abs(r[1][0]), abs(r[1][1]))
    return (0 if r[1][0] >= 0 and (r[0][0] >= 0 or not node.attrs.get("fmod", 0)) else -size), size


def _clip(node: gs.Node, r: list[Range]) -> Range:
    low, high = (scalar(node.inputs[i]) if i < len(node.inputs) and node.inputs[i].name else None for i in (1, 2))
    a, b = r[0]
    a, b = (a, b) if low is None else (max(a, int(low)), max(b, int(low)))
    return (a, b) if high is None else (min(a, int(high)), min(b, int(high)))


def _value(node: gs.Node, r: list[Range]) -> Range:
    held = node.attrs.get("value")
    number = 0 if held is None else int(np.asarray(held.values).reshape(-1)[0])
    return number, number


def _positions(node: gs.Node, r: list[Range]) -> Range:
    """Indices into a tensor lie within its dimensions."""
    dims = shape(node.inputs[0])
    sizes = [d if isinstance(d, int) else HIGH for d in dims] if dims else [HIGH]
    return 0, max(max(sizes) - 1, 0)


_RANGES: dict[str, Callable[[gs.Node, list[Range]], Range]] = {
    "Add": _corners(lambda a, b: a + b),
    "Sub": _corners(lambda a, b: a - b),
    "Mul": _corners(lambda a, b: a * b),
    "Div": _div,
    "Mod": _mod,
    "Clip": _clip,
    "Min": lambda n, r: (min(a for a, _ in r), min(b for _, b in r)),
    "Max": lambda n, r: (max(a for a, _ in r), max(b for _, b in r)),
    "Neg": lambda n, r: (-r[0][1], -r[0][0]),
    "Abs": lambda n, r: (0, max(abs(r[0][0]), abs(r[0][1]))),
    "Range": lambda n, r: (min(r[0][0], r[1][0]), max(r[0][1], r[1][1])),
    "Cast": lambda n, r: r[0],
    "ConstantOfShape": _value,
    **dict.fromkeys(("Shape", "Size"), lambda n, r: DIMENSION),
    **dict.fromkeys(("ArgMax", "ArgMin", "NonZero"), _positions),
    **{
        op: _hull
        for op in THROUGH
        if op not in ["Add", "Sub", "Mul", "Div", "Mod", "Clip", "Min", "Max", "Neg", "Abs", "Range"]
    },
}
