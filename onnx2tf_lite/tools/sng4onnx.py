"""Give a name to every node that has none, in bodies and functions too.

Only names of nodes change, nothing else.  A name that a second node has as well is replaced too, so that afterwards
every node can be addressed.  Running the tool again changes nothing.

examples:
  sng4onnx -if old.onnx -of named.onnx                        sng_Conv_0, sng_Relu_1, ...
  sng4onnx -if old.onnx -of named.onnx --scheme output        named after the first result: stable under edits
  sng4onnx -if old.onnx -of named.onnx --scheme scope         /enc/MatMul_output_0 -> /enc/MatMul
"""

from __future__ import annotations

import re
from itertools import count

from ..commands import command, option, parameter
from ..errors import ToolError
from ..model.lazy import onnx
from ..model.names import fresh
from ..model.walk import scopes
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT

SCHEMES = ("type", "output", "scope")


@edit("MODEL GRAPH OUTPUT * QUIET")
def generate(job: Edit, has_external_data: bool = False, *, scheme: str = "type") -> onnx.ModelProto:
    """Name the nodes without a name, and those that share one; returns the new model."""
    if scheme not in SCHEMES:
        raise ToolError(f"--scheme: {scheme!r} is none of {', '.join(SCHEMES)}", scheme)
    nodes = [node for scope in scopes(job.model) for node in scope.graph.node]
    taken: set[str] = {node.name for node in nodes}
    seen: set[str] = {""}
    numbers = count()
    renamed = 0
    for node in nodes:
        if node.name in seen:
            node.name = fresh(node.name, taken) if node.name else _name(node, scheme, numbers, taken)
            renamed += 1
        seen.add(node.name)
    job.log.info(f"named {renamed} of {len(nodes)} nodes")
    job.same_outputs()
    return job.model


def _name(node: onnx.NodeProto, scheme: str, numbers: count[int], taken: set[str]) -> str:
    first = next((o for o in node.output if o), "")
    if scheme == "type" or not first:
        wanted = next(n for i in numbers if (n := f"sng_{node.op_type}_{i}") not in taken)
    else:
        wanted = first if scheme == "output" else re.sub(r"(_output(_\d+)?|:\d+)$", "", first)
    return fresh(wanted, taken)


main = command(
    generate,
    INPUT,
    OUTPUT,
    parameter("has_external_data", "no effect: side files are found without being told of"),
    option("--scheme", "what names are made of (default: type)", choices=SCHEMES, default="type"),
    *COMMON,
)
