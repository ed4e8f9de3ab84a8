"""What rounding takes from a model, given back: 16-bit floats, byte products that saturate, quantisation.

The functions that change a model change the message that they are given.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..model.edit import graphs as bodies
from ..model.surgeon import HALF_FLOATS, TYPE_ATTRIBUTES
from .restate import attribute, changed, graphs

HALVES = {"float16", "bfloat16"}
STORED = {"Cast", "DequantizeLinear", "Identity"}  # operators that compute nothing with their operand

# ----------------------------------------------------------------------------------------------- 16-bit floats


def computes_in_halves(graph: gs.Graph) -> bool:
    """True where a float16 or bfloat16 tensor is made or computed with, and not only stored."""
    for node in (n for g in bodies(graph) for n in g.nodes):
        if any(k in TYPE_ATTRIBUTES and v in HALF_FLOATS for k, v in node.attrs.items()):
            return True
        if node.op not in STORED and any(_name(t.dtype) in HALVES for t in node.inputs):
            return True
    return False


def _name(dtype: Any) -> str:
    return "" if dtype is None or isinstance(dtype, int) else np.dtype(dtype).name


def widen(model: ModelProto) -> None:
    """float32 in the place of float16 and bfloat16: what the model means, without a rounding after each operator."""
    for graph in graphs(model.graph):
        for info in [*graph.input, *graph.output, *graph.value_info]:
            if info.type.tensor_type.elem_type in HALF_FLOATS:
                info.type.tensor_type.elem_type = TensorProto.FLOAT
        held = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
        for tensor in [*graph.initializer, *held]:
            if tensor.data_type in HALF_FLOATS:
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
        for node in graph.node:
            for said in node.attribute:
                if said.name in TYPE_ATTRIBUTES and said.i in HALF_FLOATS:
                    said.i = TensorProto.FLOAT


# ----------------------------------------------------------------------------------------------- 8-bit integers

#: operator -> operands that are signed 8-bit weights, each with that of its zero point (-1: the operator has none)
WEIGHTS: dict[str, tuple[tuple[int, int], ...]] = {
    "MatMulInteger": ((1, 3),),
    "ConvInteger": ((1, 3),),
    "QLinearMatMul": ((3, 5),),
    "QLinearConv": ((3, 5),),
    "QGemm": ((3, 5),),
    "MatMulIntegerToFloat": ((1, 5),),
    "DynamicQuantizeMatMul": ((1, 3),),
}


def multiplies_bytes(graph: gs.Graph) -> bool:
    """Operators whose kernels multiply unsigned by signed bytes."""
    return any(n.op in WEIGHTS for g in bodies(graph) for n in g.nodes)


@cache
def saturates() -> bool:
    """Does ONNX Runtime lose sums of products of bytes on this machine?  A product shows it whose pairs exceed 16 bits:
    255 * 127 * 2 is 64770, which the instructions without a wide accumulator cut to 32767."""
    import onnxruntime as ort

    rows, depth, columns = 4, 64, 16
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, depth])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])
    weights = numpy_helper.from_array(np.full((depth, columns), 127, np.int8), "w")
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "probe", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.full((rows, depth), 255, np.uint8)})
    return bool((result != 255 * 127 * depth).any())


def unsign(model: ModelProto) -> None:
    """Signed 8-bit weights as unsigned ones: 128 more, like their zero points.  The products are the same, and those of
    two unsigned bytes saturate nowhere."""
    for graph in graphs(model.graph):
        held = {t.name: t for t in graph.initializer}
        fresh: dict[str, TensorProto] = {}
        for node in graph.node:
            for operand, zero in WEIGHTS.get(node.op_type, ()):
                weights = held.get(node.input[operand]) if operand < len(node.input) else None
                given = node.input[zero] if zero < len(node.input) else ""
                if weights is None or weights.data_type != TensorProto.INT8 or (given and given not in held):
                    continue
                node.input.extend([""] * (zero + 1 - len(node.input)))
                node.input[operand] = _moved(fresh, weights)
                node.input[zero] = _moved(fresh, held[given]) if given else _moved(fresh, _zero())
        graph.initializer.extend(fresh.values())


def _zero() -> TensorProto:
    return numpy_helper.from_array(np.zeros((), np.int8), "onnx2tf.zero")


def _moved(fresh: dict[str, TensorProto], tensor: TensorProto) -> str:
    name = f"{tensor.name}.unsigned"
    if name not in fresh:
        moved = (numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
        fresh[name] = numpy_helper.from_array(moved, name)
    return name


# ----------------------------------------------------------------------------------------------- quantisation taken out

#: operator -> its float counterpart, and the place of its bias (0: it has none)
FLOAT = {"QLinearConv": ("Conv", 8), "QLinearMatMul": ("MatMul", 0), "QGemm": ("Gemm", 6)}
#: operator -> operand with the scale of its quantised result; the next one is the zero point
RESULT_SCALE = {"QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7}
QUANTISED = re.compile("Q[A-Z].*|.*Integer.*|(De|Dynamic)?[Qq]uantize.*")


def unquantise(model: ModelProto) -> bool:
    """The model without its quantisation: weights as the real numbers that they stand for, everything else unrounded.

    What it and the model differ by is the quantisation noise of the model itself.  False (and the message is of no use)
    where an operator quantises in a way that is not known here.
    """
    for graph in graphs(model.graph):
        held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        held |= {n.output[0]: numpy_helper.to_array(a.t) for n in graph.node for a in n.attribute if a.name == "value"}
        fresh: dict[str, np.ndarray] = {}
        nodes: list[NodeProto] = []
        for node in graph.node:
            if not QUANTISED.fullmatch(node.op_type):
                nodes.append(node)
                continue
            made = _unquantised(node, held, fresh)
            if made is None:
                return False
            nodes += made
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in fresh.items())
    del model.graph.value_info[:]
    return True


def _unquantised(node: NodeProto, held: dict[str, np.ndarray], fresh: dict[str, np.ndarray]) -> list[NodeProto] | None:
    name = node.output[0]
    if node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and node.input[0] not in held):
        return [helper.make_node("Identity", [node.input[0]], [name])]
    operands = [held.get(n) for n in node.input]
    if node.op_type == "DequantizeLinear":
        known = [o for o in operands if o is not None]
        if len(known) < len(operands):
            return None
        fresh[f"{name}/real"] = _real(attribute(node, "axis", 1), *known)
        return [helper.make_node("Identity", [f"{name}/real"], [name])]
    if node.op_type not in FLOAT:
        return None
    weights, scale, zero = operands[3:6]
    if weights is None or scale is None or operands[1] is None:
        return None
    by_rows = node.op_type == "QLinearConv" or bool(attribute(node, "transB", 0))
    fresh[f"{name}/real"] = _real(0 if by_rows else -1, weights, scale, zero)
    inputs = [node.input[0], f"{name}/real"]
    operator, bias = FLOAT[node.op_type]
    if bias and len(node.input) > bias and node.input[bias]:
        fresh[f"{name}/bias"] = (operands[bias] * np.ravel(scale) * operands[1]).astype(np.float32)
        inputs.append(f"{name}/bias")
    made = changed(node, set())
    made.op_type, made.domain = operator, ""
    del made.input[:]
    made.input.extend(inputs)
    return [made]


def _real(axis: int, stored: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    """The numbers that integers stand for, by one scale or one per slice of ``axis``."""

    def along(values: np.ndarray) -> np.ndarray:
        shape = [1] * stored.ndim
        if values.size > 1:
            shape[axis] = -1
        return values.reshape(shape if values.size > 1 else ())

    shifted = stored.astype(np.float32) - (0 if zero is None else along(zero.astype(np.float32)))
    return np.asarray(shifted * along(scale), np.float32)
