"""What every stage must leave behind, checked after each: a fault is found where it is made, not in a phone.

Structure is checked always; dtypes, ranks and the combinations that LiteRT's kernels answer with garbage or a crash
from ``legalize`` on; that nothing symbolic is left, in the last stage.  A failure is a mistake of the converter, so the
message names the stage, the operation and the ONNX node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import ConversionError, Problem
from . import dims
from .dims import Dim, Expr
from .graph import Graph, Op, Value, short
from .kind import Kind
from .ranges import fits

STAGES = ("lower", "legalize", "layout", "fusion", "dynamic")  # in program order; unknown names count as "fusion"
FRESH = {"WHERE", "UNIQUE"}  # their inference invents a new symbol
ACTIVATIONS = (None, "RELU", "RELU6", "RELU_N1_TO_1")
MAX_FAULTS = 20
Fault = tuple[Op | Graph, str]  # where, what
_TYPES: dict[str, frozenset[str]] = {}


def verify(graph: Graph, stage: str = "dynamic") -> None:
    """Check ``graph`` and its bodies after ``stage``.

    :raises ConversionError: with up to twenty faults.
    """
    level = STAGES.index(stage) if stage in STAGES else STAGES.index("fusion")
    faults = [fault for part in (graph, *graph.subgraphs()) for fault in _faults(part, level)]
    if faults:
        remedy = "this is a mistake of the converter: please report it with the model"
        raise ConversionError(*(Problem(f"after {stage}: {_name(w)}", what, remedy) for w, what in faults[:MAX_FAULTS]))


def _name(where: Op | Graph) -> str:
    if isinstance(where, Graph):
        return f"graph '{where.name}'"
    return f"{where.kind.name} for {where.origin}" if where.origin else str(where)


def _faults(graph: Graph, level: int) -> Iterator[Fault]:
    """Everything that is wrong."""
    known: set[Value] = set()
    names: set[str] = set()
    for value in graph.inputs:
        if value.data is not None or value.producer is not None:
            yield graph, f"the input {value} is also a constant or a result"
        yield from _declare(graph, value, known, names)
    for op in graph.ops:
        for value in op.uses():
            if value.data is not None:
                if value.data.shape != value.shape or value.data.dtype != value.dtype:
                    yield op, f"the constant {value} holds {short(value.data.dtype)}{list(value.data.shape)}"
            elif value not in known:
                yield op, f"{value} is read before it is computed"
        for value in op.outputs:
            if value.producer is not op:
                yield op, f"{value} does not know that this operation computes it"
            yield from _declare(op, value, known, names)
        for what in _op_faults(op, level):
            yield op, what
    for value in graph.outputs:
        if value not in known:
            yield graph, f"the output {value} is not computed"
    if graph.name == "main" and len(graph.output_names) != len(graph.outputs):
        yield graph, f"{len(graph.outputs)} outputs have {len(graph.output_names)} names"
    if level == len(STAGES) - 1:
        yield from _leftovers(graph)


def _declare(where: Op | Graph, value: Value, known: set[Value], names: set[str]) -> Iterator[Fault]:
    if value in known:
        yield where, f"{value} is computed twice"
    if value.name in names:
        yield where, f"a second value is called '{value.name}'"
    known.add(value)
    names.add(value.name)


def _leftovers(graph: Graph) -> Iterator[Fault]:
    """What the last stage must have removed."""
    read = set(graph.outputs).union(*(op.uses() for op in graph.ops))
    for op in graph.ops:
        if op.kind.name == "DIMS":
            yield op, "shape arithmetic is left"
        if not op.kind.stateful and not any(v in read for v in op.outputs):
            yield op, "nobody reads the results"
        for name in op.kind.operands or ():
            if isinstance(name, str) and not _concrete(op.attrs.get(name)):
                yield op, f"the attribute {name} is symbolic: {op.attrs.get(name)}"
    if graph.definitions:
        yield graph, f"symbols are left: {', '.join(graph.definitions)}"


def _concrete(attribute: Any) -> bool:
    return all(map(_concrete, attribute)) if isinstance(attribute, tuple) else not isinstance(attribute, Expr)


def _op_faults(op: Op, level: int) -> Iterator[str]:
    kind = op.kind
    try:
        yield from _inference(op)
        if kind.name in BODIES:
            yield from BODIES[kind.name](op)
        if level >= 1:
            yield from _domain(op, kind)
            if kind.name in TRAPS and (what := TRAPS[kind.name](op)):
                yield what
            if op.attrs.get("activation") not in ACTIVATIONS:
                yield f"no kernel fuses {op.attrs['activation']}"
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        yield f"operands or attributes do not fit the definition of {kind.name}: {type(error).__name__} {error}"


def _inference(op: Op) -> Iterator[str]:
    """The results are what the definition says."""
    if op.kind.name in FRESH or any(isinstance(a, Value) for a in op.attrs.values()):
        return
    result = op.kind.infer(op.inputs, op.attrs)
    types = result if isinstance(result, list) else [result]
    if len(types) != len(op.outputs):
        yield f"{len(op.outputs)} results instead of {len(types)}"
    for value, (shape, dtype) in zip(op.outputs, types, strict=False):
        if value.dtype != dtype:
            yield f"{value.name} is {short(value.dtype)}, not {short(np.dtype(dtype))}"
        if value.shape != shape and (len(shape) != value.rank or any(map(_differ, value.shape, shape))):
            yield f"{value.name} is [{dims.show(value.shape)}], not [{dims.show(tuple(shape))}]"


def _differ(a: Dim, b: Dim) -> bool:
    """True for extents that cannot be equal: they differ by a known number."""
    return a != b and isinstance(a - b, int)


def _domain(op: Op, kind: Kind) -> Iterator[str]:
    """The kernel computes these dtypes and ranks."""
    if kind.types:
        allowed = _TYPES.setdefault(kind.types, frozenset(kind.types.split()))
        for i in kind.typed_ports(op):
            value = op.inputs[i]
            if value is not None and short(value.dtype) not in allowed and not _quantised(value):
                yield f"no kernel for {short(value.dtype)} operands ({value.name})"
    rank = max([v.rank for v in op.inputs if v is not None] + [v.rank for v in op.outputs], default=0)
    if rank > kind.max_rank:
        yield f"rank {rank}, the kernel has at most {kind.max_rank}"


def _quantised(value: Value) -> bool:
    return value.quant is not None and value.dtype.kind in "iu"


# ------------------------------------------------------------------------------------------------ bodies


def _same_type(ours: Value, theirs: Value) -> bool:
    return ours.dtype == theirs.dtype and ours.rank == theirs.rank


def _matches(what: str, ours: list[Value], theirs: list[Value]) -> Iterator[str]:
    if len(ours) != len(theirs) or not all(map(_same_type, ours, theirs)):
        yield f"{what} are {theirs}, the operation has {ours}"


def _if(op: Op) -> Iterator[str]:
    operands = [v for v in op.inputs[1:] if v is not None]
    for name in ("then", "otherwise"):
        yield from _matches(f"inputs of '{name}'", operands, op.attrs[name].inputs)
        yield from _matches(f"results of '{name}'", op.outputs, op.attrs[name].outputs)


def _while(op: Op) -> Iterator[str]:
    operands = [v for v in op.inputs if v is not None]
    condition, body = op.attrs["condition"], op.attrs["body"]
    yield from _matches("inputs of the condition", operands, condition.inputs)
    yield from _matches("inputs of the body", operands, body.inputs)
    yield from _matches("results of the body", op.outputs, body.outputs)
    if len(condition.outputs) != 1 or condition.outputs[0].dtype != np.bool_ or condition.outputs[0].rank:
        yield f"the condition gives {condition.outputs}, not one bool"


BODIES: dict[str, Callable[[Op], Iterator[str]]] = {"IF": _if, "WHILE": _while}


# ------------------------------------------------------------------------------------------------ kernels' traps


def _unequal(op: Op) -> str:
    shapes = {v.shape for v in op.inputs if v is not None}
    return f"the kernel does not broadcast: {op.inputs}" if len(shapes) > 1 else ""


def _prelu(op: Op) -> str:
    x, slope = op.inputs
    assert x is not None and slope is not None
    tail = x.shape[x.rank - slope.rank :] if slope.rank <= x.rank else ()
    fits = len(tail) == slope.rank and all(s in (1, d) for s, d in zip(slope.shape, tail, strict=True))
    return "" if fits else f"the slope {slope} does not broadcast to {x}"


def _rank_zero(op: Op) -> str:
    assert op.inputs[0] is not None
    return "" if op.inputs[0].rank else "the kernel is wrong for scalars"


def _reverse(op: Op) -> str:
    axes = sorted(op.attrs["axes"])
    return "" if axes == list(range(axes[0], axes[-1] + 1)) else f"axes {axes} are not neighbours"


def _resize(op: Op) -> str:
    both = op.attrs["align_corners"] and op.attrs["half_pixel_centers"]
    return "align_corners and half_pixel_centers together" if both else ""


def _index(op: Op) -> str:
    """Indices of the right dtype; constant ones inside the data."""
    data, index = op.inputs
    assert data is not None and index is not None
    if short(index.dtype) not in ("i32", "i64"):
        return f"indices of {short(index.dtype)}"
    if index.data is None or not index.data.size:
        return ""
    if op.kind.name == "GATHER_ND":
        extents = data.shape[: index.data.shape[-1]]
        columns = [index.data[..., i] for i in range(len(extents))]
    else:
        extents, columns = (data.shape[op.attrs["axis"]],), [index.data]
    for extent, column in zip(extents, columns, strict=True):
        low, high = int(column.min()), int(column.max())
        if low < 0 or (isinstance(extent, int) and high >= extent):
            return f"index {low if low < 0 else high} is outside the extent {extent}"
    return ""


def _scatter(op: Op) -> str:
    index = op.inputs[0]
    assert index is not None
    if index.dtype != np.int32:
        return f"indices of {short(index.dtype)}, the kernel has i32"
    return "negative index" if index.data is not None and index.data.size and index.data.min() < 0 else ""


def _divisor(op: Op) -> str:
    divisor = op.inputs[1]
    assert divisor is not None
    zero = divisor.data is not None and divisor.dtype.kind in "iu" and not divisor.data.all()
    return "an integer is divided by the constant 0" if zero else ""


def _cast(op: Op) -> str:
    return "uint64 has no kernel" if op.attrs["to"] == np.uint64 else ""


def _nothing_fused(op: Op) -> str:
    return f"the kernel ignores the activation {op.attrs['activation']}" if op.attrs.get("activation") else ""


def _topk(op: Op) -> str:
    k, extent = op.attrs["k"], op.inputs[0].shape[-1]  # type: ignore[union-attr]
    return f"k = {k} of {extent}" if isinstance(k, int) and isinstance(extent, int) and k > extent else ""


def _convolution(op: Op) -> str:
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    channels = op.outputs[0].shape[-1]
    return f"the bias {bias} is not [{channels}]" if bias is not None and bias.shape != (channels,) else ""


def _quant(op: Op) -> str:
    quant, stored = op.attrs["quant"], op.inputs[0] if op.kind.name == "DEQUANTIZE" else op.outputs[0]
    assert stored is not None
    if not fits((int(quant.zero_point.min()), int(quant.zero_point.max())), quant.dtype):
        return "the zero point is outside the stored dtype"
    return "" if stored.quant is not None else f"{stored} does not carry its quantisation"


TRAPS: dict[str, Callable[[Op], str]] = {
    **dict.fromkeys(("ATAN2", "STABLEHLO_AND", "STABLEHLO_ADD"), _unequal),
    **dict.fromkeys(("TRANSPOSE", "SHAPE", "WHERE"), _rank_zero),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    **dict.fromkeys(("GATHER", "GATHER_ND"), _index),
    **dict.fromkeys(("DIV", "FLOOR_DIV", "FLOOR_MOD"), _divisor),
    **dict.fromkeys(("CONCATENATION", "L2_NORMALIZATION"), _nothing_fused),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "FULLY_CONNECTED"), _convolution),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), _quant),
    "PRELU": _prelu,
    "REVERSE_V2": _reverse,
    "SCATTER_ND": _scatter,
    "CAST": _cast,
    "TOPK_V2": _topk,
}
