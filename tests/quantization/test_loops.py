"""What quantised files and their errors say of loops, and what the remedies that they name lead to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from onnx2tf_lite import ConversionError, validation
from onnx2tf_lite.quantization import loops
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.quantization.test_quantising import lowest, quiet
from tests.targets.test_forms import lstm

WRITTEN_OUT: Mapping[str, Any] = {"enable_rnn_unroll": True}
FIXED: Mapping[str, Any] = {"overwrite_input_shape": ["x:6,1,3"]}
RANDOM: Mapping[str, Any] = {"random_calibration": True}
LEAST = 25.0  # dB


def open_lstm() -> onnx.ModelProto:
    """The same for any number of steps."""
    proto = lstm()
    for end in (proto.graph.input[0], proto.graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_param = "steps"
    return proto


def named(result: Any) -> dict[str, list[str]]:
    """The loops of the report."""
    decided = result.report["quantisation"]["int8 activations"]
    return {name: decided[name] for name in loops.WHY if name in decided}


def counted_by_data(float_inside: bool = True) -> onnx.ModelProto:
    """A Loop as often as an input says."""
    inside = "s = Tanh(before) after = Add(s, x)" if float_inside else "after = Add(before, before)"
    kind = "float[1,4]" if float_inside else "int64[1]"
    return onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,4] x, int64[1] whole, int64 often) => (float[1,4] y, {kind} z) {{
            y = Relu(x)
            z = Loop(often, , {"y" if float_inside else "whole"}) <body = b (int64 i, bool go, {kind} before)
                => (bool again, {kind} after) {{ again = Identity(go) {inside} }}>
        }}""")


#: how the report names its loops -> (model, what the error advises first, that in keywords)
CASES = {
    loops.COUNTED: (lstm(), r"write loops out \(-eru\)", WRITTEN_OUT),
    loops.OPEN: (open_lstm(), r"fix the sizes \(-ois\) and write loops out \(-eru\)", WRITTEN_OUT | FIXED),
}


@pytest.mark.parametrize("name", CASES)
def test_loops_have_a_remedy_which_makes_them_integers(name: str, tmp_path: Path) -> None:
    given, advice, keywords = CASES[name]
    assert named(quiet(given, tmp_path / "float inside", ["integer_quant"], **RANDOM)) == {name: ["LSTM_0"]}
    kind = "full_integer_quant"
    with pytest.raises(ConversionError, match=f"-> {advice}, .*; ask for integer_quant"):
        quiet(given, tmp_path, [kind], **RANDOM)
    result = quiet(given, tmp_path, [kind], **RANDOM, **keywords)
    assert result.exit_code == 0 and lowest(result, kind) > LEAST and not named(result)
    assert not Integers.of(FlatFile(result.files[kind])).floats


@pytest.mark.parametrize("float_inside", [True, False])
def test_loops_that_cannot_be_written_out_have_none(float_inside: bool, tmp_path: Path) -> None:
    given = counted_by_data(float_inside)
    found = named(quiet(given, tmp_path, ["integer_quant"], **RANDOM))
    assert found == ({loops.OTHER: ["Loop_0"]} if float_inside else {})
    if float_inside:
        with pytest.raises(ConversionError, match="-> ask for integer_quant"):
            quiet(given, tmp_path, ["full_integer_quant"], **RANDOM)


LAYER = """q = QuantizeLinear(before, s, z) d = DequantizeLinear(q, s, z) wd = DequantizeLinear(w, ws, wz)
    m = MatMul(d, wd) mq = QuantizeLinear(m, t, z) md = DequantizeLinear(mq, t, z) r = Relu(md)
    rq = QuantizeLinear(r, s, z) after = DequantizeLinear(rq, s, z)"""
LOOP = f"""<body = b (int64 i, bool go, float[2,8] before) => (bool again, float[2,8] after)
    {{ again = Identity(go) {LAYER} }}>"""
#: model with integers of its own in a body -> the operator that has it
OWN = {
    "WHILE": f"g (float[2,8] x) => (float[2,8] y) {{ y = Loop(five, yes, x) {LOOP} }}",
    "by data": f"g (float[2,8] x, int64 often) => (float[2,8] y) {{ y = Loop(often, yes, x) {LOOP} }}",
    "IF": f"""g (float[2,8] before, bool go) => (float[2,8] y) {{ y = If(go) <then_branch = b () => (float[2,8] after)
        {{ {LAYER} }}, else_branch = e () => (float[2,8] other) {{ other = Identity(before) }}> }}""",
}
SCALES = {"s": 0.05, "t": 0.07, "ws": 0.006}
WEIGHTS = np.random.default_rng(0).integers(-127, 128, (8, 8)).astype(np.int8)


def own(name: str) -> onnx.ModelProto:
    given = {n: np.float32(scale) for n, scale in SCALES.items()} | {"z": np.int8(3), "wz": np.int8(0)}
    given |= {"five": np.int64(5), "yes": np.bool_(True), "w": WEIGHTS}
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {OWN[name]}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in given.items())
    return proto


@pytest.mark.parametrize("kind", ["float32", "integer_quant"])
@pytest.mark.parametrize("name", OWN)
def test_integers_of_bodies_are_kept(name: str, kind: str, tmp_path: Path) -> None:
    result = quiet(own(name), tmp_path, [kind])
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    file = FlatFile(result.files[kind])
    found = Integers.of(file)
    assert found.integer == 2 and set(found.floats) <= {"WHILE", "IF", "RESHAPE"} and found.conversions == 2
    assert "2 integer operators" in result.check.files[0].verdict
    (body,) = [part for part in map(file.body, range(1, file.root.SubgraphsLength())) if Integers.of_part(part).integer]
    scales = {float(scale) for tensor in body.tensors if tensor.quantised for scale in tensor.scale}
    assert {float(np.float32(scale)) for scale in SCALES.values()} <= scales
    assert WEIGHTS.T.tobytes() in file.path.read_bytes()


def test_a_loop_with_integers_is_written_out(tmp_path: Path) -> None:
    """Its condition is handed on, from turn to turn, by an Identity."""
    result = quiet(own("WHILE"), tmp_path, ["float32"], **WRITTEN_OUT)
    found = Integers.of(FlatFile(result.files["float32"]))
    assert result.exit_code == 0 and found.integer == 10 and not found.floats


def test_wrong_weights_in_a_body_are_found(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    onnx.save(own("WHILE"), path)
    file = quiet(path, tmp_path, ["float32"]).files["float32"]
    wrong = WEIGHTS.T.copy()
    wrong[3] = -wrong[3]
    content = file.read_bytes()
    assert validation.check(path, file).exit_code == 0
    file.write_bytes(content.replace(WEIGHTS.T.tobytes(), wrong.tobytes()))
    assert validation.check(path, file).exit_code == 1
