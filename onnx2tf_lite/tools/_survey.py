"""What is in a model, counted from its headers: no weight is read, and no runtime is needed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ToolError
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.tensors import is_external, nbytes, reference
from ..model.types import dims, dtype, dtype_word, type_word
from ..model.walk import all_constants, bodies, is_function, reads, scopes, tensors, title
from . import _flops
from ._edit import copied, set_shape

LARGEST = 10
#: Types whose values do not take a fixed number of bytes, or that are not known.
NO_NUMBERS = ("string", "unknown", "")


@dataclass
class OperatorRow:
    """One operator type. ``nodes`` counts the main graph, ``inside`` bodies and functions; ``macs`` and ``flops`` are
    of one run of each, as far as shapes are known."""

    nodes: int = 0
    inside: int = 0
    parameters: int = 0
    bytes: int = 0
    macs: int = 0
    flops: int = 0


@dataclass
class Constant:
    """An initializer or the tensor of a Constant node, and the nodes that read it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    bytes: int
    users: list[str] = field(default_factory=list)


@dataclass
class End:
    """An input or output; ``shape`` is None where the rank is open."""

    name: str
    dtype: str
    shape: list[int | str] | None

    @property
    def fixed(self) -> bool:
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)


@dataclass
class Survey:
    """A model in numbers; ``rows`` is in alphabetical order, ``constants`` the largest first."""

    file: str
    file_bytes: int
    external_bytes: int
    producer: str
    ir_version: int
    opsets: dict[str, int]
    rows: dict[str, OperatorRow]
    constants: list[Constant]
    inputs: list[End]
    outputs: list[End]
    functions: list[str]
    metadata: dict[str, str]
    tensors: int
    unknown_shapes: int
    dynamic_shapes: int
    uncounted: int
    """Nodes whose operations could not be counted, since a shape is open."""
    peak_bytes: int | None
    """Activations that exist at the same time; None where a shape is open."""

    @property
    def nodes(self) -> int:
        return sum(r.nodes + r.inside for r in self.rows.values())

    @property
    def parameters(self) -> int:
        return sum(c.elements for c in self.constants)

    @property
    def parameter_bytes(self) -> int:
        return sum(c.bytes for c in self.constants)

    @property
    def macs(self) -> int:
        return sum(r.macs for r in self.rows.values())

    @property
    def flops(self) -> int:
        return sum(r.flops for r in self.rows.values())

    @property
    def bytes(self) -> int:
        """Of the file and those beside it."""
        return self.file_bytes + self.external_bytes

    @property
    def bytes_by_dtype(self) -> dict[str, tuple[int, int]]:
        """dtype -> (elements, bytes)."""
        found: dict[str, tuple[int, int]] = {}
        for c in self.constants:
            elements, taken = found.get(c.dtype, (0, 0))
            found[c.dtype] = elements + c.elements, taken + c.bytes
        return dict(sorted(found.items()))

    def to_json(self) -> dict[str, object]:
        totals = {k: getattr(self, k) for k in ("nodes", "parameters", "parameter_bytes", "macs", "flops", "bytes")}
        shown = asdict(self) | {"constants": [asdict(c) for c in self.constants[:LARGEST]]}
        return totals | {"bytes_by_dtype": {k: v[1] for k, v in self.bytes_by_dtype.items()}} | shown


def survey(
    model: onnx.ModelProto, file: str = "", file_bytes: int = 0, shapes: Mapping[str, Sequence[int]] | None = None
) -> Survey:
    """Count; ``shapes`` fixes inputs, by name.  Weights in side files are not looked at."""
    inferred = sized(model, shapes or {})
    rows = _rows(inferred)
    graphs: list[onnx.GraphProto] = [s.graph for s in scopes(inferred) if not is_function(s.graph)]
    constants = [c for g in graphs for c in _constants(g, rows)]
    every = [e for g in graphs for e in _results(g)]
    known = {c.name: c.shape for c in constants} | {n: s for g in graphs for n, s in _fixed(g)}
    held = {t.name for t in model.graph.initializer}
    return Survey(
        file=file,
        file_bytes=file_bytes,
        **_header(model, file),
        rows=rows,
        constants=sorted(constants, key=lambda c: (-c.bytes, c.name)),
        inputs=[_end(v) for v in inferred.graph.input if v.name not in held],
        outputs=[_end(v) for v in inferred.graph.output],
        tensors=len(every),
        unknown_shapes=sum(e.shape is None for e in every),
        dynamic_shapes=sum(e.shape is not None and not e.fixed for e in every),
        uncounted=_costs([n for g in graphs for n in g.node], known, rows),
        peak_bytes=_peak(inferred.graph),
    )


