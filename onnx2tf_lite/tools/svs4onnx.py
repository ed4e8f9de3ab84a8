"""Rewire one connection: let a node read another tensor.

The first node that reads the tensor -tivn reads -fovn instead; --to says which input of which node, --all-uses takes
all of them, and --swap exchanges the two tensors everywhere.  Type and shape must agree.  A model output that is the
source stops being one (unless it is the only one).  Nodes that nothing needs any more go.

examples:
  svs4onnx -if m.onnx -fovn c0 -tivn r0 -of o.onnx
  svs4onnx -if m.onnx --from c0 --to add0.1 -of o.onnx            input 1 of the node add0
  svs4onnx -if m.onnx --from a --all-uses -tivn b -of o.onnx
  svs4onnx -if m.onnx --from a -tivn b --swap -of o.onnx
"""

from __future__ import annotations

from ..commands import command, flag, option
from ..errors import ToolError
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.types import contradict, types
from ..model.walk import Scope, dead, defined, outputs, reads, remove, replace_uses, scopes, sweep, title
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT


@edit("* MODEL GRAPH OUTPUT QUIET")
def variable_switch(
    job: Edit,
    from_output_variable_name: str,
    to_input_variable_name: str = "",
    *,
    to: str = "",
    all_uses: bool = False,
    swap: bool = False,
) -> onnx.ModelProto:
    """Let readers of one tensor read another; returns the new model."""
    if not (to or to_input_variable_name) or (to and (swap or all_uses)):
        raise ToolError("say what to rewire: either -tivn (with --all-uses or --swap), or --to NODE.INDEX")
    before = [(s, dead(s.graph)) for s in scopes(job.model)]
    found = job.find("tensor", from_output_variable_name, "-fovn")
    if found is None:
        return job.model
    home, source = found
    if to:
        scope, node, index = job.slot(to, "--to")
        _compatible(job, home, source, scope, node.input[index])
        job.log.info(f"{title(node)}.{index} read {node.input[index]} and reads {source}")
        _visible(home, scope, source)
        node.input[index] = source
    else:
        place = job.find("tensor", to_input_variable_name, "-tivn")
        if place is None:
            return job.model
        _compatible(job, home, source, *place)
        _rewire(job, home, source, *place, all_uses=all_uses, swap=swap)
    graph = job.model.graph
    if not swap and not home.path and source in outputs(graph):
        if len(graph.output) > 1:
            remove(graph.output, lambda v: v.name == source)
            job.log.info(f"{source} is no output of the model any more")
        else:
            job.log.info(f"{source} stays an output: it is the only one")
    for scope, unneeded in reversed(before):
        swept = sweep(scope.graph, unneeded)
        if swept.nodes:
            job.log.info(f"removed, as nothing needs it any more: {', '.join(swept.nodes)}")
    job.rewired()
    return job.model


def _rewire(job: Edit, home: Scope, source: str, scope: Scope, target: str, *, all_uses: bool, swap: bool) -> None:
    readers = [n for n in scope.graph.node if target in reads(n)]
    if source == target or not readers:
        raise ToolError(f"-tivn: {'it is the source' if source == target else 'nothing reads'} {target!r}", target)
    _visible(home, scope, source)
    if swap:
        if home.path != scope.path:
            raise ToolError(f"--swap: {source!r} and {target!r} are in different graphs", target)
        count = replace_uses(scope.graph, {source: target, target: source})
        job.log.info(f"exchanged {source} and {target} at {count} place(s)")
    elif all_uses:
        count = replace_uses(scope.graph, {target: source}, [n for n in readers if source not in n.output])
        job.log.info(f"{count} place(s) read {target} and read {source} now")
    else:
        node = readers[0]
        if target in node.input:
            node.input[list(node.input).index(target)] = source
        else:
            replace_uses(scope.graph, {target: source}, [node])
        job.log.info(f"{node.op_type} {title(node)!r} read {target} and reads {source}")


def _visible(home: Scope, scope: Scope, source: str) -> None:
    level: Scope | None = scope
    while level is not None and level.path != home.path:
        if source in defined(level.graph):
            raise ToolError(f"-fovn: another {source!r} is in {level.path!r}", source)
        level = level.outer
    if level is None:
        where = repr(scope.path) if scope.path else "the main graph"
        raise ToolError(f"-fovn: {home.address(source)!r} cannot be seen from {where}", source)


def _compatible(job: Edit, home: Scope, source: str, scope: Scope, target: str) -> None:
    """Raise ToolError where dtype or shape of the two tensors contradict each other."""

    known = {s.path: types(s.graph) for s in scopes(infer(job.model))}
    why = contradict(known[home.path].get(source), known[scope.path].get(target)) if job.checks else ""
    if why:
        raise ToolError(f"-fovn: {source!r} cannot take the place of {target!r}: {why} (--no-check to insist)", source)


main = command(
    variable_switch,
    INPUT,
    OUTPUT,
    option("-fovn --from_output_variable_name --from NAME", "the tensor that shall be read", required=True),
    option("-tivn --to_input_variable_name NAME", "the tensor that is read now"),
    option("--to NODE.INDEX", "the input to rewire"),
    flag("--all-uses", "all that read -tivn, not only the first"),
    flag("--swap", "exchange the two tensors wherever one of them is read"),
    *COMMON,
)
