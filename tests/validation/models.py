"""Small models in ONNX's text form, with seeded weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from onnx2tf_lite import convert, passes, validation
from onnx2tf_lite.validation.original.nodes import graphs
from onnx2tf_lite.validation.original.reference import Reference

HEAD = '<ir_version: 10, opset_import: ["": 17]>\n'


def model(text: str, seed: int = 0, **weights: tuple[int, ...] | np.ndarray) -> onnx.ModelProto:
    """``text`` is a graph; ``weights`` are initialisers by name, an array or normal numbers of a shape."""
    proto = parser.parse_model(HEAD + text)
    rng = np.random.default_rng(seed)
    for name, given in weights.items():
        array = given if isinstance(given, np.ndarray) else _normal(rng, given)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(proto)
    return proto


def own(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model whose bodies have the weights that they read as their own."""
    for graph in list(graphs(proto.graph))[1:]:
        read = {n for node in graph.node for n in node.input}
        graph.initializer.extend(t for t in proto.graph.initializer if t.name in read)
    del proto.graph.initializer[:]
    onnx.checker.check_model(proto)
    return proto


def reference(proto: onnx.ModelProto) -> Reference:
    return Reference.of(proto, passes.load(proto))


def verdict(proto: onnx.ModelProto) -> tuple[int, validation.Report]:
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True)
    assert result.check is not None
    return result.exit_code, result.check


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))).astype(np.float32)


def cnn(batch: str = "N") -> onnx.ModelProto:
    """Three convolutions, pooling and a linear layer; its nodes are called after their results."""
    proto = model(
        f"""
        cnn (float[{batch},3,12,10] image) => (float[{batch},5] scores) {{
          c1 = Conv<pads=[1,1,1,1]>(image, w1, b1)
          r1 = Relu(c1)
          c2 = Conv<strides=[2,2], pads=[1,1,1,1]>(r1, w2)
          s2 = Sigmoid(c2)
          c3 = Conv(s2, w3)
          t3 = Tanh(c3)
          pool = GlobalAveragePool(t3)
          flat = Flatten(pool)
          scores = Gemm<transB=1>(flat, k)
        }}""",
        w1=(8, 3, 3, 3), b1=(8,), w2=(12, 8, 3, 3), w3=(6, 12, 1, 1), k=(5, 6),
    )  # fmt: skip
    for node in proto.graph.node:
        node.name = f"node_{node.output[0]}"
    return proto
