"""Whole files as ONNX Runtime's optimiser and quantiser write them: converted, and checked against ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # noqa: TID253 (a test)
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import ConversionError, convert
from tests.harness import new_runtime
from tests.models import golden

LEVELS = {
    "extended": (ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, []),
    # all but the layout in blocks of one processor
    "all": (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ["NchwcTransformer"]),
}
REAL = ["real/yolox_nano_416", "real/vittrack"]
EXPORTS = ["exports/bert_dynamic.dynamo", "exports/mobilenet_inverted_residual_se.ts13", "exports/grid_sample.ts17"]


def optimised(source: Path, folder: Path, level: Any, disabled: Sequence[str] = ()) -> Path:
    """The file that ONNX Runtime saves."""
    path, options = folder / "optimised.onnx", ort.SessionOptions()
    options.optimized_model_filepath, options.graph_optimization_level = str(path), level
    options.log_severity_level = 4
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))
    return path


def operators(path: Path, domain: str = "com.microsoft") -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node if node.domain == domain}


def check(path: Path, folder: Path, feeds: Any = None) -> Path:
    """The .tflite of a model, which matches."""
    result = convert(path, folder / "out", outputs=("float32",), test_data=feeds, non_verbose=True)
    assert result.check is not None
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    return result.files["float32"]


def kernels(path: Path) -> Counter[tuple[str, str]]:
    """(kernel, dtype of its result) of every operator in a file."""
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    dtypes = {d["index"]: np.dtype(d["dtype"]).name for d in interpreter.get_tensor_details()}
    return Counter((op["op_name"], dtypes[op["outputs"][0]]) for op in interpreter._get_ops_details())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("model", golden.parameters(golden.named(*REAL, *EXPORTS)))
def test_optimised_models(model: golden.Model, level: str, tmp_path: Path) -> None:
    path = optimised(model.path, tmp_path, *LEVELS[level])
    assert operators(path)
    for feeds in model.feeds() or [None]:
        check(path, tmp_path, feeds)


# ------------------------------------------------------------------------------------------------ small graphs


def weights(**shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    return [numpy_helper.from_array((rng.standard_normal(s) * 0.2).astype(np.float32), n) for n, s in shapes.items()]


def model(nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto], x: Any, y: Any, ir: int = 9
          ) -> onnx.ModelProto:  # fmt: skip
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x), ("y", y))]
    graph = helper.make_graph(nodes, "small", infos[:1], infos[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir)


def cnn() -> onnx.ModelProto:
    """One of every operator that the static quantiser replaces."""
    n = helper.make_node
    nodes = [
        n("Conv", ["x", "w0", "b0"], ["a"], pads=[1, 1, 1, 1]), n("Relu", ["a"], ["b"]),
        n("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        n("Conv", ["c", "w1", "b1"], ["d"], pads=[1, 1, 1, 1]), n("LeakyRelu", ["d"], ["e"], alpha=0.1),
        n("Add", ["c", "e"], ["f"]), n("Conv", ["f", "w2", "b2"], ["g"], group=8, pads=[1, 1, 1, 1]),
        n("Sigmoid", ["g"], ["h"]), n("Mul", ["g", "h"], ["i"]), n("Concat", ["i", "f"], ["j"], axis=1),
        n("AveragePool", ["j"], ["k"], kernel_shape=[2, 2], strides=[2, 2]), n("GlobalAveragePool", ["k"], ["l"]),
        n("Flatten", ["l"], ["m"]), n("Gemm", ["m", "w3", "b3"], ["o"], transB=1), n("Softmax", ["o"], ["y"]),
    ]  # fmt: skip
    constants = weights(
        w0=(8, 3, 3, 3), b0=(8,), w1=(8, 8, 3, 3), b1=(8,), w2=(8, 1, 3, 3), b2=(8,), w3=(10, 16), b3=(10,)
    )
    return model(nodes, constants, [1, 3, 16, 16], [1, 10])


def perceptron() -> onnx.ModelProto:
    n = helper.make_node
    nodes = [n("MatMul", ["x", "w0"], ["a"]), n("Add", ["a", "b0"], ["b"]), n("Relu", ["b"], ["c"]),
             n("MatMul", ["c", "w1"], ["d"]), n("Add", ["d", "b1"], ["y"])]  # fmt: skip
    return model(nodes, weights(w0=(16, 32), b0=(32,), w1=(32, 4), b1=(4,)), ["N", 16], ["N", 4])


def convolutions() -> onnx.ModelProto:
    n = helper.make_node
    nodes = [
        n("Conv", ["x", "w0", "b0"], ["a"], pads=[1, 1, 1, 1]),
        n("Relu", ["a"], ["b"]),
        n("Conv", ["b", "w1"], ["y"]),
    ]
    return model(nodes, weights(w0=(8, 3, 3, 3), b0=(8,), w1=(4, 8, 1, 1)), [1, 3, 8, 8], [1, 4, 8, 8])


def recurrent() -> onnx.ModelProto:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)
    return model([node], weights(w=(1, 32, 6), r=(1, 32, 8)), [5, 2, 6], [5, 1, 2, 8])


def at_level(path: Path, folder: Path, level: str) -> Path:
    return optimised(path, folder, *LEVELS[level]) if level in LEVELS else path


def statically(float_model: onnx.ModelProto, folder: Path, form: str, activations: str, weight_type: str) -> Path:
    """The model as ``quantize_static`` writes it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(1)
            self.batches = iter([{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    source, path = folder / "float.onnx", folder / "quantised.onnx"
    onnx.save(float_model, source)
    # uint8 times int8 saturates in ONNX Runtime on processors without VNNI unless the weights have 7 bits
    quantize_static(source, path, Reader(), quant_format=QuantFormat[form], activation_type=QuantType[activations],
                    weight_type=QuantType[weight_type], per_channel=weight_type == "QInt8",
                    reduce_range=activations != weight_type)  # fmt: skip
    return path


@pytest.mark.parametrize("level", ["as_written", *LEVELS])
@pytest.mark.parametrize("types", [("QUInt8", "QUInt8"), ("QInt8", "QInt8"), ("QUInt8", "QInt8")], ids="_".join)
@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
def test_statically_quantised(form: str, types: tuple[str, str], level: str, tmp_path: Path) -> None:
    path = at_level(statically(cnn(), tmp_path, form, *types), tmp_path, level)
    assert operators(path) or (form, level) == ("QDQ", "as_written")
    found = kernels(check(path, tmp_path))
    kinds = ["ADD", "MAX_POOL_2D", "LEAKY_RELU", "CONCATENATION", "MEAN", "FULLY_CONNECTED", "CONV_2D"]
    int8 = {kind for kind, dtype in found if dtype == "int8"}
    with_zero_points = {"FULLY_CONNECTED", "CONV_2D"} if types[1] == "QUInt8" else set()
    assert set(kinds) - int8 <= with_zero_points, found


@new_runtime
@pytest.mark.parametrize("level", ["as_written", *LEVELS])
@pytest.mark.parametrize("weight_type", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("make", [perceptron, convolutions], ids=lambda f: f.__name__)
def test_dynamically_quantised(
    make: Callable[[], onnx.ModelProto], weight_type: str, level: str, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, path = tmp_path / "float.onnx", tmp_path / "quantised.onnx"
    onnx.save(make(), source)
    signed = weight_type == "QInt8"
    quantize_dynamic(source, path, weight_type=QuantType[weight_type], per_channel=signed, reduce_range=signed)
    check(at_level(path, tmp_path, level), tmp_path)


def test_a_dynamically_quantised_lstm(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    source, path = tmp_path / "float.onnx", tmp_path / "quantised.onnx"
    onnx.save(recurrent(), source)
    quantize_dynamic(source, path)
    result = convert(path, tmp_path / "out", outputs=("float32",), check="layers", non_verbose=True)
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    assert any("number of threads" in note for note in result.check.notes)


def test_channels_in_blocks_are_refused(tmp_path: Path) -> None:
    n = helper.make_node
    nodes = [n("Conv", ["x", "w0"], ["a"]), n("Relu", ["a"], ["b"]), n("Conv", ["b", "w1"], ["y"])]
    source = tmp_path / "float.onnx"
    onnx.save(model(nodes, weights(w0=(32, 16, 3, 3), w1=(32, 32, 1, 1)), [1, 16, 8, 8], [1, 32, 6, 6]), source)
    path = optimised(source, tmp_path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    if not operators(path, "com.microsoft.nchwc"):
        pytest.skip("ONNX Runtime has no blocked layout for this processor")
    with pytest.raises(ConversionError, match=r"com\.microsoft\.nchwc\.ReorderInput .* processor .* -> save "):
        convert(path, tmp_path / "out", outputs=("float32",), non_verbose=True)


def test_weights_that_the_optimiser_adds_to_an_old_file(tmp_path: Path) -> None:
    """IR version 3 wants every initialiser to be an input too; ONNX Runtime does not care."""
    nodes = [helper.make_node("FusedConv", ["x", "w", "b"], ["y"], domain="com.microsoft", activation="Relu")]
    old = model(nodes, weights(w=(4, 3, 3, 3), b=(4,)), [1, 3, 8, 8], [1, 4, 6, 6], ir=3)
    old.opset_import.add(domain="com.microsoft", version=1)
    onnx.save(old, tmp_path / "old.onnx")
    check(tmp_path / "old.onnx", tmp_path)
