r"""Add a node: between two nodes, after a tensor, before one input of a node, or in front of a model output.

Either by tensors (--after, --before, --between, --append), where types and shapes are found out, or by the pairs of
connections -csoon and -cdoin.  Attributes are typed by ONNX's definition of the operator; -c gives constant inputs.

examples:
  sna4onnx -if m.onnx -aot Neg -aon AddOP1 -aoiv inp1 float32 [1,8,16,16] -aoov out1 float32 [1,8,16,16] \
    -csoon relu0 r0 AddOP1 inp1 -cdoin AddOP1 out1 conv1 r0 -of o.onnx
  sna4onnx -if m.onnx -aot Neg -aon neg0 --after r0 -of o.onnx              all that read r0 read its negative
  sna4onnx -if m.onnx -aot Neg -aon neg0 --between relu0 conv1 -of o.onnx
  sna4onnx -if m.onnx -aot Mul -aon half -c factor float32 0.5 --before conv1.0 -of o.onnx
  sna4onnx -if m.onnx -aot Softmax -aon prob -aoa axis int64 1 --append y -of o.onnx
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..commands import command, option, repeated
from ..errors import ToolError, nearest, unknown
from ..model.lazy import onnx
from ..model.names import fresh, names_in, node_named
from ..model.walk import Scope, dead, defined, is_function, outputs, producers, reads, replace_uses, scopes, sweep
from . import _values
from ._edit import Edit, edit
from ._options import (
    ATTRIBUTE_FORM,
    ATTRIBUTES,
    COMMON,
    CONSTANT_FORM,
    CONSTANTS,
    INPUT,
    VARIABLE_FORM,
    VARIABLES,
    output,
)
from ._schema import make_node
from ._values import Values, value_info


@edit("* MODEL GRAPH OUTPUT QUIET")
def add(
    job: Edit,
    connection_src_op_output_names: Sequence[Sequence[str]] | None = None,
    connection_dest_op_input_names: Sequence[Sequence[str]] | None = None,
    add_op_type: str = "",
    add_op_name: str = "",
    add_op_input_variables: Values | None = None,
    add_op_output_variables: Values | None = None,
    add_op_attributes: Values | None = None,
    *,
    after: str = "",
    before: str = "",
    between: Sequence[str] = (),
    append: str = "",
    constants: Values | None = None,
    domain: str = "",
) -> onnx.ModelProto:
    """Add one node, at one place: by connections, or ``after``, ``before``, ``between`` or ``append``; returns the new
    model.

    A variable that is not connected becomes an input or output of the model.  Constants are inputs behind the others,
    unless they are named among the variables.
    """
    modes = [m for m in (after, before, between, append, connection_dest_op_input_names) if m]
    if len(modes) != 1 or not (add_op_type and add_op_name):
        raise ToolError("say where: one of --after, --before, --between, --append, or -cdoin (with -csoon)")
    if add_op_name in (n.name for s in scopes(job.model) for n in s.graph.node):
        raise ToolError(f"-aon: there is a node called {add_op_name!r} already", add_op_name)
    held = {n: _values.given_tensor(n, v) for n, v in (constants or {}).items()}
    new = _New(job, add_op_type, add_op_name, dict(add_op_attributes or {}), domain, held)
    ins, outs = dict(add_op_input_variables or {}), dict(add_op_output_variables or {})
    if connection_dest_op_input_names:
        _by_pairs(new, connection_src_op_output_names or [], connection_dest_op_input_names, ins, outs)
    elif after:
        _after(new, _found(job.find("tensor", after, "--after")), ins, outs)
    elif before:
        _before(new, before, ins, outs)
    elif between:
        _between(new, between, ins, outs)
    else:
        _append(new, _found(job.find("graph output", append, "--append")), ins, outs)
    job.rewired()
    return job.model


class _New:
    """The node to be: it is made once its inputs and outputs are known."""

    def __init__(
        self, job: Edit, op: str, name: str, attributes: Values, domain: str, held: dict[str, onnx.TensorProto]
    ):
        self.job, self.op, self.name, self.attributes, self.domain, self.held = job, op, name, attributes, domain, held
        self.taken = names_in(job.model)
        for constant in held:
            if constant in self.taken:
                raise ToolError(f"-c: there is a {constant!r} already", constant)

    def result(self, source: str, outs: Values) -> str:
        wanted = next(iter(outs), "")
        if wanted and wanted in self.taken:
            raise ToolError(f"-aoov: there is a tensor {wanted!r} already", wanted)
        return wanted or fresh(f"{source}_{self.name}", self.taken)

    def inputs(self, source: str, ins: Values) -> list[str]:
        """The source, then the constants; or as the variables say, whose first that is no constant is the source."""
        order = list(ins)
        first = next((n for n in order if n not in self.held), None)
        named = [source if n == first else n for n in order] if first is not None else [source, *order]
        return named + [n for n in self.held if n not in named]

    def put(self, scope: Scope, inputs: list[str], outputs: list[str], index: int | None = None) -> onnx.NodeProto:
        opset = self.job.opset(self.domain)
        if not opset:
            raise ToolError(f"--domain: the model does not import {self.domain!r}", self.domain)
        node = make_node(self.op, inputs, outputs, self.name, self.attributes, opset, self.domain)
        nodes = scope.graph.node
        nodes.insert(len(nodes) if index is None else index, node)
        if self.held and is_function(scope.graph):
            raise ToolError("-c: a function has no constants of its own", next(iter(self.held)))
        scope.graph.initializer.extend(self.held.values())
        where = f" in {scope.path}" if scope.path else ""
        self.job.log.info(f"added {self.op} {self.name!r}{where}: {', '.join(inputs)} -> {', '.join(outputs)}")
        placed: onnx.NodeProto = nodes[len(nodes) - 1 if index is None else index]
        return placed


def _found(place: tuple[Scope, str] | None) -> tuple[Scope, str]:
    if place is None:
        raise ToolError("there is no place for the node")
    return place


def _position(scope: Scope, readers: list[onnx.NodeProto]) -> int:
    """In front of the first reader."""
    nodes = list(scope.graph.node)
    return min((i for i, n in enumerate(nodes) if any(n is r for r in readers)), default=len(nodes))


def _after(new: _New, place: tuple[Scope, str], ins: Values, outs: Values) -> None:
    scope, tensor = place
    readers = [n for n in scope.graph.node if tensor in reads(n)]
    ends = tensor in outputs(scope.graph)
    if not readers and not ends:
        raise ToolError(f"--after: nothing reads {tensor!r}", tensor)
    if ends:
        _append(new, place, ins, outs, readers)
        return
    result = new.result(tensor, outs)
    index = _position(scope, readers)
    replace_uses(scope.graph, {tensor: result}, readers)
    new.put(scope, new.inputs(tensor, ins), [result, *list(outs)[1:]], index)


def _append(
    new: _New, place: tuple[Scope, str], ins: Values, outs: Values, readers: Sequence[onnx.NodeProto] = ()
) -> None:
    """The output keeps its name; what made it gets another, which the other readers see (``readers``: the new node)."""
    scope, tensor = place
    made = producers(scope.graph).get(tensor)
    if made is None:
        raise ToolError(f"--append: no node makes {tensor!r}", tensor)
    inner = fresh(f"{tensor}_before_{new.name}", new.taken)
    made.output[:] = [inner if o == tensor else o for o in made.output]
    replace_uses(scope.graph, {tensor: inner}, [n for n in scope.graph.node if not any(n is r for r in readers)])
    new.put(scope, new.inputs(inner, ins), [tensor, *list(outs)[1:]])


def _before(new: _New, text: str, ins: Values, outs: Values) -> None:
    scope, node, index = new.job.slot(text, "--before")
    tensor = node.input[index]
    result = new.result(tensor, outs)
    node.input[index] = result
    new.put(scope, new.inputs(tensor, ins), [result, *list(outs)[1:]], _position(scope, [node]))


def _between(new: _New, nodes: Sequence[str], ins: Values, outs: Values) -> None:
    (scope, a), (other, b) = (_found(new.job.find("node", n, "--between")) for n in nodes)
    first, second = node_named(scope, a), node_named(other, b)
    shared = [o for o in first.output if o and o in reads(second)]
    if scope.path != other.path or len(shared) != 1:
        what = f"{len(shared)} tensors go" if shared else "no tensor goes"
        raise ToolError(f"--between: {what} from {a!r} to {b!r}", a)
    result = new.result(shared[0], outs)
    second = node_named(scope, b)
    replace_uses(scope.graph, {shared[0]: result}, [second])
    new.put(scope, new.inputs(shared[0], ins), [result, *list(outs)[1:]], _position(scope, [second]))


def _by_pairs(
    new: _New, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], ins: Values, outs: Values
) -> None:
    """The connections as pairs of nodes; all names are looked up before anything is changed."""
    job, graph, main = new.job, new.job.model.graph, scopes(new.job.model)[0]
    connected = dict(_source(new, row, ins) for row in sources)
    rewired = [_target(new, row, outs) for row in targets]
    for name in (n for n in (*ins, *outs) if n not in connected and n in new.taken):
        raise ToolError(f"-aoiv: there is a tensor {name!r} already", name)
    unneeded = dead(graph)
    for reader, tensor, name in rewired:
        replace_uses(graph, {tensor: name}, [reader])
    for names, infos, done in ((ins, graph.input, connected), (outs, graph.output, {n for _, _, n in rewired})):
        for name in (n for n in names if n not in done and n not in new.held):
            infos.append(value_info(name, names[name]))
            job.log.info(f"{name} is a{'n input' if names is ins else 'n output'} of the model")
    new.put(main, [connected.get(n, n) for n in ins] + [n for n in new.held if n not in ins], list(outs))
    sweep(graph, {*unneeded, *outs})  # what only the old connections needed


def _source(new: _New, row: Sequence[str], ins: Values) -> tuple[str, str]:
    """The input of the new node, and the tensor that it reads."""
    node, tensor, own, name = _row("-csoon", row)
    _mine("-csoon", own, new.name, name, ins, "-aoiv")
    main = scopes(new.job.model)[0]
    if node not in ("", "-", tensor) or tensor not in defined(main.graph):
        maker = node_named(main, _in_main(new.job, "-csoon", node))
        if tensor not in maker.output:
            raise unknown("-csoon", f"output of {node!r}", tensor, maker.output)
    return name, tensor


def _target(new: _New, row: Sequence[str], outs: Values) -> tuple[onnx.NodeProto, str, str]:
    """Who reads an output of the new node, what it reads now, and that output."""
    own, name, node, tensor = _row("-cdoin", row)
    _mine("-cdoin", own, new.name, name, outs, "-aoov")
    reader = node_named(scopes(new.job.model)[0], _in_main(new.job, "-cdoin", node))
    if tensor not in reads(reader):
        raise unknown("-cdoin", f"input of {node!r}", tensor, reads(reader))
    return reader, tensor, name


def _in_main(job: Edit, flag: str, node: str) -> str:
    found = job.find("node", node, flag)
    if found is None or found[0].path:
        raise unknown(flag, "node of the main graph", node, (n.name for n in job.model.graph.node))
    return found[1]


def _row(flag: str, row: Sequence[str]) -> Sequence[str]:
    if len(row) != 4:
        raise ToolError(f"{flag}: {list(row)} are not four names")
    return row


def _mine(flag: str, own: str, name: str, variable: str, known: Values, where: str) -> None:
    if own != name:
        raise ToolError(f"{flag}: {own!r} is not the new node, {name!r}", own, [name])
    if variable not in known:
        raise ToolError(f"{flag}: {variable!r} is not declared with {where}", variable, nearest(variable, known))


def _beside(values: dict[str, str]) -> str:
    path = values["input_onnx_file_path"]
    return path if path == "-" else str(Path(path).with_name(f"{Path(path).stem}_mod.onnx"))


main = command(
    add,
    INPUT,
    output(form="<input>_mod.onnx", fallback=_beside),
    option("-aot --add_op_type OP", "operator", required=True),
    option("-aon --add_op_name NAME", "name of the new node", required=True),
    repeated("-aoiv --add_op_input_variables NAME DTYPE SHAPE", "an input", convert=VARIABLES, form=VARIABLE_FORM),
    repeated("-aoov --add_op_output_variables NAME DTYPE SHAPE", "an output", convert=VARIABLES, form=VARIABLE_FORM),
    repeated("-aoa --add_op_attributes NAME DTYPE VALUE", "an attribute", convert=ATTRIBUTES, form=ATTRIBUTE_FORM),
    repeated("-c --constants NAME DTYPE VALUE", "a constant input", convert=CONSTANTS, form=CONSTANT_FORM),
    repeated(
        "-csoon --connection_src_op_output_names NODE OUTPUT NEW INPUT",
        "what an input reads: source node and its output, new node and its input",
        form="[['relu0', 'r0', 'new', 'in'], ...]",
    ),
    repeated(
        "-cdoin --connection_dest_op_input_names NEW OUTPUT NODE INPUT",
        "who reads an output: new node and its output, reader and its input now",
        form="[['new', 'out', 'conv1', 'r0'], ...]",
    ),
    option("--after TENSOR", "behind a tensor: everything that read it reads the new node"),
    option("--before NODE.INDEX", "in front of one input"),
    option("--between NODE NODE", "on the way from one node to another"),
    option("--append OUTPUT", "in front of a model output, which keeps its name"),
    option("--domain NAME", "domain of the operator (default: ONNX's own)"),
    *COMMON,
)
