"""Build the models of docs/tuning.md: `python examples/tuning/make_models.py [FOLDER]`.

The article exports its LayerNormalization from PyTorch; these are the same graphs, written down node by node, so that
nothing but onnx is needed to make them.  The PyTorch lines are in docs/tuning.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

N, C, H, W = 20, 5, 10, 10
Ends = Mapping[str, Sequence[Any]]


def model(nodes: Sequence[NodeProto], inputs: Ends, outputs: Ends, opset: int, **held: np.ndarray) -> ModelProto:
    """A model of float32 tensors with initializers by name."""

    def infos(ends: Ends) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()]

    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]
    graph = helper.make_graph(nodes, "example", infos(inputs), infos(outputs), constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    made.producer_name = "examples/tuning/make_models.py"
    return made


def constant(name: str, value: Any) -> NodeProto:
    return helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(np.asarray(value)))


def layer_normalization(opset: int) -> ModelProto:
    """(x - mean) / sqrt(var + 1e-5) * 0.1 + 0.2 over [C,H,W]: 11 operators at opset 11, one at 17."""
    x, y = "LayerNormalization2D_input", "LayerNormalization2D_output"
    held = {name: np.full((C, H, W), v, np.float32) for name, v in (("weight", 0.1), ("bias", 0.2))}
    axes = [-3, -2, -1]
    if opset >= 17:
        nodes = [helper.make_node("LayerNormalization", [x, *held], [y], "LayerNormalization", axis=-3, epsilon=1e-5)]
    else:
        nodes = [
            helper.make_node("ReduceMean", [x], ["mean"], "ReduceMean_0", axes=axes),
            helper.make_node("Sub", [x, "mean"], ["centred"], "Sub_1"),
            constant("two", np.float32(2)),
            helper.make_node("Pow", ["centred", "two"], ["squares"], "Pow_3"),
            helper.make_node("ReduceMean", ["squares"], ["variance"], "ReduceMean_4", axes=axes),
            constant("epsilon", np.float32(1e-5)),
            helper.make_node("Add", ["variance", "epsilon"], ["shifted"], "Add_6"),
            helper.make_node("Sqrt", ["shifted"], ["deviation"], "Sqrt_7"),
            helper.make_node("Div", ["centred", "deviation"], ["normal"], "Div_8"),
            helper.make_node("Mul", ["normal", "weight"], ["scaled"], "Mul_9"),
            helper.make_node("Add", ["scaled", "bias"], [y], "Add_10"),
        ]
    return model(nodes, {x: (N, C, H, W)}, {y: (N, C, H, W)}, opset, **held)


def conv_bn_relu_bn() -> ModelProto:
    """A BatchNormalization behind a Conv, which folds into it, and one behind a Relu, which does not."""
    rng = np.random.default_rng(0)
    held = {"w": rng.standard_normal((6, 3, 3, 3)).astype(np.float32)}
    for k in (0, 1):
        for name, low in (("scale", 0.5), ("bias", -1), ("mean", -1), ("var", 0.5)):
            held[f"{name}{k}"] = rng.uniform(low, 2, 6).astype(np.float32)
    statistics = [[f"{name}{k}" for name in ("scale", "bias", "mean", "var")] for k in (0, 1)]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", *statistics[0]], ["b"], "bn0"),
        helper.make_node("Relu", ["b"], ["r"], "relu"),
        helper.make_node("BatchNormalization", ["r", *statistics[1]], ["y"], "bn1"),
    ]
    return model(nodes, {"x": (1, 3, 16, 16)}, {"y": (1, 6, 16, 16)}, 13, **held)


def cnn() -> ModelProto:
    """A small classifier: two convolutions with a residual connection, pooling, a dense layer."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3), "w2": (8, 4), "b2": (4,)}
    held = {name: (rng.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "conv0", pads=[1, 1, 1, 1], doc_string="made at model.py:7"),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c1", "r0"], ["a0"], "add0"),
        helper.make_node("Relu", ["a0"], ["r1"], ""),
        helper.make_node("GlobalAveragePool", ["r1"], ["g0"], "gap0"),
        helper.make_node("Reshape", ["g0", "flat"], ["f0"], "reshape0"),
        helper.make_node("Gemm", ["f0", "w2", "b2"], ["y"], "gemm0"),
    ]
    return model(nodes, {"x": (1, 3, 16, 16)}, {"y": (1, 4)}, 13, **held, flat=np.array([1, 8], np.int64))


