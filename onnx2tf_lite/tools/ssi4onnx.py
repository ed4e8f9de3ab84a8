"""Infer the shapes of all tensors and write them into the model.

Nodes are put in order where they are not.  Inference is strict: a model that contradicts itself is an error that says
where.  Values of shape arithmetic are followed, so Shape -> Gather -> Concat -> Reshape gives a shape.  Extents that
depend on open ones become formulas of their names, such as "(height+1)//2" behind a stride; one that only the data
decide gets a name of its own.  What nothing can tell (the rank of a foreign operator's result) can be filled from one
run in ONNX Runtime (--run).  Without -of nothing is written, only reported.

examples:
  ssi4onnx -if model.onnx -of shaped.onnx
  ssi4onnx -if model.onnx                                        how much is known, and what stops inference
  ssi4onnx -if model.onnx -of fixed.onnx --set-dim N=1 height=480 width=640
  ssi4onnx -if model.onnx -of fixed.onnx --run x:1,3,224,224     fix this input's shape; fill the rest from a run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..commands import command, option
from ..commands.words import assignments, shapes
from ..errors import ToolError, unknown
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.types import contradict, dims, types
from ..model.walk import Scope, bodies, defined, is_function, outputs, scopes, sort, title
from . import _symbolic
from ._edit import Edit, edit, port, set_shape
from ._options import COMMON, INPUT, output
from ._verify import NotRunError, random_feeds, run


@edit("MODEL GRAPH OUTPUT QUIET")
def shape_inference(
    job: Edit, *, set_dim: Mapping[str, int | str] | None = None, run_shapes: Mapping[str, Sequence[int]] | None = None
) -> onnx.ModelProto:
    """Write what inference finds into value_info and outputs; returns the new model."""
    wanted = dict(set_dim or {})
    for name, shape in (run_shapes or {}).items():
        wanted |= _declare(job.model, name, list(shape))
    if wanted:
        set_dims(job.model, wanted)
    _symbolic.forget(job.model, {str(v) for v in wanted.values()} if wanted else None)
    for scope in scopes(job.model):
        sort(scope.graph)
    _symbolic.name_inputs(job.model)
    _fill(job.model, infer(job.model, strict=True))
    _symbolic.declare(job.model, _symbolic.formulas(job.model))
    _symbolic.complete(job.model)
    if run_shapes is not None:
        job.log.info(f"from a run: {_measure(job.model)} tensors")
    for text in _summary(job.model):
        job.log.info(text)
    if wanted or run_shapes:
        job.must_run()
    else:
        job.same_outputs()
    return job.model


Dim = Any  # a Dimension message


def named_dims(model: onnx.ModelProto) -> dict[str, list[Dim]]:
    """Every named dimension of the model -> the places (Dimension messages) that have it."""
    found: dict[str, list[Dim]] = {}
    for scope in scopes(model):
        graph = scope.graph
        infos = graph.value_info if is_function(graph) else (*graph.input, *graph.output, *graph.value_info)
        for info in infos:
            kind = info.type
            while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
                kind = getattr(kind, kind.WhichOneof("value")).elem_type
            for dim in kind.tensor_type.shape.dim:
                if dim.dim_param:
                    found.setdefault(dim.dim_param, []).append(dim)
    return found


def set_dims(model: onnx.ModelProto, wanted: Mapping[str, int | str]) -> None:
    """Rename or fix named dimensions, wherever they are declared.

    :raises ToolError: no tensor has a dimension of that name.
    """
    found = named_dims(model)
    for name, value in wanted.items():
        if name not in found:
            raise unknown("dimensions", "dimension", name, found)
        for dim in found[name]:
            dim.ClearField("value")
            if isinstance(value, int):
                dim.dim_value = value
            else:
                dim.dim_param = value


def _declare(model: onnx.ModelProto, name: str, shape: list[int]) -> dict[str, int]:
    """Fix the shape of an input; the names that its dimensions had, with their numbers."""
    info = port(model.graph, "graph input", name, "--run")
    own = dims(info.type)
    pairs = list(zip(own or [None] * len(shape), shape, strict=False))
    if own is not None and (len(own) != len(shape) or any(isinstance(a, int) and a != b for a, b in pairs)):
        raise ToolError(f"--run: {name} is {own}, which cannot be {shape}", name)
    set_shape(info, shape)
    left = named_dims(model)
    return {a: b for a, b in pairs if isinstance(a, str) and a in left}


def _fill(model: onnx.ModelProto, inferred: onnx.ModelProto) -> None:
    """Add what was inferred to what the model declares."""
    for scope, found in zip(scopes(model), scopes(inferred), strict=True):
        if is_function(scope.graph):
            continue
        known = types(found.graph)
        declared = {v.name: v for v in (*scope.graph.input, *scope.graph.output, *scope.graph.value_info)}
        made = [o for n in scope.graph.node for o in n.output if o]
        for name in made:
            if name in known and name in declared:
                _merge(declared[name], known[name])
            elif name in known:
                scope.graph.value_info.append(onnx.ValueInfoProto(name=name, type=known[name]))


def _merge(info: onnx.ValueInfoProto, found: onnx.TypeProto) -> None:
    """Fill the gaps of a declared type."""
    own, shape = info.type.tensor_type, found.tensor_type.shape
    if not info.type.WhichOneof("value") or contradict(info.type, found) or not own.HasField("shape"):
        info.type.CopyFrom(found)
        return
    for mine, other in zip(own.shape.dim, shape.dim, strict=False):
        if not mine.WhichOneof("value") and other.WhichOneof("value"):
            mine.CopyFrom(other)


def _measure(model: onnx.ModelProto) -> int:
    """Fill what is not known by numbers in the main graph from a run; how many tensors."""
    known = types(model.graph)
    names = [o for n in model.graph.node for o in n.output if o and not _numbers(known.get(o))]
    if not names:
        return 0
    try:
        results = run(model, next(random_feeds(model)), names)
    except (NotRunError, StopIteration) as error:
        raise ToolError(f"--run: {error}") from error
    for name in names:
        if hasattr(results[name], "dtype"):
            elem = onnx.helper.np_dtype_to_tensor_dtype(results[name].dtype)
            info = onnx.helper.make_tensor_value_info(name, elem, list(results[name].shape))
            declared = [v for v in (*model.graph.value_info, *model.graph.output) if v.name == name]
            for old in declared:
                old.type.CopyFrom(info.type)
            if not declared:
                model.graph.value_info.append(info)
    return len(names)


def _numbers(kind: onnx.TypeProto | None) -> bool:
    shape = dims(kind)
    return shape is not None and all(isinstance(d, int) for d in shape)


def _state(kind: onnx.TypeProto | None) -> str:
    shape = dims(kind)
    if shape is None or None in shape:
        return "unknown"
    return "known" if _numbers(kind) else "symbolic"


def _blocker(scope: Scope, known: Mapping[str, onnx.TypeProto]) -> str:
    """The first node of a graph that knows the shapes it reads and not those it makes."""
    for node in scope.graph.node:
        lost = [o for o in node.output if o and _state(known.get(o)) == "unknown"]
        had = all(dims(known.get(i)) is not None for i in node.input if i)
        if lost and had and not bodies(node):
            return f"the first that is not known: {node.op_type} '{scope.address(title(node))}' -> {lost[0]}"
    return ""


def _summary(model: onnx.ModelProto) -> list[str]:
    """How many shapes are known, and the first node that loses one."""
    counts = {"known": 0, "symbolic": 0, "unknown": 0}
    blocker = ""
    for scope in scopes(model):
        known = types(scope.graph)
        for name in [n for n in defined(scope.graph) if n]:
            counts[_state(known.get(name))] += 1
        blocker = blocker or _blocker(scope, known)
    lines = ["shapes: " + ", ".join(f"{n} {state}" for state, n in counts.items())]
    names = ", ".join(f"{o} {dims(types(model.graph).get(o))}" for o in outputs(model.graph))
    return [*lines, *([blocker] if blocker else []), f"outputs: {names}"]


_FORM = "{name: [1, 3, 224, 224]}"
main = command(
    shape_inference,
    INPUT,
    output(form="nothing is written"),
    option("--set-dim NAME=VALUE...", "fix or rename named dimensions", convert=assignments, form="{'N': 1}"),
    option(
        "--run [NAME:SHAPE...]",
        "fix input shapes; fill the rest from a run",
        dest="run_shapes",
        convert=shapes,
        form=_FORM,
    ),
    *COMMON,
)
