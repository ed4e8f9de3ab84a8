"""Tables of functions in files that are integer throughout: each of the 256 operands gives the result of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.fusion import qdq
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Quant, Value, copy_graph
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.validation.models import model

from .programs import kinds, program, run
from .quantised import I8, I16, IN, U8, layer, prepared, quant

LOW, FINE = quant(0.05, 127), quant(4e-6, -128)  # below 0, and what a sigmoid makes of that
TABLE = ["QUANTIZE", "CAST", "SUB", "GATHER", "DEQUANTIZE"]
CASES = {
    "sigmoid": (b.logistic, LOW, FINE),
    "tanh": (b.tanh, quant(1e-4), quant(1e-4)),
    "no kernel": (b.sin, IN, quant(1 / 127)),
    "rounds": (b.floor, IN, quant(1.0)),
    "unsigned": (b.logistic, quant(0.05, 255, U8), quant(4e-6, 0, U8)),
    "to 16 bits": (b.logistic, LOW, quant(4e-6, 0, I16)),
}


def everything(q: Quant) -> np.ndarray:
    """The real numbers of all integers, and what lies beyond them."""
    info = np.iinfo(q.dtype)
    return q.real(np.arange(info.min - 5, info.max + 6)).reshape(1, -1)


@pytest.mark.parametrize("name", CASES)
def test_every_operand_has_the_result_of_the_model(name: str) -> None:
    function, given, made = CASES[name]
    real, integer = prepared(program(layer(function, made, given), (1, 266)))
    table = copy_graph(real)
    qdq(table, throughout=True)
    assert [k for k in kinds(table) if k != "ADD"] == TABLE, "of 16 bits as of 8"
    x = everything(given)
    want = made.stored(function_of(name)(given.real(given.stored(x))))
    np.testing.assert_array_equal(made.stored(run(table, {"x0": x})["y0"]), want)
    assert np.unique(want).size > 12, "not one number everywhere"
    assert "GATHER" not in kinds(integer), "floats are faster where a file may have them"


def function_of(name: str) -> Callable[[np.ndarray], np.ndarray]:
    sigmoid = lambda x: 1 / (1 + np.exp(-x.astype(np.float64)))  # noqa: E731
    return {"tanh": np.tanh, "no kernel": np.sin, "rounds": np.floor}.get(name, sigmoid)


@pytest.mark.parametrize("function, given", [(b.logistic, quant(1e-4, 0, I16)), (b.softmax, IN)])
def test_what_is_no_function_of_8_bits_is_no_table(function: Callable[[Value], Value], given: Quant) -> None:
    real, _ = prepared(program(layer(function, quant(4e-6, 0, given.dtype), given), (1, 12)))
    qdq(real, throughout=True)
    assert "GATHER" not in kinds(real)


def test_kernels_that_serve_stay_kernels() -> None:
    real, _ = prepared(program(layer(b.logistic, quant(1 / 256, -128)), (1, 12)))
    qdq(real, throughout=True)
    assert kinds(real) == ["QUANTIZE", "LOGISTIC", "DEQUANTIZE"]


def test_a_file_of_a_model_in_finer_steps_than_the_kernel(tmp_path: Path) -> None:
    """Without calibration data: there is nothing left to calibrate."""
    text = """g (float[1,40] x) => (float[1,40] y) { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        a = Sigmoid(d) p = QuantizeLinear(a, t, z) y = DequantizeLinear(p, t, z) }"""
    scales = {"s": np.full((), 0.05, np.float32), "t": np.full((), 4e-6, np.float32), "z": np.zeros((), np.int8)}
    result = convert(
        onnx_graph=model(text, **scales),
        output_folder_path=tmp_path,
        outputs=("integer_quant", "full_integer_quant"),
        non_verbose=True,
    )
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    inside, throughout = (FlatFile(result.files[kind]) for kind in ("integer_quant", "full_integer_quant"))
    assert Integers.of(inside).floats and not Integers.of(throughout).floats
    assert [throughout.tensors[i].dtype for i, *_ in (throughout.inputs, throughout.outputs)] == [I8, I8]
