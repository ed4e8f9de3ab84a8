"""What quantised files and their errors say of loops, and what the remedies that they name lead to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from onnx2tf_lite import ConversionError
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
