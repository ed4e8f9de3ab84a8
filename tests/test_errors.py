"""What an error of a library says, in a line."""

from __future__ import annotations

import pytest
from onnx import parser

from onnx2tf_lite.errors import one_line


def test_what_onnx_runtime_says_is_told_without_places_in_its_code() -> None:
    import onnxruntime

    model = parser.parse_model('<ir_version: 99, opset_import: ["": 11]> g (float[2] x) => (float[2] y) { y = Neg(x) }')
    with pytest.raises(Exception, match=r"\.cc:\d+") as raised:
        onnxruntime.InferenceSession(model.SerializeToString())
    assert one_line(raised.value).startswith("Unsupported model IR version: 99")


def test_one_that_says_nothing_has_a_name() -> None:
    assert one_line(KeyError()) == "KeyError"


def test_a_long_one_is_cut() -> None:
    assert one_line(ValueError("a\n  b" + "c" * 1000)) == "a b" + "c" * 297
