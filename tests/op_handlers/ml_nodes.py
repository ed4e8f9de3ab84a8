"""One-node models of ai.onnx.ml against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from tests.harness import check_model
from tests.op_handlers.nodes import IN_PROCESS

TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(int64)": TensorProto.INT64,
    "tensor(string)": TensorProto.STRING,
}


def ml_model(op_type: str, inputs: list[np.ndarray], outputs: int = 1, version: int = 1, **attrs: Any) -> ModelProto:
    """The node on inputs x0, x1, ... of N rows; ONNX Runtime says what its outputs are."""
    import onnxruntime as ort

    shapes = [["N" if len(a) == len(inputs[0]) else len(a), *a.shape[1:]] for a in inputs]
    infos = [
        helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(a.dtype), shape)
        for i, (a, shape) in enumerate(zip(inputs, shapes, strict=True))
    ]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, [v.name for v in infos], results, domain="ai.onnx.ml", **attrs)
    graph = helper.make_graph([node], op_type, infos, [ValueInfoProto(name=n) for n in results])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = session.run(results, dict(zip((v.name for v in infos), inputs, strict=True)))
    for value, found, array in zip(model.graph.output, session.get_outputs(), arrays, strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TYPES[found.type], ["N", *array.shape[1:]]))
    return model


@IN_PROCESS
def check_ml(
    op_type: str, inputs: list[np.ndarray], outputs: int = 1, version: int = 1, atol: float = 1e-6, **attrs: Any
) -> None:
    feeds = {f"x{i}": a for i, a in enumerate(inputs)}
    check_model(ml_model(op_type, inputs, outputs, version, **attrs), feeds, rtol=1e-5, atol=atol)
