"""The extents that onnx's shape inference leaves open: formulas of the names that the inputs have, and new names where
only the data decide.

The converter's own handlers know the extents of every result as expressions (``ir.dims``): ``(height+1)//2`` behind a
stride.  onnx has a name for an extent and no formula, so the formula is the name: equal ones are equal extents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ..errors import ConversionError, ToolError
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.names import fresh
from ..model.types import dims, types
from ..model.walk import Scope, inputs, is_function, scopes

Extents = list[int | str | None]
ROUNDS = 20  # of names and inference in turn
LONGEST = 60  # letters of a formula; what is longer gets the name of the first place that has it


def name_inputs(model: onnx.ModelProto) -> None:
    """A name for every extent of an input that has none, in place: ``x_2`` for axis 2 of ``x``."""
    from ..model.surgeon import NAMELESS

    taken = _names(model)
    here = set(inputs(model.graph))
    for info in (v for v in model.graph.input if v.name in here):
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and (not dim.dim_param or NAMELESS.fullmatch(dim.dim_param)):
                dim.dim_param = fresh(f"{info.name}_{axis}", taken)


def forget(model: onnx.ModelProto, given: set[str] | None) -> None:
    """Leave it to inference what extents of results are called, in place: words for "unknown"; where names were
    ``given``, all names but these and the inputs'.
    """
    from ..model.surgeon import NAMELESS

    kept = {d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim} | (given or set())
    for scope in scopes(model):
        graph = scope.graph
        for info in () if is_function(graph) else (*graph.output, *graph.value_info):
            for dim in info.type.tensor_type.shape.dim:
                unknown = NAMELESS.fullmatch(dim.dim_param) or (given is not None and dim.dim_param not in kept)
                if dim.dim_param and unknown:
                    dim.ClearField("dim_param")


def formulas(model: onnx.ModelProto) -> dict[str, Extents]:
    """Tensor -> extents, of those whose names are used once; nothing for a model that the handlers do not know."""
    from ..op_handlers.lower import lower
    from ..passes import PASSES, PassOptions, load

    try:
        graph = load(model)
        for name in ("shapes", "upgrade"):
            PASSES[name].make(PassOptions())(graph)
        program = lower(graph)
    except ConversionError:
        return {}
    found = {name: value.shape for name, value in program.tensors.items()}
    bodies = (v for part in program.subgraphs() for op in part.ops for v in op.outputs)
    found |= {v.name: v.shape for v in bodies if v.name not in found}
    counts = Counter(o for s in scopes(model) for n in s.graph.node for o in n.output)
    short: dict[str, str] = {}
    taken = _names(model)

    def text(extent: object, place: str) -> int | str:
        if isinstance(extent, int):
            return extent
        formula = re.sub(r"\.(\d+)#\d+", r"_\1", str(extent))  # x.2#1: the handlers' name of the unnamed axis 2 of x
        if (len(formula) > LONGEST or "#" in formula) and formula not in short:  # #: an extent that data decide
            short[formula] = fresh(place, taken)
        return short.get(formula, formula)

    once = {name: shape for name, shape in found.items() if counts[name] == 1}
    return {name: [text(d, f"{name}_{axis}") for axis, d in enumerate(shape)] for name, shape in once.items()}


def complete(model: onnx.ModelProto) -> None:
    """Names for all extents that are still open, in place: a name where a node makes an extent that nobody knows, and
    inference carries it to the nodes behind.
    """
    taken = _names(model)
    for turn in range(ROUNDS + 1):
        fresh_ones = {n: shape for scope in scopes(model) for n, shape in _opened(scope, taken, turn == ROUNDS)}
        if not fresh_ones:
            return
        declare(model, fresh_ones)
        with suppress(ToolError):
            for scope in scopes(infer(model)):
                declare(model, {n: s for n, kind in types(scope.graph).items() if (s := dims(kind)) is not None})


def _opened(scope: Scope, taken: set[str], all_of_them: bool) -> Iterator[tuple[str, Extents]]:
    """Results with an open extent, named, of nodes that read none (or of all)."""
    known = _known(scope)
    for node in scope.graph.node:
        if all_of_them or all(None not in (dims(known.get(i)) or ()) for i in node.input):
            for name in node.output:
                shape = dims(known.get(name)) or []
                if None in shape:
                    yield name, [fresh(f"{name}_{a}", taken) if d is None else d for a, d in enumerate(shape)]


def _known(scope: Scope) -> dict[str, onnx.TypeProto]:
    """The types that a graph sees."""
    return (_known(scope.outer) if scope.outer is not None else {}) | types(scope.graph)


def declare(model: onnx.ModelProto, found: Mapping[str, Extents]) -> None:
    """Write extents where a declared tensor, or a result of a node, has none."""
    for scope in scopes(model):
        if not is_function(scope.graph):
            _declare(scope, found)


def _declare(scope: Scope, found: Mapping[str, Extents]) -> None:
    graph: onnx.GraphProto = scope.graph
    for info in (*graph.output, *graph.value_info):
        tensor, shape = info.type.tensor_type, found.get(info.name)
        if shape is None or info.type.WhichOneof("value") != "tensor_type":
            continue
        if not tensor.HasField("shape"):
            tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in shape)
        for dim, extent in zip(tensor.shape.dim, shape, strict=len(tensor.shape.dim) == len(shape)):
            if dim.WhichOneof("value") is None and isinstance(extent, int):
                dim.dim_value = extent
            elif dim.WhichOneof("value") is None and extent is not None:
                dim.dim_param = extent


def _names(model: onnx.ModelProto) -> set[str]:
    """Of the extents of a model."""
    graphs = [s.graph for s in scopes(model) if not is_function(s.graph)]
    infos = (v for g in graphs for v in (*g.input, *g.output, *g.value_info))
    return {d.dim_param for v in infos for d in v.type.tensor_type.shape.dim if d.dim_param}
