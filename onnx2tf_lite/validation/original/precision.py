"""What rounding takes from a model, given back: 16-bit floats, byte products that saturate.

The functions that change a model change the message that they are given.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...errors import ToolError
from ...model.edit import graphs as bodies
from ...model.inference import infer_shapes
from ...model.surgeon import HALF_FLOATS, TYPE_ATTRIBUTES
from .nodes import graphs

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


def _name(dtype: npt.DTypeLike) -> str:
    return "" if dtype is None or isinstance(dtype, int) else np.dtype(dtype).name


def widen(model: ModelProto) -> None:
    """float32 in the place of float16 and bfloat16: what the model means, without a rounding after each operator."""
    _recast(model, HALF_FLOATS, TensorProto.FLOAT)


def deepen(model: ModelProto) -> None:
    """float64 in the place of float32: what the model means, without what long sums lose in 24 bits.  Operators that
    ONNX Runtime has in float32 alone stay as they are."""
    floats, alone = singles(model), in_float32()
    _recast(model, {TensorProto.FLOAT}, TensorProto.DOUBLE)
    for graph in graphs(model.graph):
        nodes = list[NodeProto]()
        for node in graph.node:
            name, own = (
                next(filter(None, node.output), ""),
                (node.domain.removeprefix("ai.onnx"), node.op_type) in alone,
            )
            for operand, read in enumerate(node.input if own else ()):
                if read in floats:
                    node.input[operand] = f"{name}/single{operand}"
                    nodes.append(helper.make_node("Cast", [read], [node.input[operand]], to=TensorProto.FLOAT))
            nodes.append(node)
            for number, made in enumerate(node.output if own else ()):
                if made in floats:
                    node.output[number] = f"{made}/single"
                    nodes.append(helper.make_node("Cast", [node.output[number]], [made], to=TensorProto.DOUBLE))
        del graph.node[:]
        graph.node.extend(nodes)


def singles(model: ModelProto) -> set[str]:
    """The tensors of float32; none where the model contradicts itself, and nothing is known of its types."""
    try:
        inferred = infer_shapes(model, data=False)
    except ToolError:
        return set()
    infos = [i for g in graphs(inferred.graph) for i in (*g.input, *g.value_info, *g.output)]
    found = {i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT}
    held = [t for g in graphs(inferred.graph) for t in g.initializer]
    return found | {t.name for t in held if t.data_type == TensorProto.FLOAT}


@cache
def in_float32() -> frozenset[tuple[str, str]]:
    """Domain and type of the operators that ONNX Runtime has in float32 and not in float64."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    held: dict[str, set[tuple[str, str]]] = {"tensor(float)": set(), "tensor(double)": set()}
    for kernel in get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider":
            for kind in held.keys() & {kind for kinds in kernel.type_constraints.values() for kind in kinds}:
                held[kind].add((kernel.domain, kernel.op_name))
    return frozenset(held["tensor(float)"] - held["tensor(double)"])


def _recast(model: ModelProto, kinds: Collection[int], to: int) -> None:
    for graph in graphs(model.graph):
        for info in [*graph.input, *graph.output, *graph.value_info]:
            if info.type.tensor_type.elem_type in kinds:
                info.type.tensor_type.elem_type = to
        held = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
        for tensor in [*graph.initializer, *held]:
            if tensor.data_type in kinds:
                array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(to))
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        for node in graph.node:
            for said in node.attribute:
                if said.name in TYPE_ATTRIBUTES and said.i in kinds:
                    said.i = to


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
