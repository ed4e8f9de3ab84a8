"""Constants as text and as the bytes that ONNX stores; expectations are numpy's and onnx's own."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sed4onnx import decode, encode, main

DTYPES = {n: v for n, v in TensorProto.DataType.items() if n not in ("UNDEFINED", "STRING")}
WORDS = {"FLOAT": "float32", "DOUBLE": "float64"}


def test_dialogue_of_the_article(capsys: pytest.CaptureFixture[str]) -> None:
    """Its two commands and what they print: four lines."""
    said = []
    for line in (
        "--constant_string [1,2] --dtype int64 --mode encode",
        "--constant_string AQAAAAAAAAACAAAAAAAAAA== --dtype int64 --mode decode",
    ):
        assert main(line.split()) == 0
        said.append(capsys.readouterr().out)
    assert said == ["AQAAAAAAAAACAAAAAAAAAA==\n", "[1,2]\n"]
    assert encode("[0.1]", "float32") == "zczMPQ=="
    assert encode("[0.1,0.1,0.1]", "float32") == "zczMPc3MzD3NzMw9"


@pytest.mark.parametrize("name", DTYPES)
def test_bytes_are_those_of_onnx(name: str) -> None:
    word, kind = WORDS.get(name, name.lower()), helper.tensor_dtype_to_np_dtype(DTYPES[name])
    values = np.ones(8, kind) if name == "FLOAT8E8M0" else np.array([0, 1] * 4, kind)
    text = encode(str(values.astype(np.float64 if kind != np.complex128 else kind).real.tolist()), word)
    assert base64.b64decode(text) == numpy_helper.from_array(values).raw_data
    back = decode(text, word)
    assert isinstance(back, np.ndarray)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, values)


SHOWN = [
    ("[1.,2.,3.,4.]", "float32", "[1.,2.,3.,4.]"),
    ("[[1,2],[3,4]]", "int8", "[1,2,3,4]"),
    ("[1,-8]", "int4", "[1,-8]"),
    ("[inf,-inf,nan]", "float16", "[inf,-inf,nan]"),
    ("[true,false]", "bool", "[True,False]"),
    ("[1+2j]", "complex64", "[1.+2.j]"),
    ("[0.1]", "bfloat16", "[0.100097656]"),
    ("0.1", "float64", "[0.1]"),
    ("[9007199254740993]", "int64", "[9007199254740993]"),
    ("[18446744073709551615]", "uint64", "[18446744073709551615]"),
]


@pytest.mark.parametrize(("text", "dtype", "shown"), SHOWN, ids=[f"{d}-{t}" for t, d, _ in SHOWN])
def test_round_trip_in_text(text: str, dtype: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-cs", encode(text, dtype), "-d", dtype, "-m", "decode"]) == 0
    assert capsys.readouterr().out.strip() == shown


REFUSED = [
    ("[1.7,2]", "int64", "1.7 is not a whole number"),
    ("[300]", "uint8", "300 does not fit uint8"),
    ("[-9]", "int4", "-9 does not fit int4"),
    ("[nan]", "int32", "not a whole number"),
    ("[2]", "bool", "2 is not a bool"),
    ("1e6", "float16", "does not fit float16"),
    ("[16777217]", "float32", "is not exact in float32"),
    ("[7]", "float4e2m1", "does not fit"),
    ("[500.]", "float8e4m3fn", "does not fit"),
    ("[inf]", "float8e4m3fn", "does not fit"),
    ("[1+2j]", "float32", "is complex"),
    ("[[1,2],[3]]", "float32", "equal length"),
    ("[one]", "float32", "'one' is not a number"),
    ("[1]", "flot32", "no dtype"),
]


@pytest.mark.parametrize(("text", "dtype", "says"), REFUSED, ids=[f"{d}-{t}" for t, d, _ in REFUSED])
def test_what_does_not_fit_is_an_error(text: str, dtype: str, says: str) -> None:
    with pytest.raises(ToolError, match=says.replace("+", r"\+")) as caught:
        encode(text, dtype)
    assert caught.value.tool == "sed4onnx"


BROKEN = [
    ("AQAAAA==", "int64", "not a whole number of int64"),
    ("AQ", "int8", "is not Base64"),
    ("/w==", "string", "UTF-8"),
]


@pytest.mark.parametrize(("text", "dtype", "says"), BROKEN, ids=[f"{d}-{t}" for t, d, _ in BROKEN])
def test_what_cannot_be_decoded_is_an_error(text: str, dtype: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        decode(text, dtype)


def test_string_is_the_text_itself() -> None:
    assert decode(encode("größer", "string"), "string") == "größer"


def test_shape_and_odd_numbers_of_packed_elements() -> None:
    packed = encode("[1,-2,3]", "int4")
    np.testing.assert_array_equal(np.asarray(decode(packed, "int4", shape=[3]), np.int8), [1, -2, 3])
    with pytest.raises(ToolError, match="has 3"):
        decode(packed, "int4", shape=[5])
    back = decode(encode("[1,2,3,4]", "int16"), "int16", shape=[2, 2])
    assert isinstance(back, np.ndarray)
    assert back.tolist() == [[1, 2], [3, 4]]


MODES = [("[1,2]", "AQI=\n"), ("AQI=", "[1,2]\n"), ("12", "DA==\n")]


@pytest.mark.parametrize(("text", "printed"), MODES, ids=[t for t, _ in MODES])
def test_mode_is_seen_from_the_text(text: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-cs", text, "-d", "int8"]) == 0
    assert capsys.readouterr().out == printed


def test_file_and_standard_input(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io
    from pathlib import Path

    path = Path(str(tmp_path)) / "w.npy"
    np.save(path, np.array([[1.5, 2]], np.float32))
    assert main(["-cs", f"@{path}"]) == 0
    text = capsys.readouterr().out
    assert base64.b64decode(text) == np.array([1.5, 2], np.float32).tobytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["-cs", "-", "-d", "float32"]) == 0
    assert capsys.readouterr().out == "[1.5,2. ]\n".replace(" ", "")


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-cs", "[1.5]", "-d", "int8"]) == 1
    assert "1.5 is not a whole number" in capsys.readouterr().err
    assert main(["-cs", "[1]"]) == 1
    assert "which dtype" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["-cs", "[1]", "-d", "int8", "-m", "shrink"])
    assert caught.value.code == 2
