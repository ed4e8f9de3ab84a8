"""Values as they are written on a command line, and attributes by the definitions of ONNX."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite.model import schema, types
from onnx2tf_lite.tools import ToolError, _schema, _values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1,3,'H','W']", [1, 3, "H", "W"]),
        ("[1,3,H,W]", [1, 3, "H", "W"]),
        ("[]", []),
        ("inf", np.inf),
        ("[-inf, 1e-5]", [-np.inf, 1e-5]),
        ("True", True),
        ("false", False),
        ("(1,2)", [1, 2]),
        ("linear", "linear"),
        ("half_pixel", "half_pixel"),
        ("a-b", "a-b"),
        ("1+2j", 1 + 2j),
    ],
)
def test_values(text: str, value: object) -> None:
    assert _values.literal(text) == value


def test_nan_and_files(tmp_path: Path) -> None:
    assert np.isnan(_values.literal("nan")) and np.isnan(_values.array("float32", "[nan]"))[0]
    np.save(tmp_path / "a.npy", np.arange(3))
    assert _values.array("float16", f"@{tmp_path}/a.npy").tolist() == [0, 1, 2]
    with pytest.raises(ToolError, match="cannot be read as"):
        _values.literal(f"@{tmp_path}/none.npy")


@pytest.mark.parametrize("text", ["[1", "__import__('os')", "[1,2]+[3]", "f(x)", "[1 2]"])
def test_no_literal(text: str) -> None:
    with pytest.raises(ToolError, match="cannot read"):
        _values.literal(text)


@pytest.mark.parametrize(
    ("word", "text"),
    [("int64", "[1.7]"), ("uint8", "[300]"), ("int8", "[-129]"), ("bool", "[2]"), ("int4", "[9]"), ("int32", "[nan]")],
)
def test_values_that_do_not_fit(word: str, text: str) -> None:
    with pytest.raises(ToolError, match=rf"does not fit {word}|is not a (whole number|bool)"):
        _values.array(word, text)


@pytest.mark.parametrize("word", ["float16", "bfloat16", "float64", "int4", "uint16", "bool", "float8e4m3fn"])
def test_dtypes(word: str) -> None:
    made = _values.tensor("t", word, "[1,0]")
    assert made.data_type == types.dtype(word) and types.dtype_word(made.data_type) == word
    assert numpy_helper.to_array(made).astype(float).tolist() == [1, 0]


def test_texts_are_tensors_too() -> None:
    made = _values.tensor("t", "str", "['a','ü']")
    assert made.data_type == TensorProto.STRING and list(made.string_data) == [b"a", "ü".encode()]
    with pytest.raises(ToolError, match="no dtype 'flaot32'; nearest: 'float32'"):
        types.dtype("flaot32")


@pytest.mark.parametrize(
    ("op", "name", "value", "expected"),
    [
        ("Gemm", "alpha", "1", 1.0),
        ("Conv", "pads", "[1,1,1,1]", [1, 1, 1, 1]),
        ("Conv", "pads", [1.0, 2.0], [1, 2]),
        ("Conv", "auto_pad", "SAME_UPPER", b"SAME_UPPER"),
        ("Resize", "mode", "linear", b"linear"),
        ("ReduceMean", "keepdims", True, 1),
        ("GlobalLpPool", "p", "2", 2),
    ],
)
def test_attributes_are_typed_by_the_definition(op: str, name: str, value: object, expected: object) -> None:
    made = _schema.attribute(op, name, value, 17)
    assert helper.get_attribute_value(made) == expected and type(helper.get_attribute_value(made)) is type(expected)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (
            lambda: _schema.attribute("Gemm", "alhpa", 1, 17),
            "has no attribute 'alhpa'; nearest: 'alpha'",
        ),
        (lambda: _schema.attribute("Gemm", "transA", 1.5, 17), "is a whole number, not 1.5"),
        (lambda: _schema.attribute("Gemm", "alpha", "x", 17), "is a number, not 'x'"),
        (
            lambda: schema.schema("LayerNormalization", 11),
            "opset 11 has no operator .* .defined in 17.",
        ),
        (lambda: schema.schema("Rleu", 11), "there is no operator 'Rleu'; nearest: 'Relu'"),
        (lambda: schema.schema("Relu", 999), "there is no opset 999"),
        (lambda: _schema.make_node("Cast", ["x"], ["y"], "", {}, 17), "Cast needs the attribute.s. to"),
        (lambda: _schema.make_node("Add", ["x"], ["y"], "", {}, 17), "takes 2 input.s., not 1"),
    ],
    ids=range(8),
)
def test_definitions_are_kept(call: object, why: str) -> None:
    with pytest.raises(ToolError) as error:
        call()  # type: ignore[operator]
    assert re.search(why, str(error.value))
