"""From a file to a graph: any opset, any IR version, external data; no weight is read before somebody asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto

from ..errors import ConversionError, Problem, ToolError
from .light import light
from .read import map_model
from .repair import repair
from .sound import faults
from .surgeon import Importer, LazyTensor, own_extents
from .tensors import Store, is_external, nbytes, refer, reference
from .walk import one_domain, scopes, sort, tensors
from .wire import LARGE

#: Faults of a model that are told at once.
MOST = 20
NEWEST = onnx.defs.onnx_opset_version()
#: The location (no file can be called so) of tensors in a caller's ModelProto.
_PROTO = "\0proto"
#: Refused by the checker, and written by exporters for years; the pass `upgrade` reads them.
_DEPRECATED = ("GroupNormalization", "Scatter", "Upsample")
#: ONNX Runtime's optimiser writes these into ONNX's domain at any opset.
_RUNTIMES = ("LayerNormalization", "SimplifiedLayerNormalization")


def load(source: str | os.PathLike[str] | ModelProto, note: Callable[[str], object] = lambda text: None) -> gs.Graph:
    """Read a model of any opset and IR version; weights stay by reference (:class:`~.surgeon.LazyTensor`).

    ``note`` is told what was put in order: converters to float16 write their Casts at the end of the list of nodes.
    Raises ConversionError for what is not a model, or is in places where it must not be.
    """
    where = "model" if isinstance(source, ModelProto) else str(source)
    if isinstance(source, ModelProto):
        _possible(source)
        model, lazy = _light(source)
    else:
        model, lazy = _mapped(Path(source))
        _possible(model)
    if not model.graph.output:
        raise _bad(where, "has no outputs: there is nothing to compute", "declare some, as soa4onnx does")
    opset = _opset(model, where)
    _sort(model, where, note)
    for sentence in repair(model):
        note(sentence)
    _check(model, where)
    if model.functions:
        model = _inlined(model, where)
    graph = Importer(lazy).model(model, opset)
    for tensor in graph.inputs:
        own_extents(tensor)
    return graph


def _possible(model: ModelProto) -> None:
    if problems := list(islice(faults(model), MOST)):
        raise ConversionError(*problems)


def _inlined(model: ModelProto, where: str) -> ModelProto:
    from onnx.inliner import inline_local_functions

    try:
        found: ModelProto = inline_local_functions(model)
    except RuntimeError as error:
        raise _bad(where, f"its functions cannot be written out: {error}") from error
    return found


def _sort(model: ModelProto, where: str, note: Callable[[str], object]) -> None:
    """Nodes behind those that they read, as ONNX asks for and ONNX Runtime does by itself."""
    try:
        unsorted = [sort(scope.graph) for scope in scopes(model)]
    except ToolError as error:
        raise _bad(where, f"not a valid ONNX model: {error}") from error
    if any(unsorted):
        note("the nodes of the model are not in the order in which they need each other: sorted")


Lazy = Callable[[TensorProto], LazyTensor]


def _mapped(path: Path) -> tuple[ModelProto, Lazy]:
    model, store = map_model(path)
    return model, lambda tensor: _lazy(store, tensor)


def _light(model: ModelProto) -> tuple[ModelProto, Lazy]:
    """A copy of the caller's message without its big initialisers, which are referred to by number."""
    if not model.HasField("graph"):
        raise _bad("model", "not an ONNX model (no graph in it)")
    copy, pairs = light(model, lambda t: nbytes(t) >= LARGE)
    for number, (own, _) in enumerate(pairs):
        if not is_external(own):
            refer(own, _PROTO, {"offset": str(number)})

    def lazy(tensor: TensorProto) -> LazyTensor:
        said = reference(tensor)
        here = is_external(tensor) and said.get("location") == _PROTO
        return LazyTensor(pairs[int(said["offset"])][1]) if here else _lazy(Store(None), tensor)

    return copy, lazy


def _lazy(store: Store, tensor: TensorProto) -> LazyTensor:
    if not is_external(tensor):
        return LazyTensor(tensor)
    view = store.view(tensor)
    return LazyTensor(tensor, lambda: view)


def _bad(where: str, what: str, remedy: str = "") -> ConversionError:
    return ConversionError(Problem(where, what, remedy))


def _opset(model: ModelProto, where: str) -> int:
    """The opset of the default domain, in one spelling (IR 1 and 2 had none: it is 1), and no later than ours."""
    one_domain(model)
    if model.ir_version < 3 and not model.opset_import:
        return 1
    ours = next((e for e in model.opset_import if not e.domain), None) or model.opset_import.add(version=NEWEST)
    if ours.version < 1:
        raise _bad(where, f"opset {ours.version}: there is no such opset")
    ours.version = min(ours.version, NEWEST)
    return int(ours.version)


def _declare(model: ModelProto) -> None:
    """Let every edge have a type and a shape: ONNX Runtime asks for no shape, nor for types of results."""
    for end in chain(model.graph.input, model.graph.output):
        if not end.HasField("type"):
            end.type.tensor_type.elem_type = TensorProto.FLOAT
        if end.type.HasField("tensor_type"):
            end.type.tensor_type.shape.SetInParent()


def _check(model: ModelProto, where: str) -> None:
    """onnx's checker on a copy that says nothing of where the big tensors lie (that is ours to judge)."""
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.name = copy.graph.name or "graph"  # nobody reads it, nor the notes of exporters
    del copy.metadata_props[:]
    copy.ir_version = min(model.ir_version, onnx.IR_VERSION)
    if copy.ir_version == 3:  # ONNX Runtime's optimiser adds initialisers that are no inputs, which 4 allows
        copy.ir_version = 4
    for tensor in tensors(copy):
        if is_external(tensor):
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    _declare(copy)
    opset = next(e.version for e in copy.opset_import if not e.domain) if copy.opset_import else 1
    early = {op for op in _RUNTIMES if not onnx.defs.has(op, opset, "")}
    old = [n for n in copy.graph.node if not n.domain and (n.op_type in _DEPRECATED or n.op_type in early)]
    for node in old:
        node.domain = "deprecated"
    if old:
        copy.opset_import.add(domain="deprecated", version=1)
    try:
        onnx.checker.check_model(copy)
    except onnx.checker.ValidationError as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        raise _bad(where, f"not a valid ONNX model: {' '.join(lines[:3])}") from e