def equal_weights() -> ModelProto:
    """Three dense layers that an exporter gave a copy each of the same weight."""
    w = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    nodes = [helper.make_node("MatMul", [f"t{k}", f"w{k}"], [f"t{k + 1}"], f"matmul{k}") for k in range(3)]
    for node, old, new in ((nodes[0], "t0", "x"), (nodes[2], "t3", "y")):
        for names in (node.input, node.output):
            names[:] = [new if n == old else n for n in names]
    return model(nodes, {"x": (4, 16)}, {"y": (4, 16)}, 13, w0=w, w1=w, w2=w)


def resize_sizes(height: Any = 20, width: Any = 30) -> ModelProto:
    """The sizes of a Resize as exporters compute them: Shape, Slice, Concat."""
    i64 = {name: np.array([v], np.int64) for name, v in (("zero", 0), ("two", 2), ("four", 4), ("twice", 2))}
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Slice", ["shape", "zero", "two"], ["first"], "slice_0"),
        helper.make_node("Slice", ["shape", "two", "four"], ["last"], "slice_1"),
        helper.make_node("Mul", ["last", "twice"], ["larger"], "mul"),
        helper.make_node("Concat", ["first", "larger"], ["sizes"], "concat", axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], "resize", mode="linear"),
    ]
    wanted = [d * 2 if isinstance(d, int) else f"{d}_2" for d in (height, width)]
    return model(nodes, {"x": (1, 3, height, width)}, {"y": (1, 3, *wanted)}, 13, **i64)


def meshgrid_gather(height: int = 320, width: int = 180, depth: int = 16, columns: int = 320) -> ModelProto:
    """GatherElements with an index that a Tile made of a meshgrid: folded, [1,D,H,W,K] int64 is 2.2 GB."""
    held = {
        "index": (np.arange(columns, dtype=np.int64) * 7 % columns).reshape(1, 1, 1, 1, columns),
        "repeats": np.array([1, depth, height, width, 1], np.int64),
        "axes": np.array([1, 2, 3, 4], np.int64),
    }
    nodes = [
        helper.make_node("Tile", ["index", "repeats"], ["grid"], "tile"),
        helper.make_node("GatherElements", ["x", "grid"], ["picked"], "gather", axis=4),
        helper.make_node("ReduceSum", ["picked", "axes"], ["y"], "sum", keepdims=0),
    ]
    return model(nodes, {"x": (1, depth, height, width, columns)}, {"y": (1,)}, 13, **held)


def global_lp_pool() -> ModelProto:
    """What the article builds with graphsurgeon, and with sog4onnx without code."""
    node = helper.make_node("GlobalLpPool", ["X"], ["Y"], "GlobalLpPool1", p=2)
    return model([node], {"X": (1, 3, 5, 5)}, {"Y": (1, 3, 1, 1)}, 11)


MODELS = {
    "LayerNormalization2D_11": lambda: layer_normalization(11),
    "LayerNormalization2D_17": lambda: layer_normalization(17),
    "cnn": cnn,
    "equal_weights": equal_weights,
    "conv_bn_relu_bn": conv_bn_relu_bn,
    "resize_sizes": resize_sizes,
    "meshgrid_gather": meshgrid_gather,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        made = make()
        onnx.checker.check_model(made, full_check=True)
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
        print(f"{folder / name}.onnx: {made.ByteSize()} bytes, {len(made.graph.node)} nodes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
