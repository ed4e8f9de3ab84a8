"""Shrink a model: constants with equal contents are stored once, and narrowed where no operator forbids it.

Equal means dtype, shape and every bit (0.0 and -0.0 differ; NaNs of the same bits are equal).  Constants of bodies are
shared with the graphs around them.  Narrowing (int64 to int32, float64 to float32) happens only where every value
survives and every reader accepts the smaller type.  To move constants to a file beside the model: --external-data.

examples:
  scs4onnx in.onnx out.onnx -m shrink -d                      share only, narrow nothing
  scs4onnx in.onnx out.onnx -m npy                            values used several times become .npy files and inputs
  scs4onnx in.onnx out.onnx -fc anchors                       this constant becomes a file and an input
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path

from ..commands import command, flag, option
from ..errors import ToolError
from ..model import walk
from ..model.lazy import np, onnx
from ..model.names import fresh, names_in, node_named
from ..model.tensors import fetch, nbytes, to_array
from ..model.types import dtype_word
from ..model.walk import GraphLike
from ._edit import Edit, edit
from ._narrow import narrow
from ._options import COMMON

#: What equal constants have in common: dtype, shape, contents.
Key = tuple[int, tuple[int, ...], bytes]


@edit("MODEL OUTPUT GRAPH * QUIET")
def shrinking(
    job: Edit,
    mode: str = "shrink",
    forced_extraction_op_names: Sequence[str] = (),
    forced_extraction_constant_names: Sequence[str] = (),
    disable_auto_downcast: bool = False,
) -> tuple[onnx.ModelProto, list[str]]:
    """Share, narrow and extract constants; returns the new model and the paths of the .npy files."""
    if mode not in ("shrink", "npy"):
        raise ToolError(f"-m: {mode!r} is neither shrink nor npy", mode)
    if forced_extraction_op_names and forced_extraction_constant_names:
        raise ToolError("-fo and -fc exclude each other")
    chosen = _chosen(job, forced_extraction_op_names, forced_extraction_constant_names)
    size, shared = _bytes(job.model), _share(job.model)
    for kept, merged in shared.items():
        job.log.info(f"{{{kept!r}: {merged}}}")
    if not disable_auto_downcast:
        for note in narrow(job.model):
            job.log.info(note)
    stored = {m: kept for kept, merged in shared.items() for m in merged}
    names = [stored.get(n, n) for n in chosen]
    if mode == "npy":  # a number that happens to occur twice is no table worth a file
        here = walk.constants(job.model.graph)
        names += [n for n in shared if n in here and len(here[n].dims)]
    extracted = _extract(job.model, _as_read(job.model, names), job.output)
    job.log.info(f"constants: {size} bytes before, {_bytes(job.model)} now")
    job.same_outputs(lambda feeds: feeds | {Path(p).name: a for p, a in extracted.items()})
    for path, array in extracted.items():
        job.beside(path, partial(np.save, arr=array, allow_pickle=False))
    return job.model, list(extracted)


def _bytes(model: onnx.ModelProto) -> int:
    return sum(nbytes(t) for s in walk.scopes(model) for t in walk.all_constants(s.graph).values())


def _chosen(job: Edit, nodes: Sequence[str], names: Sequence[str]) -> list[str]:
    """The constants to be extracted: named themselves, or read by named nodes."""
    found = [s.address(n) for s, n in job.match("constant", names, "-fc")]
    held = walk.constants(job.model.graph)
    for scope, name in job.match("node", nodes, "-fo"):
        read = [i for i in node_named(scope, name).input if i in held]
        if not read:
            raise ToolError(f"-fo: {name!r} reads no constant of the main graph", name)
        found += read
    return found


def _as_read(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """Each once, in the order in which the nodes read them: that of the inputs which they become."""
    read = dict.fromkeys(n for node in model.graph.node for n in walk.reads(node))
    return [*(n for n in read if n in names), *(n for n in dict.fromkeys(names) if n not in read)]


def _share(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Address of what is kept -> addresses of what was merged into it.

    Only contents of equal dtype and dims are looked at, so that a large tensor of its own is never read.
    """
    everywhere = [(s, walk.all_constants(s.graph)) for s in walk.scopes(model)]
    kinds = Counter(_kind(t) for _, held in everywhere for t in held.values())
    known: dict[int, dict[Key, tuple[walk.Scope, str]]] = {}
    shared: dict[str, list[str]] = {}
    for scope, held in everywhere:
        own = set(walk.defined(scope.graph))
        outer = known[id(scope.outer)] if scope.outer is not None else {}
        here = known[id(scope)] = {k: place for k, place in outer.items() if place[1] not in own}
        listed, results = _interface(model, scope), set(walk.outputs(scope.graph))
        gone: dict[str, str] = {}
        for name, tensor in held.items():
            if kinds[_kind(tensor)] == 1 or name in listed:
                continue
            home, kept = here.setdefault(_key(tensor), (scope, name))
            if kept != name and name not in results:
                gone[name] = kept
                shared.setdefault(home.address(kept), []).append(scope.address(name))
        walk.replace_uses(scope.graph, gone)
        _drop(scope.graph, gone)
    for scope, _ in everywhere if shared else ():
        walk.sort(scope.graph)  # a body may read now what stood behind its node
    return shared


