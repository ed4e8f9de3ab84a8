"""Add tensors inside a model to its outputs, to look at them.

Types and shapes come from shape inference; where an operator is unknown to it, ONNX Runtime is asked.  A tensor in the
body of a Loop or Scan exists once per turn: with --scan-outputs all of its values become one output.

examples:
  soa4onnx -if model.onnx -on "onnx::Gather_76" "onnx::Add_89" -of o.onnx
  soa4onnx -if model.onnx -on '/head/*' -of o.onnx
  soa4onnx -if model.onnx --type Conv Gemm -of o.onnx             the results of all Conv and Gemm
  soa4onnx -if model.onnx -on loop0/body:state --scan-outputs -of o.onnx
"""

from __future__ import annotations

from collections.abc import Sequence

from ..commands import command, flag, option
from ..errors import ToolError, nearest
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.names import fresh, names_in
from ..model.types import type_text, types
from ..model.walk import Scope, outputs, scopes
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT


@edit("MODEL GRAPH output_op_names OUTPUT QUIET do_not_type_check")
def outputs_add(
    job: Edit,
    output_op_names: Sequence[str] = (),
    do_not_type_check: bool = False,
    *,
    op_types: Sequence[str] = (),
    all_tensors: bool = False,
    scan_outputs: bool = False,
) -> onnx.ModelProto:
    """Add tensors to the outputs, in the order asked and each once; returns the new model."""
    graph = job.model.graph
    if not (output_op_names or op_types or all_tensors):
        raise ToolError("nothing asked for: give -on, --type or --all")
    wanted = job.match("tensor", output_op_names, "-on")
    for op in op_types:
        if not any(n.op_type == op for n in graph.node):
            raise ToolError(f"--type: no {op!r} in the main graph", op, nearest(op, {n.op_type for n in graph.node}))
    found = [_surface(s, name, scan_outputs, job.model) if s.path else name for s, name in wanted]
    found += [o for n in graph.node if all_tensors or n.op_type in op_types for o in n.output if o]
    before = outputs(graph)
    for name in sorted(set(found) & set(before)):
        job.log.info(f"{name} is an output already")
    names = [n for n in dict.fromkeys(found) if n not in before]
    known = job.types_of(names, "-on")
    for name in names:
        graph.output.append(onnx.ValueInfoProto(name=name, type=known[name]))
        job.log.info(f"added {name}: {type_text(known[name])}")
    return job.model


def _surface(scope: Scope, name: str, asked: bool, model: onnx.ModelProto) -> str:
    """Carry a tensor of a loop's body out of the loop, as a scan output of it; the name it has outside."""
    owner, outer, address = scope.owner, scope.outer, scope.address(name)
    if owner is None or outer is None:
        raise ToolError(f"-on: {address!r} is in a function: it has no one value", name)
    if owner.op_type not in ("Loop", "Scan"):
        raise ToolError(f"-on: {address!r} is in a branch, and has no value when the other one is taken", name)
    if not asked:
        raise ToolError(f"-on: {address!r} has a value in each turn of the loop; --scan-outputs adds all", name)
    own = types(_inferred(model, scope.path))
    inner = scope.graph.output.add(name=name)
    if name in own:
        inner.type.CopyFrom(own[name])
    expected = len(scope.graph.output) - 1 - (owner.op_type == "Loop")
    taken = names_in(model)
    while len(owner.output) < expected:
        owner.output.append(fresh(f"{name}_unused", taken))
    outside = fresh(f"{name}_scan", taken)
    owner.output.append(outside)
    _one_more_axis(owner)
    return outside if not outer.path else _surface(outer, outside, asked, model)


def _inferred(model: onnx.ModelProto, path: str) -> onnx.GraphProto:
    return next(s.graph for s in scopes(infer(model)) if s.path == path)


def _one_more_axis(owner: onnx.NodeProto) -> None:
    for attribute in owner.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.append(0)


main = command(
    outputs_add,
    INPUT,
    OUTPUT,
    option("-on --output_op_names NAME...", "tensors to add (globs; graph:name for one in a body)"),
    option("--type OP...", "the results of all nodes of these operators", dest="op_types"),
    flag("--all", "every tensor of the main graph", dest="all_tensors"),
    flag("--scan-outputs", "carry tensors out of the bodies of loops"),
    flag("-d --do_not_type_check", "no effect; accepted for old scripts"),
    *COMMON,
)