def _rows(model: onnx.ModelProto) -> dict[str, OperatorRow]:
    """How many there are of each operator."""
    nodes = [(_label(node), bool(s.path)) for s in scopes(model) for node in s.graph.node]
    rows = {label: OperatorRow() for label, _ in sorted(nodes)}
    for label, inside in nodes:
        rows[label].nodes += not inside
        rows[label].inside += inside
    return rows


def _header(model: onnx.ModelProto, file: str) -> dict[str, Any]:
    """What the model says of itself; ``file`` is where it is, and may hold weights that stayed there."""
    own = Path(file).resolve().name
    outside = [t for t in tensors(model) if is_external(t) and not (file and reference(t).get("location") == own)]
    return {
        "external_bytes": sum(map(nbytes, outside)),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": model.ir_version,
        "opsets": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "functions": [f"{f.domain}::{f.name}" for f in model.functions],
        "metadata": {p.key: p.value for p in model.metadata_props},
    }


def _results(graph: onnx.GraphProto) -> list[End]:
    """The results of all nodes."""
    ends = _ends(graph)
    return [ends.get(name, End(name, "", None)) for node in graph.node for name in node.output if name]


def _costs(nodes: Iterable[onnx.NodeProto], shapes: _flops.Shapes, rows: Mapping[str, OperatorRow]) -> int:
    """Add what the nodes compute to their rows; of how many that is not known."""
    uncounted = 0
    for node in nodes:
        cost = _flops.count(node, shapes)
        uncounted += cost is None
        macs, flops = cost or (0, 0)
        rows[_label(node)].macs += macs
        rows[_label(node)].flops += flops
    return uncounted


def _label(node: onnx.NodeProto) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def sized(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """With the types of all tensors, as far as inference gets."""
    copy = model
    if shapes:  # what the file says of other tensors holds for the sizes that it declares
        copy = copied(model)
        for value in copy.graph.input:
            if value.name in shapes:
                set_shape(value, shapes[value.name])
        del copy.graph.value_info[:]
        for value in copy.graph.output:
            value.type.tensor_type.ClearField("shape")
    try:
        return infer(copy)
    except ToolError:  # a model that contradicts itself can be counted all the same
        return copy


def _inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of their bodies."""
    for node in nodes:
        yield node
        for _, body in bodies(node):
            yield from _inner(body.node)


def _fixed(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors of which every extent is known."""
    for name, end in _ends(graph).items():
        if end.fixed:
            yield name, tuple(map(int, end.shape or ()))


def _ends(graph: onnx.GraphProto) -> dict[str, End]:
    return {v.name: _end(v) for v in [*graph.input, *graph.value_info, *graph.output]}


def _end(value: onnx.ValueInfoProto) -> End:
    """A tensor as it is declared; of a sequence or an optional one the shape is that of its elements."""
    inner = value.type
    while (which := inner.WhichOneof("value")) in ("sequence_type", "optional_type"):
        inner = getattr(inner, which).elem_type
    shape = dims(inner)
    return End(value.name, type_word(value.type), None if shape is None else ["?" if d is None else d for d in shape])


def _constants(graph: onnx.GraphProto, rows: dict[str, OperatorRow]) -> list[Constant]:
    """The constants of one graph, each once; their bytes also at the operators that read them."""
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in _inner(graph.node):  # a body may read what is outside
        for name in set(node.input):
            users[name].append(node)
    found = []
    for name, tensor in (all_constants(graph) | {s.values.name: s.values for s in graph.sparse_initializer}).items():
        elements, taken, readers = math.prod(tensor.dims), nbytes(tensor), users[name]
        dims = tuple(tensor.dims)
        found.append(Constant(name, dtype_word(tensor.data_type), dims, elements, taken, [title(n) for n in readers]))
        for label in {_label(n) for n in readers}:
            rows[label].parameters += elements
            rows[label].bytes += taken
    return found


def _peak(graph: onnx.GraphProto) -> int | None:
    """The most bytes that inputs and results of the main graph take at once, each freed after its last reader."""
    held, ends = {t.name for t in graph.initializer}, _ends(graph)
    live = {v.name for v in graph.input} - held
    sizes = {name: _size(ends.get(name)) for name in (*live, *(o for n in graph.node for o in n.output if o))}
    if None in sizes.values():
        return None
    last = {name: i for i, node in enumerate(graph.node) for name in reads(node)}
    last |= {v.name: len(graph.node) for v in graph.output}
    taken = [sum(sizes[n] or 0 for n in live)]
    for i, node in enumerate(graph.node):
        live |= set(node.output) - {""}
        taken.append(sum(sizes[n] or 0 for n in live))
        live = {n for n in live if last.get(n, -1) > i}
    return max(taken)


def _size(end: End | None) -> int | None:
    if end is None or not end.fixed or end.dtype in NO_NUMBERS or "(" in end.dtype:
        return None
    return nbytes(onnx.TensorProto(data_type=dtype(end.dtype), dims=[int(d) for d in end.shape or ()]))
