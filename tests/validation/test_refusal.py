"""A broken model is not our mistake; a valid one is never called broken."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.errors import REPORT, ConversionError, Problem
from onnx2tf_lite.op_handlers import lower
from onnx2tf_lite.validation import bounds, refusal

from .models import HEAD, cnn, model

PLAIN = "g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }"


def parsed(text: str, head: str = HEAD) -> onnx.ModelProto:
    """Unchecked: it may be broken."""
    return onnx.parser.parse_model(head + text)


def external(folder: Path) -> Path:
    """A model whose weights lie beside it, and not where the process is."""
    proto = model("g (float[2,4] x) => (float[2,300] y) { y = MatMul(x, w) }", w=(4, 300))
    path = folder / "inner" / "m.onnx"
    path.parent.mkdir()
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def newer() -> onnx.ModelProto:
    proto = parsed(PLAIN)
    proto.opset_import[0].version = 25
    return proto


VALID = {
    "a plain one": lambda folder: cnn(),
    "weights beside it": external,
    "an operator of another domain": lambda folder: parsed(
        "g (float[2,4] x) => (float[2,4] y) { y = com.microsoft.Gelu(x) }",
        '<ir_version: 10, opset_import: ["": 17, "com.microsoft": 1]>\n'),
    "an operator that nobody else has": lambda folder: parsed(
        "g (float[2,4] x) => (float[2,4] y) { y = my.own.Thing(x) }",
        '<ir_version: 10, opset_import: ["": 17, "my.own": 1]>\n'),
    "a version that ONNX Runtime may not know": lambda folder: newer(),
    "only onnx runs it": lambda folder: parsed("g (bfloat16[2,4] x) => (bfloat16[2,4] y) { y = Add(x, x) }"),
}  # fmt: skip


@pytest.mark.parametrize("kind", VALID)
def test_a_valid_model_is_not_blamed(kind: str, tmp_path: Path) -> None:
    source = VALID[kind](tmp_path)
    assert refusal.refusal(source) == ""
    ours = Problem("Relu 'y'", "the handler failed", REPORT, ours=True)
    assert list(refusal.judged([ours], source)) == [ours]


def test_a_valid_model_that_takes_long_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "_run", lambda source: time.sleep(30))
    monkeypatch.setattr(bounds, "FIRST", 1 / 150)
    assert refusal.refusal(cnn()) == ""


def test_a_valid_model_that_is_large_is_not_blamed() -> None:
    """4 GB of a constant, made at run time."""
    proto = parsed("g (float[1] x) => (float[1] y) { shape = Constant<value = int64[1] {2000000000}>() "
                   "all = Expand(x, shape) y = ReduceMax<axes=[0], keepdims=1>(all) }")  # fmt: skip
    assert refusal.refusal(proto) == ""


#: A broken model -> who says so, and what of it.
BROKEN = {
    "an attribute that there is not": ("g (float[2,4] x) => (float[2,4] y) { y = Relu<slope = 2>(x) }", "slope"),
    "shapes that do not meet": (
        "g (float[2,4] x, float[3,4] k) => (float[2,4] y) { y = MatMul(x, k) }",
        "Incompatible",
    ),
    "an operand too many": ("g (float[2,4] x) => (float[2,4] y) { y = Relu(x, x) }", "input"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_told_from_our_mistake(kind: str) -> None:
    text, word = BROKEN[kind]
    problems = [Problem("Relu 'y'", "the handler failed", REPORT, ours=True), Problem("Add 'z'", "known", "do that")]
    told = list(refusal.judged(problems, parsed(text)))
    assert not told[0].ours and word in told[0].what and told[0].remedy == refusal.REMEDY
    assert told[1] == problems[1], "what is known needs no judge"


def test_one_that_fails_on_every_input_is_broken() -> None:
    """Neither onnx nor loading finds it: the sizes come from values."""
    proto = parsed(
        "g (float[N,4] x, float[1] z) => (float[M,K] y) { some = ReduceMax<keepdims=1, axes=[0]>(z) more = Abs(some) "
        "size = Cast<to=7>(more) all = Concat<axis=0>(size, nine) y = Reshape(x, all) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array([999983]), "nine"))
    assert "ONNX Runtime" in refusal.refusal(proto)


def test_the_judge_is_asked_where_a_handler_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of ours on a valid model stays ours."""

    def crash(*args: object) -> object:
        raise TypeError("unforeseen")

    monkeypatch.setattr(lower, "_call", crash)
    with pytest.raises(ConversionError, match="mistake of the converter"):
        convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=["float32"], non_verbose=True)
