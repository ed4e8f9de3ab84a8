"""What cannot be converted ends in one message for each cause, with a remedy, and never in another exception."""

from __future__ import annotations

import onnx
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model, new_onnx

HEAD = """<ir_version: 13, opset_import: ["" : 25, "ai.onnx.preview.training" : 1, "mine" : 1]>\n"""
UNKNOWN = "no lowering is known for this operator"
FOREIGN = ("float8e4m3fn", "float8e5m2", "int4", "uint4", pytest.param("int2", marks=new_onnx), "float4e2m1")


def problems(text: str) -> list[str]:
    with pytest.raises(ConversionError) as raised:
        compile_model(onnx.parser.parse_model(HEAD + text))
    return [str(p) for p in raised.value.problems]


NO_HANDLER = {
    "image decoder": (
        "a (uint8[9] x) => (uint8[A,B,3] y) { y = ImageDecoder(x) }",
        f"ImageDecoder 'ImageDecoder_0' (x: u8[9]): {UNKNOWN}: TFLite's kernels read no image files -> decode before",
    ),
    "training": (
        """a (float r, int64 t, float[2] x, float[2] g, float[2] h) => (float[2] y, float[2] z) {
            y, z = ai.onnx.preview.training.Adagrad <decay_factor = 0.1, epsilon = 0.1, norm_coefficient = 0.1>
                   (r, t, x, g, h) }""",
        "ai.onnx.preview.training.Adagrad 'Adagrad_0' (r: f32[], t: i64[], x: f32[2], g: f32[2], h: f32[2]): "
        f"{UNKNOWN}: it trains, and a converted model only infers -> cut the model",
    ),
    "text": (
        'a () => (bool[1] y) { s = Constant <value_strings = ["a"]> () y = RegexFullMatch <pattern = "a"> (s) }',
        f"RegexFullMatch 'RegexFullMatch_0' (s: object[1]): {UNKNOWN}: it works on text, and the tensors of TFLite's",
    ),
    "own domain": (
        "a (float[2] x) => (float[2] y) { y = mine.Magic(x) }",
        f"mine.Magic 'Magic_0' (x: f32[2]): {UNKNOWN} -> replace or remove",
    ),
}


@pytest.mark.parametrize(("text", "words"), NO_HANDLER.values(), ids=NO_HANDLER)
def test_operators_without_a_handler(text: str, words: str) -> None:
    (said,) = problems(text)
    assert said.startswith(words)


@pytest.mark.parametrize("dtype", FOREIGN)
def test_a_dtype_without_kernels_is_said_of_the_tensor(dtype: str) -> None:
    """Not again of the node that reads it."""
    (said,) = problems(f"a ({dtype}[4] x) => (float[4] y) {{ y = Cast<to = 1>(x) }}")
    assert said.startswith(f"tensor 'x': TFLite has no kernels for {dtype[:4]}") and " -> use another dtype" in said


def test_every_cause_is_told() -> None:
    text = """a (float[2] x, seq(float[2]) s, string[1] t) => (float[2] y) {
        z = mine.Magic(x) n = SequenceLength(s) w = Identity(t) y = Neg(z) }"""
    assert [p.partition(":")[0] for p in problems(text)] == ["input 's'", "input 't'"]
    text = "a (float[2] x) => (float[2] y) { z = mine.Magic(x) w = mine.Magic(x) v = Add(z, w) y = mine.Other(v) }"
    assert [p.partition(" ")[0] for p in problems(text)] == ["mine.Magic", "mine.Magic", "mine.Other"]


def test_a_condition_is_a_list() -> None:
    """TFLite's WHERE is wrong for scalars, and a matrix would choose other rows."""
    for shape, count in (("", 0), ("[3,2]", 2)):
        (said,) = problems(f"a (float[3,2] x, bool{shape} c) => (float[a,b] y) {{ y = Compress<axis = 0>(x, c) }}")
        assert f"the condition has {count} axes: it is a list of truth values -> check the model" in said
