"""What every stage must leave behind: a fault is found here, not in a phone.

Structure is checked always; dtypes, ranks and the combinations that LiteRT's kernels answer with garbage or a crash
from ``legalize`` on; that nothing symbolic is left, in the last stage.  A failure is a mistake of the converter, so the
message names the stages that may have made it, the operation and the ONNX node.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import ConversionError, mistake
from . import dims
from .dims import Dim, Expr
from .graph import Graph, Op, Value, short
from .kinds import KINDS, Kind

UNTYPED = ("lower", "stored")  # stages behind which kernels need not have the dtypes yet
MEASURED = ("shapes", "merge")  # those behind which no symbolic extent is left
MAX_FAULTS = 20
Fault = tuple[Op | Graph, str]  # where, what
_TYPES: dict[str, frozenset[str]] = {}


def verify(graph: Graph, *stages: str) -> None:
    """Check ``graph`` and its bodies after ``stages``, those since it was checked before; by default the last of all.

    :raises ConversionError: with up to twenty faults.
    """
    stages = stages or MEASURED[-1:]
    faults = [fault for part in (graph, *graph.subgraphs()) for fault in _faults(part, stages[-1])]
    if faults:
        after = f"after {', '.join(stages)}"
        raise ConversionError(*(mistake(f"{after}: {_name(w)}", what) for w, what in faults[:MAX_FAULTS]))


def _name(where: Op | Graph) -> str:
    if isinstance(where, Graph):
        return f"graph '{where.name}'"
    return f"{where.kind.name} for {where.origin}" if where.origin else str(where)


def _faults(graph: Graph, stage: str) -> Iterator[Fault]:
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
        for what in _op_faults(op, stage):
            yield op, what
    for value in graph.outputs:
        if value not in known:
            yield graph, f"the output {value} is not computed"
    if graph.name == "main" and len(graph.output_names) != len(graph.outputs):
        yield graph, f"{len(graph.outputs)} outputs have {len(graph.output_names)} names"
    if stage in MEASURED:
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
        if op.kind.operator is None:
            yield op, "shape arithmetic is left"
        if not op.kind.stateful and not any(v in read for v in op.outputs):
            yield op, "nobody reads the results"
        for name in op.kind.operands or ():
            if isinstance(name, str) and not _concrete(op.attrs.get(name)):
                yield op, f"the attribute {name} is symbolic: {op.attrs.get(name)}"
    if graph.definitions:
        yield graph, f"symbols are left: {', '.join(graph.definitions)}"


def _concrete(attribute: object) -> bool:
    return all(map(_concrete, attribute)) if isinstance(attribute, tuple) else not isinstance(attribute, Expr)


def _op_faults(op: Op, stage: str) -> Iterator[str]:
    kind = op.kind
    try:
        yield from _inference(op)
        if kind.bodies:
            yield from kind.bodies(op)
        if stage not in UNTYPED:
            yield from _domain(op, kind)
            if kind.trap and (what := kind.trap(op)):
                yield what
            if (activation := op.attrs.get("activation")) and not KINDS[activation].clamps:
                yield f"no kernel fuses {activation}"
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        yield f"operands or attributes do not fit the definition of {kind.name}: {type(error).__name__} {error}"


def _inference(op: Op) -> Iterator[str]:
    """The results are what the definition says."""
    if op.kind.data_shaped or any(isinstance(a, Value) for a in op.attrs.values()):
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
