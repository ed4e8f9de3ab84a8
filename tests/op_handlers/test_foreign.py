"""Operators outside the standard: ONNX Runtime's where it has them, else by their published definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.errors import ConversionError
from tests.op_handlers.microsoft_nodes import check, check_against, declare, model_of
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


@pytest.mark.parametrize("attrs", [{}, {"alpha": 0.5}, {"beta": 2.0}], ids=str)
@pytest.mark.parametrize("op_type", ["ScaledTanh", "ParametricSoftplus"])
def test_a_first_release_without_its_factors_is_judged(tmp_path: Path, op_type: str, attrs: dict[str, float]) -> None:
    """ONNX Runtime asks for both; what is not given scales by 1."""
    onnx.save(declare(model_of(op_type, [X], domain="", version=8, **attrs), [X]), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path, outputs=["float32"], verbosity="error")
    assert result.exit_code == 0, result.check.error
    wanted = {
        "ScaledTanh": lambda a, b: a * np.tanh(b * X),
        "ParametricSoftplus": lambda a, b: a * np.log1p(np.exp(b * X)),
    }
    factors = [attrs.get(name, 1.0) for name in ("alpha", "beta")]
    check_against(
        [wanted[op_type](*factors).astype(np.float32)], op_type, [X], domain="", version=8, atol=1e-5, **attrs
    )


AROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
#: QONNX's own table of what becomes of these.
TABLE = {
    "x": [5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5],
    "ROUND": [6, 2, 2, 1, 1, -1, -1, -2, -2, -6],
    "CEIL": [6, 3, 2, 2, 1, -1, -1, -1, -2, -5],
    "FLOOR": [5, 2, 1, 1, 1, -1, -2, -2, -3, -6],
    "UP": [6, 3, 2, 2, 1, -1, -2, -2, -3, -6],
    "DOWN": [5, 2, 1, 1, 1, -1, -1, -1, -2, -5],
    "HALF_UP": [6, 3, 2, 1, 1, -1, -1, -2, -3, -6],
    "HALF_DOWN": [5, 2, 2, 1, 1, -1, -1, -2, -2, -5],
}


def quantised(x: np.ndarray, scale: np.ndarray, zero: float, bits: Any, signed: int = 1, narrow: int = 0,
              rounding_mode: str = "ROUND") -> np.ndarray:  # fmt: skip
    """QONNX's definition: what is beyond the range is cut before it is rounded; one signed bit is the sign."""
    low = -(2.0 ** (bits - 1)) + narrow if signed else 0 * bits
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    steps = (x / scale + np.float32(zero)).astype(np.float32)
    whole = AROUND[rounding_mode.upper()](np.clip(steps, low, high))
    if signed and np.all(np.equal(bits, 1)):
        whole = np.where(steps >= 0, 1, -1)
    return ((whole - zero) * scale).astype(np.float32)


QUANT: dict[str, tuple[Any, float, Any, dict[str, Any]]] = {
    "8 bits": (0.05, 0, 8, {}),
    "8 bits, unsigned, around a zero point": (0.05, 100, 8, {"signed": 0}),
    "unsigned, narrow": (0.25, 0, 4, {"signed": 0, "narrow": 1}),
    "2 bits for each channel": (np.array([0.5, 1, 2]).reshape(1, 3, 1, 1), 0, 2, {}),
    "other bits for each channel": (0.25, 0, np.array([2.0, 3, 6]).reshape(1, 3, 1, 1), {"narrow": 1}),
    "a fraction of a bit": (0.25, 0, 3.5, {"signed": 0}),
    "lower case": (0.25, 1, 6, {"rounding_mode": "half_up"}),
    **{f"{bits} bits {'narrow' * narrow}": (0.25, 0, bits, {"narrow": narrow})
       for bits in range(1, 8) for narrow in (0, 1) if bits + narrow > 1},
    **{mode.lower(): (0.25, 0, 6, {"rounding_mode": mode}) for mode in AROUND},
}  # fmt: skip


@pytest.mark.parametrize("domain, name", [("qonnx.custom_op.general", "Quant"), ("onnx.brevitas", "Quant"),
                                          ("qonnx.custom_op.general", "IntQuant")])  # fmt: skip
