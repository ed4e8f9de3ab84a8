"""Change the opset of a model, and its operators with it.

Upwards, onnx's own version converter rewrites what changed.  Downwards, an operator that the older opset does not have
is replaced by ONNX's definition of it in simpler ones, inputs that used to be attributes become attributes again, and
whatever else is the same in both opsets stays.  What cannot be expressed is an error that lists the nodes.  Imports of
other domains, functions and metadata stay as they are.

examples:
  soc4onnx -if model.onnx -of model_17.onnx -os 17
  soc4onnx -if layer_norm_17.onnx -of layer_norm_11.onnx -os 11    LayerNormalization becomes simple operators
  soc4onnx -if model.onnx -of model_13.onnx -os 13 --force         only the number changes
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ._command import COMMON, INPUT, OUTPUT, arg, command, flag
from ._downgrade import downgrade
from ._edit import Common, Edit
from ._graphs import initializers, inputs, nbytes, remove, sweep
from ._lazy import onnx
from ._names import ToolError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from typing_extensions import Unpack


def change(
    opset: int,
    input_onnx_file_path: str = "",
    output_onnx_file_path: str = "",
    onnx_graph: ModelProto | None = None,
    non_verbose: bool = False,
    *,
    force: bool = False,
    **common: Unpack[Common],
) -> ModelProto:
    """Bring the default domain to ``opset``; with ``force`` change the number and no operator.  Returns the new model.

    :raises ToolError: an opset that does not exist, or nodes that it cannot express.
    """
    with Edit(__name__, input_onnx_file_path, onnx_graph, output_onnx_file_path, non_verbose, **common) as job:
        now, newest = job.opset(), onnx.defs.onnx_opset_version()
        if not 1 <= opset <= newest:
            raise ToolError(f"-os: there is no opset {opset}: the newest is {newest}", str(opset))
        if force:
            job.log.warning("no operator was converted (--force)")
        elif opset != now:
            changed = (upgrade if opset > now else downgrade)(job.model, now, opset)
            for op, count in sorted(changed.items()):
                job.log.info(f"rewrote {count} {op}")
            job.same_outputs()
        for entry in job.model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = opset
        oldest = onnx.helper.find_min_ir_version_for(job.model.opset_import, ignore_unknown=True)
        if job.model.ir_version < oldest:
            job.log.info(f"IR version {job.model.ir_version} to {oldest}, which opset {opset} needs")
            job.model.ir_version = oldest
        job.log.info(f"opset {now} to {opset}")
        return job.model


def upgrade(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """onnx's converter, on a copy without weights; only nodes that it changed are replaced."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.functions[:]
    held = {n: t for n, t in initializers(copy.graph).items() if nbytes(t) >= 1024 and n not in inputs(copy.graph)}
    remove(copy.graph.initializer, lambda t: t.name in held)
    listed = {v.name for v in copy.graph.input}
    for name, tensor in held.items():
        if name not in listed:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    try:
        made = onnx.version_converter.convert_version(copy, opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        said = str(error).strip().rpartition("failed: ")[2].splitlines()[0]
        raise ToolError(f"opset {now} cannot become {opset}: {said} (--force changes only the number)") from error
    old = {tuple(n.output): n for n in model.graph.node}
    nodes, changed = [], Counter[str]()
    for node in made.graph.node:
        before = old.get(tuple(node.output))
        if before is not None and _same(before, node):
            nodes.append(before)
        else:
            if node.op_type == "Resize" and now < 11:  # the converter leaves the modes to their new defaults
                modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in modes.items())
            changed[node.op_type] += 1
            if before is not None and not node.name:
                node.name = before.name
            nodes.append(node)
    known = initializers(model.graph)
    model.graph.initializer.extend(t for n, t in initializers(made.graph).items() if n not in known)
    fixed = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(fixed)
    sweep(model.graph)
    return changed


def _same(a: NodeProto, b: NodeProto) -> bool:
    """The same but for documentation."""
    if (a.op_type, list(a.input)) != (b.op_type, list(b.input)) or len(a.attribute) != len(b.attribute):
        return False
    pair = [sorted(n.attribute, key=lambda x: x.name) for n in (a, b)]
    return all(_bare(x) == _bare(y) for x, y in zip(*pair, strict=True))


def _bare(attribute: onnx.AttributeProto) -> bytes:
    own = onnx.AttributeProto.FromString(attribute.SerializeToString())
    own.ClearField("doc_string")
    return bytes(own.SerializeToString(deterministic=True))


main = command(
    change,
    INPUT,
    OUTPUT,
    arg("-os --opset", "the opset the model is to have", required=True, type=int),
    flag("--force", "change only the number (the result is still checked)"),
    *COMMON,
)
