"""Simplify what can be simplified, and keep the rest as it is.

Constants are folded, shape arithmetic becomes numbers where shapes are known, needless copies go, neighbouring linear
layers and BatchNormalizations become one; then onnxsim looks at what is left, in a process of its own.  All of it works
node by node: what cannot be simplified stays, and does not keep the rest from it.  The opset stays what it was.

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
from ..model.lazy import onnx
from ..model.walk import scopes
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

    kept = frozenset(n for _, n in job.match("node", keep, "--keep"))
    fixed = {name: tuple(shape) for name, shape in (overwrite_input_shape or {}).items()}
    options = PassOptions(
        simplify="always", disabled=frozenset((*FUSIONS, *OTHERS)), input_shapes=fixed, keep_nodes=kept
    )
    counts = operators(job.model)
    try:
        graph, reports = optimize(load(job.model), options)
    except ConversionError as error:
        raise ToolError(str(error.problems[0])) from error
    for note in (n for r in reports for n in r.notes if r.modified):
        job.log.info(note)
    made = to_proto(graph)
    convert(made, job.opset())
    before, job.model = sized(job.model, fixed), like(job.model, made)
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


def like(model: onnx.ModelProto, made: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of ``made`` with all that ``model`` says of itself."""
    new = onnx.ModelProto()
    new.CopyFrom(made)
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(new, name, getattr(model, name))
    new.graph.name, new.graph.doc_string = model.graph.name, model.graph.doc_string
    new.metadata_props.extend(model.metadata_props)
    del new.opset_import[:]
    used = {n.domain for s in scopes(new) for n in s.graph.node}
    new.opset_import.extend(e for e in model.opset_import if e.domain in used | {"", "ai.onnx"})
    new.opset_import.extend(e for e in made.opset_import if e.domain in used - {o.domain for o in new.opset_import})
    return new


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
