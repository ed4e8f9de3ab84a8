"""Delete nodes and bridge the gap: what read the node's result now reads its input.

The input that takes the result's place is the only one that is no constant; where there are several, --bridge says
which.  The model's outputs keep their names, inputs that nothing reads any more vanish, and nodes in the bodies of If
and Loop can be deleted too.

examples:
  snd4onnx -rn Relu_3 Relu_7 -if in.onnx -of out.onnx
  snd4onnx -rn add0 --bridge add0=c1 -if in.onnx -of out.onnx     c1, an input of add0, takes its place
  snd4onnx --type Dropout Identity -if in.onnx -of out.onnx
  snd4onnx --match '/head/*' --dry-run -if in.onnx -of out.onnx   what would be deleted
"""

from __future__ import annotations

from collections.abc import Sequence

from ..commands import command, option
from ..errors import ToolError, nearest, unknown
from ..model import walk
from ..model.lazy import onnx
from ..model.names import fresh, names_in, node_named
from ..model.walk import (
    GraphLike,
    Scope,
    constants,
    consumers,
    dead,
    outputs,
    producers,
    replace_uses,
    scopes,
    sweep,
    title,
)
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT


@edit("remove_node_names MODEL OUTPUT GRAPH QUIET")
def remove(
    job: Edit,
    remove_node_names: Sequence[str] = (),
    *,
    match: Sequence[str] = (),
    op_types: Sequence[str] = (),
    bridge: Sequence[str] = (),
) -> onnx.ModelProto:
    """Delete nodes, and outputs named among them; returns the new model."""
    chosen = _chosen(job, remove_node_names, match, op_types)
    bridges = _bridges(bridge, [title(n) for _, n in chosen])
    graph = job.model.graph
    dropped = [n for n in remove_node_names if n in outputs(graph) and n not in (x.name for x in graph.node)]
    if len(dropped) == len(graph.output) or len([1 for s, _ in chosen if not s.path]) == len(graph.node):
        raise ToolError("-rn: at least one node and one output must remain")
    before = [(s, dead(s.graph)) for s in scopes(job.model)]
    walk.remove(graph.output, lambda v: v.name in dropped)
    taken = names_in(job.model)
    for scope, node in chosen:
        job.log.info(f"deleted {node.op_type} {title(node)!r}: {_bypass(scope, node, bridges, taken)}")
    for scope, unneeded in reversed(before):
        swept = sweep(scope.graph, unneeded, prune_inputs=not scope.path)
        if swept.nodes or swept.initializers or swept.inputs:
            job.log.info(f"removed with them: {swept}")
    if chosen or dropped:
        job.rewired()
    return job.model


def _chosen(
    job: Edit, names: Sequence[str], globs: Sequence[str], op_types: Sequence[str]
) -> list[tuple[Scope, onnx.NodeProto]]:
    """The nodes to delete, each once; names of outputs are not among them."""
    if not (names or globs or op_types):
        raise ToolError("nothing asked for: give -rn, --match or --type")
    every = [(s, n) for s in scopes(job.model) for n in s.graph.node]
    if "" in names:
        raise unknown("-rn", "node", "", (n.name for _, n in every))
    ends = set(outputs(job.model.graph)) - {n.name for n in job.model.graph.node}
    places = [job.find("node", name, "-rn") for name in names if name not in ends]
    found = [(s, _only(s, n)) for s, n in filter(None, places)]
    found += [(s, node_named(s, n)) for s, n in job.match("node", globs, "--match")]
    found += _of_types(job, op_types, every)
    return list({(id(s.graph), tuple(n.output)): (s, n) for s, n in found}.values())


def _of_types(
    job: Edit, op_types: Sequence[str], every: Sequence[tuple[Scope, onnx.NodeProto]]
) -> list[tuple[Scope, onnx.NodeProto]]:
    ops = {n.op_type for _, n in every}
    if missing := [op for op in op_types if op not in ops and not job.missing_ok]:
        raise ToolError(f"--type: the model has no {missing[0]!r}", missing[0], nearest(missing[0], ops))
    return [(s, n) for op in op_types for s, n in every if n.op_type == op]


