"""What means nothing, and ONNX Runtime refuses a model for."""

from __future__ import annotations

from onnx import ModelProto

from ...model.walk import is_function, scopes, sweep

IR_VERSION = 10  # what later ones added says nothing of what a model computes


def tidy(model: ModelProto) -> None:
    """Leave out of the message what a model is not computed from: names of nodes, which may be there twice; declared
    types of all but inputs, which may contradict the nodes; nodes that no output needs; domains that no node is of."""
    model.ir_version = min(model.ir_version, IR_VERSION)
    everywhere = scopes(model)
    for scope in reversed(everywhere):  # bodies first: what only they need goes with them
        sweep(scope.graph)
        for node in scope.graph.node:
            node.ClearField("name")
        if not is_function(scope.graph):
            del scope.graph.value_info[:]
            for result in scope.graph.output:
                result.ClearField("type")
    used = {node.domain for scope in everywhere for node in scope.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in {"", "ai.onnx", *used}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
