"""ONNX Runtime decides what is a model: what it runs and onnx.checker refuses is converted, with a note."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx2tf_lite import convert
from tests.harness import reference
from tests.validation.models import model

SOURCE = """
    g (float[1,4] x) => (float[1,4] y)
    <float[1,4] w = {1, 2, 3, 4}> { a = Add(x, w) y = Relu(a) }"""


def without_graph_name(source: ModelProto) -> str:
    source.graph.name = ""
    return ""


def with_a_key_twice(source: ModelProto) -> str:
    for value in ("a", "b"):
        source.metadata_props.add(key="k", value=value)
    return ""


def with_an_initializer_twice(source: ModelProto) -> str:
    source.graph.initializer.append(numpy_helper.from_array(np.full((1, 4), -7, np.float32), "w"))
    return "several times count as the last of them: w"


def with_an_undeclared_domain(source: ModelProto) -> str:
    source.graph.node[1].op_type, source.graph.node[1].domain = "Gelu", "com.microsoft"
    return "which version of com.microsoft it uses: taken as 1"


@pytest.mark.parametrize(
    "spoil", [without_graph_name, with_a_key_twice, with_an_initializer_twice, with_an_undeclared_domain]
)
def test_what_onnx_runtime_runs_is_converted(spoil: Callable[[ModelProto], str]) -> None:
    source = model(SOURCE)
    said = spoil(source)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(source)
    assert reference(source, {"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 4)
    result = convert(onnx_graph=source, outputs=["float32"], disable_model_save=True, non_verbose=True)
    assert result.exit_code == 0
    assert any(said in warning for warning in result.report["warnings"]) or not said
