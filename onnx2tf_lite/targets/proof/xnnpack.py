"""LiteRT's interpreter as it comes: which operators XNNPACK takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Evidence

if TYPE_CHECKING:
    from ...validation.files.flatfile import FlatFile


def ask(device: str, file: FlatFile) -> Evidence:
    """In a child.  An operator is delegated where it lies between the operands and the results of a delegated part."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(file.path))
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        return Evidence(failed=f"LiteRT: {' '.join(str(error).split())}")
    count = len(file.operators)
    parts = [op for op in interpreter._get_ops_details()[count:] if op["op_name"] == "DELEGATE"]
    inside: set[int] = set()
    for part in parts:
        outer, queue = set(map(int, part["inputs"])), [int(t) for t in part["outputs"]]
        while queue:
            op = file.producers.get(queue.pop())
            if op is not None and op.index not in inside:
                inside.add(op.index)
                queue += [t for t in op.inputs if t not in outer]
    left = {(0, op.index): "XNNPACK does not take it" for op in file.operators if op.index not in inside}
    return Evidence(left=left, bodies=False, figures={"parts": len(parts)})
