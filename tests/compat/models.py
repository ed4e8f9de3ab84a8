"""Stand-ins for the models that programs convert: the same edges, next to nothing inside."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def detector(name: str = "images", batch: int | str = 1, size: int | str = 32) -> onnx.ModelProto:
    """images[batch,3,size,size] to output0[batch,6,boxes], as detectors are exported."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((6, 3, 8, 8)).astype(np.float32) / 8
    nodes = [
        helper.make_node("Conv", [name, "w"], ["map"], "conv", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Sigmoid", ["map"], ["probabilities"], "sigmoid"),
        helper.make_node("Reshape", ["probabilities", "shape"], ["output0"], "flatten"),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([0, 6, -1]), "shape")]
    boxes = "boxes" if isinstance(size, str) else size * size // 64
    return _model(nodes, {name: [batch, 3, size, size]}, {"output0": [batch, 6, boxes]}, constants)


def segmenter() -> onnx.ModelProto:
    """input[batch,3,16,16] to mask[batch,2,16,16]."""
    weights = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32) / 4
    nodes = [helper.make_node("Conv", ["input", "w"], ["mask"], "conv", pads=[1, 1, 1, 1])]
    constants = [numpy_helper.from_array(weights, "w")]
    return _model(nodes, {"input": ["N", 3, 16, 16]}, {"mask": ["N", 2, 16, 16]}, constants)


def speech() -> onnx.ModelProto:
    """input[batch,samples] to score[batch,1]."""
    nodes = [helper.make_node("ReduceMean", ["input", "axis"], ["score"], "mean")]
    axis = numpy_helper.from_array(np.array([1]), "axis")
    return _model(nodes, {"input": ["batch", "samples"]}, {"score": ["batch", 1]}, [axis])


def scorer() -> onnx.ModelProto:
    """data[batch,4,5] to scores[batch,4,4]: a token model, whose tokens onnx2tf would turn round."""
    nodes = [
        helper.make_node("Transpose", ["data"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["data", "turned"], ["scores"], "product"),
    ]
    return _model(nodes, {"data": ["batch", 4, 5]}, {"scores": ["batch", 4, 4]}, [])


def _model(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[int | str]], outputs: dict[str, list[int | str]],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:  # fmt: skip
    given, made = ([helper.make_tensor_value_info(n, FLOAT, s) for n, s in ends.items()] for ends in (inputs, outputs))
    graph = helper.make_graph(nodes, "stand-in", given, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
