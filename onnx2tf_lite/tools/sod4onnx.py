"""Delete graph outputs, and every node and constant that only served them.

At least one output remains.  Inputs stay, used or not, unless --prune-inputs is given.

examples:
  sod4onnx -if model.onnx -on output1 output3 -of small.onnx
  sod4onnx -if model.onnx -on logits --keep -of small.onnx        keep this one, delete the others
  sod4onnx -if model.onnx -on 'debug*' -of - | ssc4onnx -if -
"""

from __future__ import annotations

from collections.abc import Sequence

from ..commands import command, flag, option
from ..errors import ToolError
from ..model.lazy import onnx
from ..model.walk import dead, outputs, remove, sweep
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT


@edit("MODEL GRAPH output_op_names OUTPUT QUIET")
def outputs_delete(
    job: Edit, output_op_names: Sequence[str] = (), *, keep: bool = False, prune_inputs: bool = False
) -> onnx.ModelProto:
    """Delete the named outputs (names or globs), with ``keep`` all others; returns the new model."""
    graph = job.model.graph
    if not output_op_names:
        raise ToolError("-on: which outputs? give their names")
    named = {name for _, name in job.match("graph output", output_op_names, "-on")}
    gone = [n for n in outputs(graph) if (n in named) != keep]
    if len(gone) == len(graph.output):
        raise ToolError(f"-on: nothing would remain: the model's outputs are {', '.join(outputs(graph))}")
    unneeded = dead(graph)
    remove(graph.output, lambda v: v.name in gone)
    job.log.info(f"deleted output(s): {', '.join(gone) or 'none'}")
    job.log.info(f"removed with them: {sweep(graph, unneeded, prune_inputs)}")
    return job.model


main = command(
    outputs_delete,
    INPUT,
    OUTPUT,
    option("-on --output_op_names NAME...", "graph outputs to delete (globs too)", required=True),
    flag("--keep", "delete all outputs except these"),
    flag("--prune-inputs", "delete inputs that nothing reads any more"),
    *COMMON,
)
