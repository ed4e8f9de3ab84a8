"""The dtype policy, in one place: what the kernels compute correctly and how everything else gets around them.

A handler writes the dtypes of ONNX.  Where an operand's dtype is outside ``Kind.types`` (plain 8-bit arithmetic aborts
the process, int64 division does not exist, ...), the operation works in a *carrier*: the smallest dtype that the kernel
has and that holds every value that can occur, and its result is cast back.  A wider carrier is always right, because
the cast back wraps as the original would.  int64 -> int32 and integer -> float32 need a proof by interval analysis, for
the operands and for the exact result; without it the model is refused, never silently wrapped.  Quantised values
(``Value.quant``) are the business of their own kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ..errors import ConversionError, Problem
from ..ir import build, rewrite
from ..ir.graph import SHORT, Graph, Op, Value, short
from ..ir.intervals import dtype_range, fits
from ..ir.kinds import KINDS
from ..ir.ranges import Ranges
from ..ir.traits import Elements
from . import infinities, uint64
from .ranks import collapse

DTYPES = {word: np.dtype(name) for name, word in SHORT.items()}
CARRIERS = [DTYPES[n] for n in ("i8", "u8", "i16", "i32", "i64", "f32")]  # in order of preference


def legalize(graph: Graph) -> Graph:
    """Cast around kernels and fold ranks, in place.

    :raises ConversionError: with every operation that has no exact form.
    """
    problems: list[Problem] = []
    uint64.signed(graph, lambda op, what: problems.append(_problem(op, what)))
    infinities.restore(graph)
    for part in rewrite.graphs(graph):
        _legalize(part, problems)
    if problems:
        raise ConversionError(*problems)
    return graph


def _legalize(graph: Graph, problems: list[Problem]) -> None:
    stage = _Stage(graph)
    values = [*graph.inputs, *(v for op in graph.ops for v in op.outputs)]
    foreign = {v for v in values if short(v.dtype) not in DTYPES}
    problems += [
        Problem(f"tensor '{v.name}'", f"TFLite has no kernels for {v.dtype.name}", "use another dtype in the model")
        for v in values
        if v in foreign
    ]
    for op in rewrite.walk(graph):
        if not foreign.isdisjoint([*op.uses(), *op.outputs]):
            continue  # it is said of the tensor
        start = len(graph.ops)
        try:
            stage.place(op)
        except ValueError as error:
            problems.append(_problem(op, str(error)))
            graph.ops.append(op)
        for added in graph.ops[start:]:
            stage.ranges.learn(added)
    graph.sweep()


def _problem(op: Op, what: str) -> Problem:
    operands = ", ".join(str(v) for v in op.inputs if v is not None)
    where = f"{op.origin} ({operands})" if op.origin else f"{op.kind.name} ({operands})"
    remedy = "declare the tensors as int32 in the model, or bound them with Clip before this node"
    return Problem(where, what, remedy if "int64" in what else "")


class _Stage:
    """The walk over one graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.ranges = Ranges()
        self.casts: dict[tuple[Value, np.dtype], Value] = {}

    def place(self, op: Op) -> None:
        """Append ``op`` in a form that the kernels compute; ValueError where there is none."""
        values = [v for i in op.kind.typed_ports(op) if (v := op.inputs[i]) is not None]
        wrong = [v for v in values if short(v.dtype) not in op.kind.types.split()] if op.kind.types else []
        back: list[tuple[Value, Value]] = []
        if wrong and not any(v.quant is not None and v.dtype.kind in "iu" for v in [*values, *op.outputs]):
            fixed = any(isinstance(a, Graph) for a in op.attrs.values())  # its body has the dtypes too
            carrier = None if fixed else self._carrier(op, values)
            expand = EXPANSIONS.get((op.kind.name, short(wrong[0].dtype)))
            if carrier is not None:
                op, back = self._carried(op, carrier)
            elif expand is not None:
                rewrite.replace(op, [expand(op)])
                return
            else:
                raise ValueError(self._reason(op, values))
        folded = collapse(op)
        if folded is None:
            self.graph.ops.append(op)
        else:
            rewrite.replace(op, folded)
        for source, result in back:
            rewrite.define("CAST", source, result, to=result.dtype)

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """``value`` as ``dtype``, which holds all of it: the source of a cast where there is one."""
        producer, interval = value.producer, self.ranges.of(value)
        while producer is not None and producer.kind.elements is Elements.CONVERTED:
            source = producer.inputs[0]
            if source is None or source.dtype.kind not in "iu" or not fits(self.ranges.of(source), value.dtype):
                break
            if source.dtype == dtype:
                return source
            producer, interval = source.producer, self.ranges.of(source)
        if value.data is not None:
            return build.cast(value, dtype)
        if (value, dtype) not in self.casts:
            self.casts[value, dtype] = build.cast(value, dtype)
            self.ranges.known[self.casts[value, dtype]] = interval
        return self.casts[value, dtype]

    def _carrier(self, op: Op, values: Sequence[Value]) -> np.dtype | None:
        """The first dtype of the kernel that holds all operands and, where it is narrower, the exact result."""
        allowed = {DTYPES[n] for n in op.kind.types.split()}
        intervals = [self.ranges.of(v) for v in values]
        for carrier in (c for c in CARRIERS if c in allowed):
            if not all(fits(i, carrier) for i in intervals) or any(v.dtype.kind == "f" for v in values):
                continue
            if carrier.kind == "f" and not op.kind.exact_in_float:
                continue
            wider = carrier.kind in "iu" and all(fits(dtype_range(v.dtype), carrier) for v in values)
            selects = op.outputs[0].dtype != values[0].dtype  # a comparison or an index: nothing overflows
            exact = [(0, 0)] if wider or selects else self.ranges.exact(op, op.inputs)
            if exact and fits(exact[0], carrier):
                return carrier
        return None

    def _reason(self, op: Op, values: Sequence[Value]) -> str:
        dtype = next(v.dtype for v in values if short(v.dtype) not in op.kind.types.split())
        what = f"TFLite's {op.kind.name} has no {dtype.name} kernel ({op.kind.types.replace(' ', ', ')} only)"
        if dtype == np.int64:
            spans = ", ".join(f"{v.name} in {list(self.ranges.of(v))}" for v in values if v.dtype == dtype)
            what += f", and int32 is not proven to be enough: {spans}"
        return what

    def _carried(self, op: Op, carrier: np.dtype) -> tuple[Op, list[tuple[Value, Value]]]:
        """``op`` on operands cast to ``carrier``, and (its result, the value to cast it to) where the dtype changes."""
        inputs = list(op.inputs)
        for i in op.kind.typed_ports(op):
            inputs[i] = self.cast(inputs[i], carrier)  # type: ignore[arg-type]
        result = op.kind.infer(inputs, op.attrs)
        carried = Op(op.kind, inputs, [], op.attrs, op.origin)
        back = []
        for value, (_, dtype) in zip(op.outputs, result if isinstance(result, list) else [result], strict=True):
            own = value
            if dtype != value.dtype:
                own = Value(self.graph.fresh_name(value.name), value.shape, np.dtype(dtype))
                back.append((own, value))
            own.producer = carried
            carried.outputs.append(own)
        return carried, back


