"""Change the opset of a model, and its operators with it.

Upwards, onnx's own version converter rewrites what changed.  Downwards, an operator that the older opset does not have
is replaced by ONNX's definition of it in simpler ones, inputs that used to be attributes become attributes again, and
whatever else is the same in both opsets stays.  What cannot be expressed is an error that lists the nodes.  Bodies and
functions are converted too; imports of other domains and metadata stay as they are.

examples:
  soc4onnx -if model.onnx -of model_17.onnx -os 17
  soc4onnx -if layer_norm_17.onnx -of layer_norm_11.onnx -os 11    LayerNormalization becomes simple operators
  soc4onnx -if model.onnx -of model_13.onnx -os 13 --force         only the number changes
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..commands import command, flag, option
from ..errors import ToolError
from ..model.downgrade import downgrade
from ..model.lazy import onnx
from ..model.light import SMALL, skeleton
from ..model.names import fresh
from ..model.tensors import nbytes
from ..model.walk import Scope, add_constant, bodies, dead, initializers, opset_of, remove, sweep
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto


@edit("* MODEL OUTPUT GRAPH QUIET")
def change(
    job: Edit,
    opset: int,
    *,
    force: bool = False,
) -> ModelProto:
    """Bring the default domain to ``opset``; with ``force`` change the number and no operator.  Returns the new model.

    :raises ToolError: an opset that does not exist, or nodes that it cannot express.
    """
    now, newest = job.opset(), onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise ToolError(f"-os: there is no opset {opset}: the newest is {newest}", str(opset))
    if force:
        job.log.warning("no operator was converted (--force)")
    elif opset != now:
        changed = (upgrade if opset > now else downgrade)(job.model, now, opset)
        for op, number in sorted(changed.items()):
            job.log.info(f"rewrote {number} {op}")
        job.same_outputs()
    for home in (job.model, *job.model.functions):
        for entry in home.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = opset
    oldest = onnx.helper.find_min_ir_version_for(job.model.opset_import, ignore_unknown=True)
    if job.model.ir_version < oldest:
        job.log.info(f"IR version {job.model.ir_version} to {oldest}, which opset {opset} needs")
        job.model.ir_version = oldest
    job.log.info(f"opset {now} to {opset}")
    return job.model


def upgrade(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """onnx's converter, on a copy without weights; only nodes that it changed are replaced.  Returns how many."""
    unread = dead(model.graph)
    copy = skeleton(model)
    del copy.functions[:]
    hollow = {n: t for n, t in initializers(copy.graph).items() if nbytes(t) >= SMALL}
    remove(copy.graph.initializer, lambda t: t.name in hollow)
    listed = {v.name for v in copy.graph.input}
    for name in [n for n in hollow if n not in listed]:
        kind, shape = hollow[name].data_type, list(hollow[name].dims)
        copy.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    changed = _take(model, model.graph, _convert(copy, now, opset).graph, now)
    sweep(model.graph, keep=unread)
    for function in model.functions:
        changed += _upgrade_function(model, function, opset)
    return changed


def _upgrade_function(model: ModelProto, function: FunctionProto, opset: int) -> Counter[str]:
    """A function is converted as a graph of tensors of which nothing is known."""
    now = opset_of(model, Scope(function))
    if now in (0, opset):
        return Counter()
    inputs, outputs = ([onnx.ValueInfoProto(name=n) for n in names] for names in (function.input, function.output))
    graph = onnx.helper.make_graph(list(function.node), function.name, inputs, outputs)
    alone = onnx.helper.make_model(graph, opset_imports=list(function.opset_import), ir_version=model.ir_version)
    return _take(model, function, _convert(alone, now, opset).graph, now)


def _convert(model: ModelProto, now: int, opset: int) -> ModelProto:
    try:
        return onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        said = str(error).strip().rpartition("failed: ")[2].splitlines()[0]
        raise ToolError(f"opset {now} cannot become {opset}: {said} (--force changes only the number)") from error


def _take(model: ModelProto, graph: Any, made: GraphProto, now: int) -> Counter[str]:
    """Replace the nodes that the converter changed; the others keep what it does not know, such as metadata."""
    old = {tuple(n.output): n for n in graph.node}
    nodes, changed, taken = [], Counter[str](), set[str]()
    for node in made.node:
        before = old.get(tuple(node.output))
        if before is not None:
            for (_, mine), (_, theirs) in zip(bodies(before), bodies(node), strict=True):
                changed += _take(model, mine, theirs, now)
        if before is None or not _same(before, node):
            if node.op_type == "Resize" and now < 11:  # the converter leaves the modes to their new defaults
                modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in modes.items())
            changed[node.op_type] += 1
            if before is not None:
                _adopt(node, before)
            if node.name in taken:  # some adapters give several nodes one name
                node.name = fresh(f"{node.name}_{node.op_type}", taken)
            before = node
        taken |= {before.name} - {""}
        nodes.append(onnx.NodeProto.FromString(before.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)
    known = initializers(graph)
    for tensor in [t for t in made.initializer if t.name not in known]:
        add_constant(model, graph, tensor)
    return changed


def _adopt(node: NodeProto, before: NodeProto) -> None:
    """What the converter does not keep, or only saw without weights."""
    node.name, node.doc_string = node.name or before.name, before.doc_string
    node.metadata_props.extend(before.metadata_props)
    held = {a.name: a for a in before.attribute}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            attribute.CopyFrom(held[attribute.name])


def _same(a: NodeProto, b: NodeProto) -> bool:
    """The same but for documentation and bodies."""
    if (a.op_type, list(a.input)) != (b.op_type, list(b.input)):
        return False
    pair = [{x.name: _bare(x) for x in n.attribute if not x.HasField("g")} for n in (a, b)]
    return pair[0] == pair[1]


def _bare(attribute: onnx.AttributeProto) -> bytes:
    own = onnx.AttributeProto.FromString(attribute.SerializeToString())
    own.ClearField("doc_string")
    return bytes(own.SerializeToString(deterministic=True))


main = command(
    change,
    INPUT,
    OUTPUT,
    option("-os --opset N", "the opset the model is to have", required=True, type=int),
    flag("--force", "change only the number (the result is still checked)"),
    *COMMON,
)
