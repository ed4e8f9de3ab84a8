"""Simplify what can be simplified, and keep the rest as it is.

Constants are folded, shape arithmetic becomes numbers where shapes are known, needless copies go, neighbouring linear
layers and BatchNormalizations become one; then onnxsim looks at what is left, in a process of its own.  All of it works
node by node: what cannot be simplified stays, and does not keep the rest from it.  Opset, inputs, outputs and what is
declared of them stay; calls of functions are written out.

examples:
  spo4onnx -if model.onnx -of small.onnx
  spo4onnx -if dynamic.onnx -of small.onnx -ois x:1,3,480,640     with shapes that are known, more can be folded
  spo4onnx -if model.onnx -of small.onnx --keep head0 head1       these nodes stay
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from ..commands import command, option
from ..commands.words import shapes
from ..errors import ConversionError, ToolError
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.names import node_named
from ..model.tensors import is_external
from ..model.types import dims, types
from ..model.walk import Scope, defined, initializers, is_function, remove, scopes, tensors
from . import _verify
from ._edit import Edit, copied, edit, port, set_shape
from ._options import COMMON, INPUT, OUTPUT

#: Passes that write operators as later opsets have them, or names of their own.
OTHERS = ("widen", "names")


@edit("MODEL GRAPH OUTPUT * QUIET")
def partial_optimization(
    job: Edit,
    overwrite_input_shape: Mapping[str, Sequence[int]] | None = None,
    optimization_times: int = 0,
    target_onnxsim_version: str = "",
    *,
    keep: Sequence[str] = (),
) -> onnx.ModelProto:
    """Simplify a model part by part; returns the new model.

    :raises ToolError: a shape contradicts the model, or the result does not compute what the model did.
    """
    from ..model.convert import convert
    from ..passes import FUSIONS, PassOptions, load, optimize, to_proto

    kept = frozenset(n for s, n in job.match("node", keep, "--keep") if _is_no_call(job.model, s, n))
    fixed = {name: tuple(shape) for name, shape in (overwrite_input_shape or {}).items()}
    options = PassOptions(
        simplify="always", disabled=frozenset((*FUSIONS, *OTHERS)), input_shapes=fixed, keep_nodes=kept
    )
    counts = operators(job.model)
    try:
        graph, reports = optimize(load(job.model), options)
    except ConversionError as error:
        raise ToolError(str(error.problems[0])) from error
    for note in (n for r in reports for n in r.notes if r.modified and r.name != "upgrade"):
        job.log.info(note)
    made = to_proto(graph, infos=False)
    convert(made, job.opset())
    before = sized(job.model, fixed)
    if job.storage["external_data"] is None and any(map(is_external, tensors(job.model))):
        job.storage["external_data"] = True
    job.model = like(before, made, declared=not fixed)
    if fixed:
        refine(job.model)
    job.log.info(changed(counts, operators(job.model)))
    merged = partial(_verify.difference, rounding=1e-4, why="weights of layers that were merged are rounded anew")
    job.test(
        lambda: _verify.compare_runs(
            lambda: _verify.sample(before), lambda feeds: _verify.run(job.model, feeds), differ=merged
        )
    )
    return job.model


def sized(model: onnx.ModelProto, fixed: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy whose inputs have these shapes."""
    copy = copied(model)
    for name, shape in fixed.items():
        set_shape(port(copy.graph, "graph input", name, "-ois"), shape)
    return copy


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How many there are of each, bodies and functions included."""
    return Counter(n.op_type for s in scopes(model) for n in s.graph.node if n.op_type != "Constant")


def changed(before: Counter[str], after: Counter[str]) -> str:
    """``412 operators before, 305 now: Shape -12, Gather -40``; the largest differences first."""
    differ = sorted((after[op] - before[op], op) for op in before | after if after[op] != before[op])
    said = ", ".join(f"{op} {count:+d}" for count, op in differ)
    return f"{before.total()} operators before, {after.total()} now" + (f": {said}" if said else "")


def like(model: onnx.ModelProto, made: onnx.ModelProto, declared: bool) -> onnx.ModelProto:
    """The nodes and constants of ``made`` with all that ``model`` says of itself, of its inputs, outputs and nodes;
    ``declared``: and of the tensors between them."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:], new.graph.initializer[:], new.graph.sparse_initializer[:], new.functions[:]
    new.graph.node.extend(made.graph.node)
    new.graph.initializer.extend(made.graph.initializer)
    said = {v.name: v for s in scopes(model) if not is_function(s.graph) for v in _infos(s.graph)}
    nodes = {n.output[0]: n for s in scopes(model) for n in s.graph.node if n.output}
    for scope in scopes(new):
        for node in scope.graph.node:
            old = nodes.get(node.output[0]) if node.output else None
            if old is not None and old.op_type == node.op_type:
                node.doc_string = old.doc_string
                node.metadata_props.extend(old.metadata_props)
        if scope.path and not is_function(scope.graph):
            for info in (v for v in (*scope.graph.input, *scope.graph.output) if v.name in said):
                info.CopyFrom(said[info.name])
    here = set(defined(new.graph))
    remove(new.graph.value_info, lambda v: not declared or v.name not in here)
    held = {t.name: t for t in new.graph.initializer}
    remove(new.graph.input, lambda v: v.name in initializers(model.graph))
    if new.ir_version < 4:  # until then every initializer is an input too
        infos = (onnx.helper.make_tensor_value_info(n, t.data_type, list(t.dims)) for n, t in held.items())
        new.graph.input.extend(infos)
    known = {o.domain for o in new.opset_import}
    new.opset_import.extend(o for o in made.opset_import if o.domain not in known)
    return new


def refine(model: onnx.ModelProto) -> None:
    """Numbers for the extents of outputs that now can only have one, in place."""
    bare = copied(model)
    for info in bare.graph.output:
        info.type.tensor_type.ClearField("shape")
    known = types(infer(bare).graph)
    for info in model.graph.output:
        found = dims(known.get(info.name)) or []
        for dim, extent in zip(info.type.tensor_type.shape.dim, found, strict=False):
            if isinstance(extent, int):
                dim.dim_value = extent


def _infos(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.value_info, *graph.output, *graph.input]


def _is_no_call(model: onnx.ModelProto, scope: Scope, name: str) -> bool:
    """True; ToolError for a node that calls a function of the model, since these are written out."""
    node = node_named(scope, name)
    if any((f.domain, f.name) == (node.domain, node.op_type) for f in model.functions):
        raise ToolError(f"--keep: {name!r} calls the function {node.op_type}, which is written out", name)
    return True


main = command(
    partial_optimization,
    INPUT,
    OUTPUT,
    option(
        "-ois --overwrite_input_shape NAME:SHAPE...",
        "shapes of inputs with open extents",
        convert=shapes,
        form="{'x': [1, 3, 480, 640]}",
    ),
    option("-ot --optimization_times N", "no effect: it ends when nothing more can be simplified", type=int, default=0),
    option("-tov --target_onnxsim_version VERSION", "no effect: no package is ever installed", default=""),
    option("--keep NODE...", "nodes that stay as they are"),
    *COMMON,
)