@pytest.mark.parametrize("case", QUANT)
def test_quant(case: str, domain: str, name: str) -> None:
    scale, zero, bits, attrs = QUANT[case]
    x = X + 0.01  # away from ties, which a division by the scale makes and another rounding does not
    operands = [np.asarray(v, np.float32) for v in (scale, zero, bits)]
    wanted = quantised(x, operands[0], zero, bits, **attrs)
    check_against([wanted], name, [x, *operands], const=(1, 2, 3), domain=domain, **attrs)


@pytest.mark.parametrize("mode", [name for name in TABLE if name != "x"])
def test_roundings_of_qonnx_own_table(mode: str) -> None:
    operands = [np.asarray(v, np.float32) for v in (TABLE["x"], 1, 0, 7)]  # 8 would be TFLite's QUANTIZE
    check_against([np.asarray(TABLE[mode], np.float32)], "Quant", operands, const=(1, 2, 3),
                  domain="qonnx.custom_op.general", rounding_mode=mode)  # fmt: skip


def test_an_unknown_rounding_is_refused() -> None:
    operands = [np.asarray(v, np.float32) for v in (TABLE["x"], 1, 0, 8)]
    with pytest.raises(ConversionError, match="rounding_mode 'SIDEWAYS'"):
        check_against([operands[0]], "Quant", operands, const=(1, 2, 3), domain="qonnx.custom_op.general",
                      rounding_mode="SIDEWAYS")  # fmt: skip


def test_bipolar_quant() -> None:
    scale = np.asarray(0.3, np.float32)
    wanted = np.where(X >= 0, scale, -scale)
    check_against([wanted], "BipolarQuant", [X, scale], const=(1,), domain="qonnx.custom_op.general")


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"])
def test_bipolar_quant_is_judged(tmp_path: Path, domain: str) -> None:
    model = model_of("BipolarQuant", [X, np.float32(0.3)], const=(1,), domain=domain)
    onnx.save(declare(model, [X]), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path, outputs=["float32"], check="layers", verbosity="error")
    assert result.exit_code == 0, result.check.error


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


TEXTS, NUMBERS = ["cat", "dog", "newt"], [3, 5, 7]


def classifier(path: Path, labels: list[Any], more: list[onnx.NodeProto] | None = None, maps: bool = True) -> Path:
    """One as skl2onnx writes it: label, and a list of maps from class to score (or the scores)."""
    n, kind = helper.make_node, onnx.TensorProto.STRING if labels is TEXTS else onnx.TensorProto.INT64
    word = "classlabels_strings" if labels is TEXTS else "classlabels_ints"
    nodes = [
        n("LinearClassifier", ["x"], ["label", "scores"], "classifier", domain="ai.onnx.ml", post_transform="SOFTMAX",
          coefficients=normal(12).tolist(), intercepts=[0.1, 0.2, 0.3], **{word: labels}),
        *(more or []),
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("label", kind, ["N"])]
    if maps:
        word = word.replace("ints", "int64s")
        nodes.append(n("ZipMap", ["scores"], ["probabilities"], "zip", domain="ai.onnx.ml", **{word: labels}))
        element = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(1, []))
        outputs.append(helper.make_value_info("probabilities", helper.make_sequence_type_proto(element)))
    else:
        outputs.append(helper.make_tensor_value_info("scores", 1, ["N", 3]))
    outputs += [helper.make_tensor_value_info(node.output[0], 1, ["N"]) for node in more or []]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, ["N", 4])], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("labels", [TEXTS, NUMBERS], ids=["texts", "numbers"])
@pytest.mark.parametrize("maps", [True, False], ids=["maps", "scores"])
def test_scores_of_a_classifier_are_tensors(tmp_path: Path, labels: list[Any], maps: bool) -> None:
    """What no tensor holds is said: maps are scores by columns, a text is the number of its class."""
    path = classifier(tmp_path / "m.onnx", labels, maps=maps)
    result = convert(path, tmp_path / "out", outputs=["float32"], check="layers", verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]
    scores = "probabilities" if maps else "scores"
    assert {o.name: o.dtype for o in result.outputs} == {"label": "int64", scores: "float32"}
    told = [note for note in result.check.notes if ", ".join(map(str, labels)) in note]
    assert len(told) == maps + (labels is TEXTS)


def test_a_text_that_is_read_is_refused(tmp_path: Path) -> None:
    """A number in its place would be another number."""
    path = classifier(tmp_path / "m.onnx", TEXTS, [helper.make_node("Cast", ["label"], ["number"], to=1)])
    with pytest.raises(ConversionError, match="no text"):
        convert(path, tmp_path / "out", outputs=["float32"], verbosity="error")
