"""float64 is computed in float32, unless TFLite has it all: what is exact, what is said and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.errors import ConversionError
from tests.harness import check_model, compile_model, run_tflite

HUGE, TINY = np.array([[1e199, -3e300, 7.0]]), np.array([1e-310, 6.95e-310, 0.1])


def model(operations: list[tuple], constants: dict[str, np.ndarray], rows: int | str = 1) -> ModelProto:
    """Operators (type, inputs, attributes) in a row, on x and z: double[rows,3]; each result is called t."""
    nodes = []
    for i, (op_type, operands, attrs) in enumerate(operations):
        named = [f"t{i - 1}" if o == "t" else o for o in operands]
        nodes.append(helper.make_node(op_type, named, [f"t{i}"], **attrs))
    ends = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, [rows, 3]) for n in "xz"]
    out = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.DOUBLE, None)
    graph = helper.make_graph(nodes, "g", ends, [out], [numpy_helper.from_array(a, n) for n, a in constants.items()])
    full = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)], ir_version=10)
    from onnx.shape_inference import infer_shapes

    return infer_shapes(full)


EXACT = {
    "bits": ([("BitCast", ["x"], {"to": TensorProto.INT64}), ("BitCast", ["t"], {"to": TensorProto.DOUBLE})], {}),
    "a sum with a constant": ([("Add", ["x", "c"], {})], {"c": TINY}),
    "a product": ([("Mul", ["x", "c"], {})], {"c": np.array([1e-5, 1e-150, 0.1])}),
    "extrema": ([("Max", ["x", "z"], {}), ("Min", ["t", "c"], {})], {"c": np.array([1e200, 0.0, 8.0])}),
    "movement": ([("Transpose", ["x"], {"perm": [1, 0]}), ("Reshape", ["t", "s"], {}),
                  ("Unsqueeze", ["t", "a"], {}), ("Squeeze", ["t", "a"], {}), ("Identity", ["t"], {}),
                  ("Sum", ["t", "x", "z"], {}), ("Flatten", ["t"], {}), ("Expand", ["t", "e"], {})],
                 {"s": np.array([1, 3]), "a": np.array([1]), "e": np.array([4, 3])}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_a_model_of_sums_products_extrema_and_movement_stays_float64(name: str) -> None:
    feeds = {"x": HUGE, "z": TINY[None]}
    compiled = check_model(model(*EXACT[name]), feeds, rtol=1e-15, atol=0)
    assert {v.dtype for v in (*compiled.inputs, *compiled.outputs)} == {np.dtype(np.float64)}


def test_of_a_dynamic_extent() -> None:
    compiled = compile_model(model([("Add", ["x", "c"], {})], {"c": TINY}, "N"))
    x = np.concatenate([HUGE, HUGE * 2])
    for outputs in run_tflite(compiled, {"x": x, "z": x}).values():
        np.testing.assert_array_equal(outputs["t0"], x + TINY)


@pytest.mark.parametrize("name", ["float32", "saved_model"])
def test_every_file_is_right(name: str, tmp_path) -> None:
    result = convert(
        onnx_graph=model(*EXACT["a product"]), output_folder_path=tmp_path, outputs=(name,), verbosity="error"
    )
    assert result.exit_code == 0 and not result.warnings


def test_float32_instead_is_said() -> None:
    proto = model([("Sigmoid", ["x"], {}), ("Add", ["t", "z"], {})], {})
    result = convert(onnx_graph=proto, outputs=("float32",), disable_model_save=True, verbosity="error")
    assert result.exit_code == 0
    assert result.warnings == ["float64 is computed in float32, which the files have for x, z, t1"]


@pytest.mark.parametrize(
    ("constant", "value"),
    [([1e300], "1e+300"), ([1.0, -1e39], "-1e+39"), ([1e-300], "1e-300"), ([0.0, 1e-60], "1e-60")],
    ids=["huge", "huge among others", "tiny", "all would be 0"],
)
def test_constants_outside_float32_are_refused(constant: list[float], value: str) -> None:
    array = np.resize(np.array(constant), 3) if len(constant) < 3 else np.array(constant)
    with pytest.raises(ConversionError, match="outside float32's range") as error:
        compile_model(model([("Add", ["x", "c"], {}), ("Sigmoid", ["t"], {})], {"c": array}))
    assert f"'c': {value} " in str(error.value)


@pytest.mark.parametrize("constant", [[1.0, 1e-60, 0.0], [np.inf, -np.inf, np.nan], [0.0, 0.0, 0.0]])
def test_constants_whose_loss_does_not_show_are_not(constant: list[float]) -> None:
    compile_model(model([("Add", ["x", "c"], {}), ("Sigmoid", ["t"], {})], {"c": np.array(constant)}))