def _only(scope: Scope, name: str) -> onnx.NodeProto:
    same: list[onnx.NodeProto] = [n for n in scope.graph.node if n.name == name]
    if len(same) > 1:
        raise ToolError(f"-rn: {len(same)} nodes are called {name!r}; sng4onnx gives each its own name", name)
    return same[0]


def _bridges(said: Sequence[str], nodes: list[str]) -> dict[tuple[str, str], str]:
    """(node, output or "") -> input, from ``node=input`` and ``node:output=input``."""
    found = {}
    for text in said:
        left, equals, source = text.rpartition("=")
        node = max((n for n in nodes if left == n or left.startswith(f"{n}:")), key=len, default=None)
        if not equals or node is None:
            raise ToolError(f"--bridge: {text!r} names no node to delete", left, nearest(left, nodes))
        found[node, left[len(node) + 1 :]] = source
    return found


def _bypass(scope: Scope, node: onnx.NodeProto, bridges: dict[tuple[str, str], str], taken: set[str]) -> str:
    """Take a node out of its graph; what was put in the place of what, in words."""
    graph, name = scope.graph, title(node)
    readers, ends, said = consumers(graph), outputs(graph), []
    used = [o for o in node.output if o in readers or o in ends]
    sources = {o: _source(scope, node, o, bridges, len(used) == 1) for o in used}
    index = next(i for i, n in enumerate(graph.node) if list(n.output) == list(node.output) and n.name == node.name)
    gone = onnx.NodeProto.FromString(node.SerializeToString())
    del graph.node[index]
    for result, source in sources.items():
        if source in gone.output:
            raise ToolError(f"--bridge: {source!r} is a result of {name!r} itself", source)
        if result not in ends:
            replace_uses(graph, {result: source})
        elif _renames(scope, source):
            _rename(graph, source, result)
        else:
            replace_uses(graph, {result: source})
            graph.node.insert(
                index, onnx.helper.make_node("Identity", [source], [result], fresh(f"{name}_kept", taken))
            )
        said.append(f"{source} takes the place of {result}")
    return "; ".join(said) or "nothing read it"


def _source(scope: Scope, node: onnx.NodeProto, result: str, bridges: dict[tuple[str, str], str], only: bool) -> str:
    name, fixed = title(node), constants(scope.graph)
    asked = bridges.get((name, result)) or bridges.get((name, ""))
    if asked is not None:
        if asked not in node.input:
            raise ToolError(f"--bridge: {asked!r} is no input of {name!r}", asked, nearest(asked, node.input))
        return asked
    given: list[str] = list(dict.fromkeys(i for i in node.input if i))
    moving = given if len(given) == 1 else [i for i in given if i not in fixed]
    if len(moving) == 1 and (only or result == node.output[0]):
        return moving[0]
    if len(moving) == 1:
        raise ToolError(f"-rn: result {result!r} of {name!r} is still read; say --bridge '{name}:{result}=INPUT'", name)
    what = f"{len(moving)} inputs that are no constants ({', '.join(moving)})" if moving else "no input but constants"
    raise ToolError(f"-rn: {name!r} has {what}; say which takes its place: --bridge '{name}=INPUT'", name)


def _renames(scope: Scope, source: str) -> bool:
    """Can a tensor take another name?  Results of nodes of this graph can, unless they are outputs themselves."""
    return source in producers(scope.graph) and source not in outputs(scope.graph)


def _rename(graph: GraphLike, old: str, new: str) -> None:
    """Let the result ``old`` of a node be called ``new``, which nothing makes any more."""
    node = producers(graph)[old]
    node.output[:] = [new if o == old else o for o in node.output]
    replace_uses(graph, {old: new})


main = command(
    remove,
    option("-rn --remove_node_names NAME...", "nodes to delete, or graph outputs to drop"),
    option("--match GLOB...", "nodes whose names match these globs"),
    option("--type OP...", "all nodes of these operators", dest="op_types"),
    option("--bridge TEXT...", "which input takes the place of a node: NODE=INPUT or NODE:OUTPUT=INPUT"),
    INPUT,
    OUTPUT,
    *COMMON,
)
