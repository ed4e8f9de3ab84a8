"""Operators outside the standard: ONNX Runtime's where it has them, else by their published definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx2tf_lite import convert
from tests.op_handlers.microsoft_nodes import check, check_against
from tests.op_handlers.nodes import normal

X = normal(2, 3, 5, 4) * 3


@pytest.mark.parametrize(
    "op_type, attrs",
    [
        ("ImageScaler", {"scale": 0.5, "bias": [1.0, -2.0, 0.25]}),
        ("ScaledTanh", {"alpha": 1.5, "beta": 0.3}),
        ("ParametricSoftplus", {"alpha": 2.0, "beta": 0.7}),
    ],
)
def test_first_releases(op_type: str, attrs: dict[str, Any]) -> None:
    check(op_type, [X], domain="", version=8, atol=1e-5, **attrs)


def quantised(x: np.ndarray, scale: np.ndarray, zero: float, bits: float, signed: int = 1, narrow: int = 0,
              rounding_mode: str = "ROUND") -> np.ndarray:  # fmt: skip
    """QONNX's definition."""
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    rounded = {"ROUND": np.round, "CEIL": np.ceil, "FLOOR": np.floor, "ROUND_TO_ZERO": np.trunc}[rounding_mode]
    return ((np.clip(rounded(x / scale + zero), low, high) - zero) * scale).astype(np.float32)


QUANT: dict[str, tuple[Any, float, float, dict[str, Any]]] = {
    "8 bits": (0.05, 0, 8, {}),
    "8 bits, unsigned, around a zero point": (0.05, 100, 8, {"signed": 0}),
    "4 bits": (0.25, 0, 4, {}),
    "4 bits, narrow": (0.25, 0, 4, {"narrow": 1}),
    "unsigned, narrow": (0.25, 0, 4, {"signed": 0, "narrow": 1}),
    "2 bits for each channel": (np.array([0.5, 1, 2]).reshape(1, 3, 1, 1), 0, 2, {}),
    "floor": (0.25, 0, 6, {"rounding_mode": "FLOOR"}),
    "ceil": (0.25, 0, 6, {"rounding_mode": "CEIL"}),
    "to zero": (0.25, 0, 6, {"rounding_mode": "ROUND_TO_ZERO"}),
}


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
@pytest.mark.parametrize("case", QUANT)
def test_quant(case: str, domain: str) -> None:
    scale, zero, bits, attrs = QUANT[case]
    x = X + 0.01  # away from ties, which a division by the scale makes and another rounding does not
    operands = [np.asarray(v, np.float32) for v in (scale, zero, bits)]
    wanted = quantised(x, operands[0], zero, bits, **attrs)
    check_against([wanted], "Quant", [x, *operands], const=(1, 2, 3), domain=domain, **attrs)


def test_bipolar_quant() -> None:
    scale = np.asarray(0.3, np.float32)
    wanted = np.where(X >= 0, scale, -scale)
    check_against([wanted], "BipolarQuant", [X, scale], const=(1,), domain="qonnx.custom_op.general")


def test_a_model_of_brevitas_is_converted_and_checked(tmp_path: Path) -> None:
    """Weights and activations through Quant; the reference has the node in ONNX's words."""
    quant = {"domain": "qonnx.custom_op.general", "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [
        helper.make_node("Quant", ["w", "ws", "zero", "four"], ["wq"], "weights", **quant),
        helper.make_node("Conv", ["x", "wq"], ["c"], "conv"),
        helper.make_node("Quant", ["c", "cs", "zero", "eight"], ["y"], "activation", **quant),
    ]
    numbers = {"ws": 0.1, "cs": 0.05, "zero": 0.0, "four": 4.0, "eight": 8.0}
    constants = [numpy_helper.from_array(np.float32(v), n) for n, v in numbers.items()]
    constants.append(numpy_helper.from_array(normal(4, 3, 3, 3), "w"))
    ends = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 4, 6, 6]))]
    graph = helper.make_graph(nodes, "brevitas", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "out", outputs=["float32"], check="layers", verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]


def test_scores_behind_a_zip_map_are_a_tensor(tmp_path: Path) -> None:
    """A classifier as skl2onnx writes it: label, and a list of maps from class to score."""
    n = helper.make_node
    nodes = [
        n("LinearClassifier", ["x"], ["label", "scores"], "classifier", domain="ai.onnx.ml", post_transform="SOFTMAX",
          coefficients=normal(12).tolist(), intercepts=[0.1, 0.2, 0.3], classlabels_ints=[3, 5, 7]),
        n("ZipMap", ["scores"], ["probabilities"], "zip", domain="ai.onnx.ml", classlabels_int64s=[3, 5, 7]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", 1, ["N", 4])]
    element = helper.make_map_type_proto(onnx.TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    maps = helper.make_value_info("probabilities", helper.make_sequence_type_proto(element))
    outputs = [helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]), maps]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "out", outputs=["float32"], check="layers", verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]
    assert {o.name: o.dtype for o in result.outputs} == {"label": "int64", "probabilities": "float32"}
    assert any("ZipMap" in note for note in result.check.notes)
