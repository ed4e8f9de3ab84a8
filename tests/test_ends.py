"""Inputs and outputs that exporters connect in unusual ways: handed through, listed twice, constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

from onnx2tf_lite import ConversionResult, convert
from tests.harness import invoke

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
WEIGHTS = ", ".join(["0.1"] * 54)
MODELS = {
    "an input as output": "g (float[1,3] x) => (float[1,3] x, float[1,3] y) { y = Relu(x) }",
    "nothing but an input": "g (float[2,3] x) => (float[2,3] x) { y = Relu(x) }",
    "a cache handed through": """
        g (float[b,2,3,4] x, float[b,2,4,s] cache) => (float[b,2,3,s] y, float[b,2,4,s] cache) { y = MatMul(x, cache) }
    """,
    "a picture handed through": f"""
        g (float[1,3,6,5] x) => (float[1,2,6,5] y, float[1,3,6,5] x) <float[2,3,3,3] w = {{{WEIGHTS}}}> {{
            y = Conv<pads = [1, 1, 1, 1]>(x, w)
        }}
    """,
    "an initializer as output": "g (float[1,3] x) => (float[1,3] y, float[2] k) <float[2] k = {1, 2}> { y = Relu(x) }",
    "an output listed twice": "g (float[1,3] x) => (float[1,3] y, float[1,3] y) { y = Relu(x) }",
    "one tensor under two names": "g (float[1,3] x) => (float[1,3] y, float[1,3] z) { y = Relu(x) z = Identity(y) }",
}


def model(name: str) -> ModelProto:
    return parser.parse_model(HEADER + MODELS[name])


def converted(name: str, folder: Path, kind: str = "float32", **options: Any) -> ConversionResult:
    given = {"onnx_graph": model(name), "output_folder_path": folder, "outputs": [kind], "verbosity": "error"}
    return convert(**given, **options)


@pytest.mark.parametrize("kind", ["float32", "saved_model"])
@pytest.mark.parametrize("name", MODELS)
def test_every_end_is_there_under_its_name(name: str, kind: str, tmp_path: Path) -> None:
    if kind == "saved_model":
        pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    result = convert(
        onnx_graph=model(name), output_folder_path=tmp_path, outputs=[kind], check="layers", verbosity="error"
    )
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    assert [o.name for o in result.outputs] == list(dict.fromkeys(o.name for o in model(name).graph.output))


@pytest.mark.parametrize("name", ["an input as output", "a picture handed through"])
def test_what_is_handed_through_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    proto = model(name)
    result = convert(
        onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", verbosity="error"
    )
    x = np.random.default_rng(0).standard_normal(result.inputs[0].shape).astype(np.float32)
    for plain in (True, False):
        np.testing.assert_array_equal(invoke(str(result.files["float32"]), {"x": x}, plain)["x"], x)


def test_a_pin_holds_for_both_ends_of_a_tensor_handed_through(tmp_path: Path) -> None:
    result = converted("a picture handed through", tmp_path, channels_last_names=["x"])
    assert result.exit_code == 0
    x = np.random.default_rng(0).standard_normal((1, 6, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(invoke(str(result.files["float32"]), {"x": x}, True)["x"], x)