def _drop(graph: GraphLike, names: Container[str]) -> None:
    """Remove constants and what is declared of them."""
    walk.remove(graph.node, lambda n: n.op_type == "Constant" and n.output[0] in names)
    walk.remove(graph.value_info, lambda v: v.name in names)
    if not walk.is_function(graph):
        walk.remove(graph.initializer, lambda t: t.name in names)
        walk.remove(graph.input, lambda v: v.name in names)


def _interface(model: onnx.ModelProto, scope: walk.Scope) -> set[str]:
    """Initializers that callers may replace: those that are inputs, unless (before IR version 4) all have to be."""
    return set() if walk.is_function(scope.graph) or model.ir_version < 4 else {v.name for v in scope.graph.input}


def _kind(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...]]:
    return tensor.data_type, tuple(tensor.dims)


def _key(tensor: onnx.TensorProto) -> Key:
    text = tensor.data_type == onnx.TensorProto.STRING
    data = repr(list(tensor.string_data)).encode() if text else fetch(tensor)
    return *_kind(tensor), hashlib.sha256(data).digest()


def _extract(model: onnx.ModelProto, names: list[str], output: str) -> dict[str, np.ndarray]:
    """Turn constants into graph inputs called like their files; path -> values."""
    graph, taken, found = model.graph, names_in(model), dict[str, np.ndarray]()
    target = Path("" if output == "-" else output)
    prefix = f"{target.stem}_" if target.stem else ""
    for name in names:
        tensor = walk.constants(graph).get(name)
        if tensor is None:
            what = f"{name!r} is in a body or function: only constants of the main graph can be extracted"
            raise ToolError(what, name)
        if name in walk.outputs(graph):
            raise ToolError(f"{name!r} is an output of the model: it cannot become an input", name)
        array = to_array(tensor)
        if array.dtype.isbuiltin != 1:
            raise ToolError(f"{name!r} is {dtype_word(tensor.data_type)}, which a .npy file does not hold", name)
        stem = fresh(f"{prefix}exported_{re.sub(r'[:;/,]', '_', name)}", taken)
        info = onnx.helper.make_tensor_value_info(f"{stem}.npy", tensor.data_type, list(tensor.dims))
        found[str(target.parent / info.name)] = array
        walk.replace_uses(graph, {name: info.name})
        _drop(graph, {name})
        graph.input.append(info)
    return found


main = command(
    shrinking,
    option("input_onnx_file_path INPUT", 'the model; "-": standard input'),
    option("output_onnx_file_path OUTPUT", 'the result; "-": standard output'),
    option("-m --mode", "shrink: share; npy: write what occurs more than once to files", choices=("shrink", "npy")),
    option("-fo --forced_extraction_op_names NODE...", "nodes whose constants become files"),
    option("-fc --forced_extraction_constant_names NAME...", "constants that become files"),
    flag("-d --disable_auto_downcast", "narrow nothing"),
    *COMMON,
)