EXPANSIONS: dict[tuple[str, str], Callable[[Op], Value]] = {}
Expand = TypeVar("Expand", bound=Callable[..., Value])


def expands(kind: str, *dtypes: str) -> Callable[[Expand], Expand]:
    """Register what an operator is instead in dtypes that its kernel lacks, where int32 is not proven to be enough."""

    def register(expand: Expand) -> Expand:
        EXPANSIONS.update({(kind, dtype): expand for dtype in dtypes})
        return expand

    return register


@expands("ABS", "i64")
def _absolute(op: Op) -> Value:
    return build.maximum(op.inputs[0], build.neg(op.inputs[0]))


@expands("SQUARE", "i64", "i32")
def _square(op: Op) -> Value:
    return build.mul(op.inputs[0], op.inputs[0])


@expands("SIGN", "i64")
def _sign(op: Op) -> Value:
    (x,) = op.inputs
    return build.cast(build.greater(x, 0), x.dtype) - build.cast(build.less(x, 0), x.dtype)  # type: ignore[union-attr]


@expands("DIV", "i64", "u32")
def _quotient(op: Op, floor: bool = False) -> Value:
    """Exact division of what fits int64."""
    x, y = (build.cast(v, np.int64) for v in op.inputs)
    return build.cast(uint64.quotient(x, y, floor), op.outputs[0].dtype)


@expands("FLOOR_DIV", "i64", "u32")
def _floored(op: Op) -> Value:
    return _quotient(op, floor=True)


@expands("ARG_MAX", "i64", "u32")
def _largest(op: Op, reverse: bool = False) -> Value:
    """The first of the largest (smallest) elements is the first result of TOPK, which knows int64."""
    x, axis = build.cast(op.inputs[0], np.int64), op.attrs["axis"]
    moved = build.move_axis(-1 - x if reverse else x, axis, -1)  # -1 - x reverses the order and cannot overflow
    indices = build.topk(moved, 1)[1]
    return build.cast(build.reshape(indices, op.outputs[0].shape), op.attrs["to"])


@expands("ARG_MIN", "i64", "u32")
def _smallest(op: Op) -> Value:
    return _largest(op, reverse=True)


def _double(op: Op) -> Value:
    """The kernels that know float64 do not broadcast."""
    assert op.kind.float64 is not None
    return build.emit(op.kind.float64, *(build.broadcast_to(v, op.outputs[0].shape) for v in op.inputs))


for _kind in KINDS.values():
    if _kind.float64:
        expands(_kind.name, "f64")(_double)
