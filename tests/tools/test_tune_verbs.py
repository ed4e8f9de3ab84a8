"""onnx-tune: the verbs of the ten tools that change constants, attributes, opsets, orders, shapes and names."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnx2tf_lite.tools import tune

from . import models

VERBS = [
    pytest.param("share", "dup", "{in} {out} -d", id="share"),
    pytest.param("modify", "cnn", "-if {in} -of {out} --set gemm0.alpha=0.5", id="modify"),
    pytest.param("opset", "ln17", "-if {in} -of {out} -os 11", id="opset"),
    pytest.param("order", "cnn", "-if {in} -of {out} -ioo x [0,2,3,1] -cci x 1", id="order"),
    pytest.param("batch", "cnn", "-if {in} -of {out} -ics N", id="batch"),
    pytest.param("infer", "cnn", "-if {in} -of {out}", id="infer"),
    pytest.param("shapes", "cnn", "-if {in} -of {out} -i x -is 2 3 16 16", id="shapes"),
    pytest.param("name", "cnn_unnamed", "-if {in} -of {out}", id="name"),
    pytest.param("erase-docs", "cnn", "-if {in} -of {out}", id="erase-docs"),
]


@pytest.mark.parametrize(("verb", "name", "words"), VERBS)
def test_verbs(verb: str, name: str, words: str, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, name)
    target = tmp_path / "o.onnx"
    text = words.replace("{in}", str(source)).replace("{out}", str(target))
    assert tune.main([verb, *text.split(), "-n"]) == 0
    onnx.checker.check_model(str(target), full_check=True)
    assert target.read_bytes() != source.read_bytes()


def test_generate(tmp_path: Path) -> None:
    words = f"generate -ot Relu -os 17 -on r -iv x -of {tmp_path}/o.onnx -n"
    assert tune.main(words.split()) == 0
    assert models.describe(onnx.load(tmp_path / "o.onnx")) == "x | r:Relu(x)->r_output | r_output"
