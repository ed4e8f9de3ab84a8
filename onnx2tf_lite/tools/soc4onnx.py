"""Change the opset of a model, and its operators with it.

Operators whose form changed between the two opsets are rewritten, and no others: attributes become inputs or inputs
attributes, other meanings are written out.  Downwards, an operator that the older opset does not have is replaced by
ONNX's definition of it in simpler ones.  What cannot be expressed is an error that lists the nodes.  Bodies and
functions are converted too; imports of other domains and metadata stay as they are.

examples:
  soc4onnx -if model.onnx -of model_17.onnx -os 17
  soc4onnx -if layer_norm_17.onnx -of layer_norm_11.onnx -os 11    LayerNormalization becomes simple operators
  soc4onnx -if model.onnx -of model_13.onnx -os 13 --force         only the number changes
"""

from __future__ import annotations

from ..commands import command, flag, option
from ..errors import ToolError
from ..model.lazy import onnx
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT


@edit("* MODEL OUTPUT GRAPH QUIET")
def change(job: Edit, opset: int, *, force: bool = False) -> onnx.ModelProto:
    """Bring the default domain to ``opset``; with ``force`` change the number and no operator.  Returns the new model.

    :raises ToolError: an opset that does not exist, or nodes that it cannot express.
    """
    now, newest = job.opset(), onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise ToolError(f"-os: there is no opset {opset}: the newest is {newest}", str(opset))
    if force:
        job.log.warning("no operator was converted (--force)")
    elif opset != now:
        from ..model.convert import convert

        changed = convert(job.model, opset)
        for op, number in sorted(changed.items()):
            job.log.info(f"rewrote {number} {op}")
        job.same_outputs()
    for home in (job.model, *job.model.functions):
        for entry in home.opset_import:
            if not entry.domain:
                entry.version = opset
    oldest = onnx.helper.find_min_ir_version_for(job.model.opset_import, ignore_unknown=True)
    if job.model.ir_version < oldest:
        job.log.info(f"IR version {job.model.ir_version} to {oldest}, which opset {opset} needs")
        job.model.ir_version = oldest
    job.log.info(f"opset {now} to {opset}")
    return job.model


main = command(
    change,
    INPUT,
    OUTPUT,
    option("-os --opset N", "the opset the model is to have", required=True, type=int),
    flag("--force", "change only the number (the result is still checked)"),
    *COMMON,
)
