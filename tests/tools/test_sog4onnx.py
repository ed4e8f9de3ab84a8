"""sog4onnx: a model of one operator, as ONNX defines it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sog4onnx import generate

from . import models
from .cli import Cli, cli, listing

__all__ = ["cli"]

X = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def make(cli: Cli, tmp_path: Path) -> Any:
    """The model that a command line writes."""

    def made(words: str) -> ModelProto:
        result = cli("sog4onnx", *shlex.split(words), "-of", tmp_path / "o.onnx")
        assert result.code == 0, result.err
        model = onnx.load(tmp_path / "o.onnx")
        if "_TRT" not in words:
            onnx.checker.check_model(model, full_check=True)
        return model

    return made


def shapes(infos: Any) -> dict[str, list[int | str]]:
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in infos
    }  # an unknown one is 0


def test_the_command_of_the_article(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = (
        "--op_type GlobalLpPool --opset 11 --op_name GlobalLpPool1 --input_variables X float32 [1,3,5,5] "
        "--output_variables Y float32 [1,3,1,1] --attributes p int64 2 "
        "--output_onnx_file_path GlobalLpPool_11_sog.onnx"
    )
    result = cli("sog4onnx", *words.split())
    assert result.code == 0 and "The model is checked!" in result.text
    model = onnx.load("GlobalLpPool_11_sog.onnx")
    assert (model.ir_version, model.opset_import[0].version) == (9, 11)
    assert models.describe(model) == "X | GlobalLpPool1:GlobalLpPool(X)->Y | Y"
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float32)
    models.assert_same(models.run(model, {"X": x}), {"Y": np.sqrt((x**2).sum((2, 3), keepdims=True))})


def test_default_file_is_called_like_the_operator(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("sog4onnx", "-ot", "Relu", "-os", 17, "-on", "r", "-iv", "x", "float32", "[2]").code == 0
    assert listing(tmp_path) == ["Relu.onnx"]


RUNS = [
    pytest.param("-ot Gemm -os 17 -on g -iv x float32 [2,3] -iv w float32 [3,1] -a alpha float32 2",
                 {"x": X, "w": np.ones((3, 1), np.float32)}, 2 * X.sum(1, keepdims=True),
                 id="whole number for a float"),
    pytest.param("-ot Clip -os 17 -on c -iv x float32 [2,3] -iv - -c top float32 0.5", {"x": X}, np.minimum(X, 0.5),
                 id="optional input left out"),
    pytest.param("-ot Mul -os 17 -on m -iv x float32 [2,3] -iv x float32 [2,3]", {"x": X}, X * X, id="used twice"),
    pytest.param("-ot Not -os 17 -on n -iv x bool [2,3]", {"x": X > 0}, X <= 0, id="bool"),
    pytest.param("-ot Reshape -os 17 -on r -iv x float32 ['N','M'] -c shape int64 [-1]", {"x": X}, X.reshape(-1),
                 id="constant input, named dimensions"),
    pytest.param("-ot ConstantOfShape -os 11 -on c -iv s int64 [2] -a value float32 [7]", {"s": np.array([2, 3])},
                 np.full((2, 3), 7, np.float32), id="ConstantOfShape keeps its input"),
    pytest.param("-ot Constant -os 11 -on c -a value int64 [20]", {}, np.array([20]), id="Constant"),
    pytest.param("-ot Constant -os 11 -on c -a value float32 5", {}, np.float32(5), id="Constant, a scalar"),
    pytest.param("-ot Constant -os 11 -on c -a value float32 -inf", {}, np.float32(-np.inf), id="Constant, infinite"),
    pytest.param("-ot Concat -os 17 -on c -iv x float32 [2,3] -iv w float32 [2,1] -a axis 1",
                 {"x": X, "w": X[:, :1]}, np.concatenate([X, X[:, :1]], 1), id="attribute without a dtype"),
    pytest.param("-ot LeakyRelu -os 16 -on l -iv x -a alpha 0.5", {"x": X.reshape(1, 1, 2, 3)},
                 np.where(X > 0, X, X / 2).reshape(1, 1, 2, 3), id="input by its name alone"),
    pytest.param("-ot Inverse -os 1 -on i --domain com.microsoft -iv x float32 [2,2] -ov y float32 [2,2]",
                 {"x": np.diag([2, 4]).astype(np.float32)}, np.diag([0.5, 0.25]), id="another domain"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "feeds", "expected"), RUNS)
def test_runs(words: str, feeds: dict[str, Any], expected: Any, make: Any) -> None:
    (got,) = models.run(make(words), feeds).values()
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize(
    ("dtype", "elem"),
    [("bool", 9), ("str", 8), ("string", 8), ("bfloat16", 16), ("float16", 10), ("uint8", 2), ("int4", 22)],
)
def test_any_dtype_of_a_variable(dtype: str, elem: int, make: Any) -> None:
    model = make(f"-ot Identity -os 21 -on i -iv x {dtype} [2]")
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [elem, elem]


def test_sequences(make: Any) -> None:
    model = make("-ot SequenceAt -os 17 -on s -iv x sequence(float32) [3] -iv i int64 []")
    assert model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type == TensorProto.FLOAT
    assert shapes(model.graph.output) == {"s_output": [3]}


def test_several_outputs_are_inferred(make: Any) -> None:
    model = make("-ot Split -os 13 -on s -iv x float32 [2,6] -ov a -ov b -a axis int64 1")
    assert shapes(model.graph.output) == {"a": [2, 3], "b": [2, 3]}


@pytest.mark.parametrize(
    ("words", "inputs"),
    [
        pytest.param("-ot Conv -os 17 -iv x -iv w -iv b",
                     {"x": list("NCHW"), "w": ["O", "C", 3, 3], "b": ["b_0"]}, id="Conv"),
        pytest.param("-ot MatMul -os 17 -iv a -iv b", {"a": ["a_0", "a_1"], "b": ["b_0", "b_1"]}, id="MatMul"),
        pytest.param("-ot Add -os 17 -iv a -iv b", {"a": list("NCHW"), "b": list("NCHW")}, id="Add"),
        pytest.param("-ot TopK -os 17 -ov v -ov i -iv x -iv k", {"x": list("NCHW"), "k": ["k_0"]}, id="TopK"),
        pytest.param("-ot GRU -os 17 -a hidden_size 4 -iv x -iv w -iv r",
                     {n: [f"{n}_{i}" for i in range(3)] for n in "xwr"}, id="GRU"),
    ],
)  # fmt: skip
def test_usual_ranks(words: str, inputs: dict[str, Any], make: Any) -> None:
    assert shapes(make(f"{words} -on n").graph.input) == inputs


def test_attributes_get_the_type_of_the_definition(make: Any) -> None:
    model = make("-ot Gemm -os 17 -on g -iv a float32 [2,3] -iv b float32 [3,2] -a alpha int64 1 -a transA float32 0")
    kinds = {a.name: a.type for a in model.graph.node[0].attribute}
    assert kinds == {"alpha": AttributeProto.FLOAT, "transA": AttributeProto.INT}


def test_ir_version(make: Any) -> None:
    assert make("-ot Relu -os 11 -ir 6 -on r -iv x float32 [2]").ir_version == 6
    assert make("-ot Relu -os 17 -ir 3 -on r -iv x float32 [2]").ir_version == 8  # opset 17 came with it


def test_plugins_of_tensorrt_are_not_checked(make: Any) -> None:
    model = make("-ot EfficientNMS_TRT -os 11 -on n -iv x float32 [2,4] -ov y int32 [1] -a background_class int64 -1")
    assert models.describe(model) == "x | n:EfficientNMS_TRT(x)->y | y"
    assert model.graph.node[0].attribute[0].i == -1


ONE = "-on n -iv x float32 [3]"
WRONG = [
    pytest.param(f"-ot Rleu -os 17 {ONE}", "no operator 'Rleu'; nearest: 'Relu'", id="operator"),
    pytest.param(f"-ot Gelu -os 17 {ONE}", "opset 17 has no operator 'Gelu' (defined in 20)", id="too new"),
    pytest.param(f"-ot Relu -os 99 {ONE}", "no opset 99", id="opset"),
    pytest.param(f"-ot Elu -os 17 {ONE} -a alfa float32 1", "no attribute 'alfa'; nearest: 'alpha'", id="attribute"),
    pytest.param(f"-ot Elu -os 17 {ONE} -a alpha flaot32 1", "no dtype 'flaot32'; nearest: 'float32'", id="dtype"),
    pytest.param(f"-ot Elu -os 17 {ONE} -a alpha int64 0.5", "0.5 is not a whole number", id="value of the dtype"),
    pytest.param(f"-ot Cast -os 17 {ONE} -a to int64 1.5", "is not a whole number", id="value of the attribute"),
    pytest.param(f"-ot Cast -os 17 {ONE}", "needs the attribute(s) to", id="required attribute"),
    pytest.param(f"-ot Relu -os 17 {ONE} -iv y float32 [3]", "takes 1 input(s), not 2", id="arity"),
    pytest.param(f"-ot Relu -os 17 {ONE} -ov y float32 [4]", "float32[4] and float32[3]", id="declared shape"),
    pytest.param(f"-ot Relu -os 17 {ONE} -ov y int64 [3]", "dtypes int64 and float32", id="declared dtype"),
    pytest.param("-ot Relu -os 17 -on n -iv x bool [3]", "Relu", id="type of an input"),
    pytest.param(
        "-ot F -os 1 -on n --domain d -iv x -ov y float32 [3]", "x needs a dtype", id="nothing is usual there"
    ),
    pytest.param("-ot Relu -os 17 -iv x float32 [3]", "-ot, -os, -on", id="no name"),
]


@pytest.mark.parametrize(("words", "what"), WRONG)
def test_wrong_requests_write_nothing(words: str, what: str, cli: Cli, tmp_path: Path) -> None:
    result = cli("sog4onnx", *shlex.split(words), "-of", tmp_path / "o.onnx")
    assert result.code == 1 and what in result.err and listing(tmp_path) == []


def test_function_takes_dictionaries() -> None:
    model = generate(
        "Clip", 17, "c", input_variables={"x": [np.float32, [2, 3]]}, output_variables={"y": [np.float32, [2, 3]]},
        constants={"low": np.array(0, np.float32), "high": ("float32", 2)}, non_verbose=True,
    )  # fmt: skip
    models.assert_same(models.run(model, {"x": X}), {"y": np.clip(X, 0, 2)})
    constant = generate("Constant", 11, "c", attributes={"value": np.array([[1.5]])}, non_verbose=True)
    np.testing.assert_array_equal(numpy_helper.to_array(constant.graph.node[0].attribute[0].t), [[1.5]])


def test_function_raises_what_it_says() -> None:
    with pytest.raises(ToolError) as caught:
        generate("Rleu", 17, "n", input_variables={"x": ["float32", [3]]})
    assert (caught.value.tool, caught.value.name, caught.value.candidates[0]) == ("sog4onnx", "Rleu", "Relu")


def test_standard_output(cli: Cli) -> None:
    result = cli("sog4onnx", "-ot", "Relu", "-os", 17, "-on", "r", "-iv", "x", "float32", "[2]", "-of", "-")
    assert models.describe(ModelProto.FromString(result.out)) == "x | r:Relu(x)->r_output | r_output"


def test_list(cli: Cli) -> None:
    everything = cli("sog4onnx", "--list").text.splitlines()
    assert len(everything) > 180 and any(line.split() == ["GlobalLpPool", "1,", "2,", "22"] for line in everything)
    one = cli("sog4onnx", "--list", "Gemm").text
    assert "input     C: T (optional)" in one and "attribute alpha: float = 1.0" in one and "tensor(float16)" in one
    result = cli("sog4onnx", "--list", "Gem")
    assert result.code == 1 and "nearest: 'Gemm'" in result.err
