"""Operations on stored integers between QuantizeLinear and DequantizeLinear: exactly what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import harness
from tests.op_handlers.nodes import IN_PROCESS

F32, U8 = TensorProto.FLOAT, TensorProto.UINT8
CONSTANTS: dict[str, Any] = {
    "s": np.float32(0.1), "z": np.uint8(3), "s2": np.float32(0.2), "z2": np.uint8(30), "five": np.uint8(5),
    "starts": np.array([0, 0, 1, 0]), "ends": np.array([1, 3, 3, 3]), "pads": np.array([0, 0, 1, 0, 0, 0, 1, 2]),
    "shape": np.array([1, 3, 24, 1]), "index": np.array([2, 0]),
}  # fmt: skip
# nodes from "q" to "t"
MOVES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "transpose": ("Transpose", ["q"], {"perm": [0, 2, 3, 1]}),
    "reshape": ("Reshape", ["q", "shape"], {}),
    "slice": ("Slice", ["q", "starts", "ends"], {}),
    "gather": ("Gather", ["q", "index"], {"axis": 3}),
    "concat": ("Concat", ["q", "q"], {"axis": 1}),
    "max_pool": ("MaxPool", ["q"], {"kernel_shape": [2, 2]}),
    "padded_max_pool": ("MaxPool", ["q"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "pad_with_zero": ("Pad", ["q", "pads"], {}),
    "pad": ("Pad", ["q", "pads", "five"], {}),
    "max": ("Max", ["q", "five"], {}),
    "nothing": ("Identity", ["q"], {}),
}


def model(move: str, stored_input: bool, back: Sequence[str]) -> onnx.ModelProto:
    op, inputs, attrs = MOVES[move]
    first = (
        helper.make_node("Identity", ["x"], ["q"])
        if stored_input
        else helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    )
    nodes = [first, helper.make_node(op, inputs, ["t"], **attrs)]
    ends = []
    for i, parameters in enumerate(back):
        nodes.append(helper.make_node("DequantizeLinear", ["t", *parameters.split()], [f"y{i}"]))
        ends.append(helper.make_tensor_value_info(f"y{i}", F32, [None] * 4))
    if not back:
        ends.append(helper.make_tensor_value_info("t", U8, [None] * 4))
    given = helper.make_tensor_value_info("x", U8 if stored_input else F32, [1, 3, 4, 6])
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "stored", [given], ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


BACK = {"same": ["s z"], "others": ["s2 z2"], "both": ["s z", "s2 z2"], "stored": []}


@IN_PROCESS
@pytest.mark.parametrize("kernels", [False, True], ids=["real", "integer"])
@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("stored_input", [False, True], ids=["quantised", "input"])
@pytest.mark.parametrize("move", MOVES)
def test_moves(move: str, stored_input: bool, back: str, kernels: bool) -> None:
    """``kernels``: with integer kernels formed; a move is exact there too."""
    rng = np.random.default_rng(0)
    x = (
        rng.integers(0, 256, (1, 3, 4, 6)).astype(np.uint8)
        if stored_input
        else rng.normal(8, 5, (1, 3, 4, 6)).astype(np.float32)
    )
    source = model(move, stored_input, BACK[back])
    graph = harness.compile_model(source, branch="integer" if kernels else "float")
    harness.compare_all(harness.reference(source, {"x": x}), harness.run_tflite(graph, {"x": x}), 1e-6, 1e-6)
