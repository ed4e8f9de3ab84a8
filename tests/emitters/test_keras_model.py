"""The Keras model as its users see it: real layers with the names of the nodes, trainable, of any batch and size."""

from __future__ import annotations

import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import ConversionError, compile, convert, passes
from onnx2tf_lite.emitters import keras
from onnx2tf_lite.emitters.keras import fake_quantize
from onnx2tf_lite.emitters.keras import model as emitter
from onnx2tf_lite.emitters.runtime import tensorflow
from onnx2tf_lite.ir.graph import Graph, Quant
from tests.models import golden
from tests.validation.models import cnn, model

tf_keras = pytest.importorskip("tf_keras")
ROOT = Path(__file__).resolve().parents[2]
DIGITS = golden.Model("digits", ROOT / "examples" / "digits" / "digits.onnx")
REAL = [DIGITS, *(m for m in golden.real() if m.present)]

#: Layers of Keras and functions of TensorFlow, and registered ones, that a first sketch of this emitter reached.
SKETCH = {"digits": (18, 0), "mnist_8": (7, 0), "deeplab_v3_mnv2_257": (67, 2), "yunet_n_dynamic": (90, 2),
          "yolox_nano_416": (364, 8)}  # fmt: skip


def program(path: Path) -> Graph:
    graph = compile.run(passes.optimize(passes.load(path))[0], compile.STAGES)
    return next(compile.branches(graph, ["float"]))[1]


def test_nearly_all_of_the_real_models_are_layers_that_any_program_loads() -> None:
    total, floats = Counter[str](), Counter[str]()
    for real in REAL:
        found = emitter.sorts(program(real.path))
        total += found
        floats += found if "qdq" not in real.name else Counter()
        layers, others = SKETCH.get(real.path.stem, (0, sys.maxsize))
        assert found["layer"] >= layers and found["other"] <= others, real.name
    assert total["other"] <= 0.05 * total.total(), total
    assert total["layer"] >= 0.95 * total.total(), total
    assert floats["layer"] >= 0.95 * floats.total(), floats


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, -5), (np.uint8, 99), (np.int16, 0)])
def test_fake_quantisation_rounds_as_onnx_does_and_can_be_trained(dtype: type, zero: int) -> None:
    quant = Quant(np.array([0.25], np.float32), np.array([zero]), np.dtype(dtype))
    halves = np.arange(-2000, 2000, dtype=np.float32) * np.float32(0.125)  # every other one half-way
    numbers = np.concatenate([halves, np.random.default_rng(0).normal(size=999).astype(np.float32) * 40])
    info = np.iinfo(dtype)
    rounded = fake_quantize.activation()(0.25, zero, int(info.min), int(info.max))
    tensor = tf_keras.backend.constant(numbers)
    np.testing.assert_array_equal(rounded(tensor), quant.real(quant.stored(numbers)))
    with tensorflow().GradientTape() as tape:
        tape.watch(tensor)
        sum_ = tensorflow().reduce_sum(rounded(tensor))
    wide = np.round(numbers / np.float32(0.25)) + zero
    np.testing.assert_array_equal(tape.gradient(sum_, tensor), (wide >= info.min) & (wide <= info.max))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_a_quantised_model_is_loaded_again(suffix: str, tmp_path: Path) -> None:
    source = model("""q (float[N,4] x) => (float[N,4] y) {
        s = Constant<value = float {0.25}>()   z = Constant<value = int8 {3}>()
        stored = QuantizeLinear(x, s, z)   rounded = DequantizeLinear(stored, s, z)   y = Tanh(rounded) }""")
    onnx.save(source, tmp_path / "model.onnx")
    graph = program(tmp_path / "model.onnx")
    keras.write(graph, tmp_path / f"model{suffix}")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    again = keras.load(tmp_path / f"model{suffix}")
    assert [type(layer).__name__ for layer in again.layers] == ["InputLayer", "Activation", "Activation"]
    np.testing.assert_array_equal(keras.build(graph).model(x), again(x))


@pytest.mark.parametrize("name", ["digits", "real/mnist_8", "real/vittrack"])
def test_all_is_trainable_and_nothing_is_a_lambda(name: str) -> None:
    (real,) = [m for m in REAL if m.name == name]
    made = keras.build(program(real.path)).model
    assert len(made.trainable_weights) == len(made.weights) > 0
    weights = list(map(onnx.numpy_helper.to_array, onnx.load(real.path).graph.initializer))
    assert made.count_params() > 0.9 * sum(w.size for w in weights if w.dtype == np.float32 and w.ndim > 1)
    assert "Lambda" not in {type(layer).__name__ for layer in made.layers}


def test_layers_are_called_after_the_nodes() -> None:
    made = keras.build(program(DIGITS.path)).model
    nodes = {node.name.strip("/").replace("/", "_") for node in onnx.load(DIGITS.path).graph.node}
    named = [layer.name for layer in made.layers if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D", "Dense")]
    assert named and set(named) <= nodes
    assert [t.name for t in made.inputs] == ["image"] and made.input_shape == (None, 8, 8, 1)


@pytest.mark.parametrize("size", [(64, 96), (160, 128)])
def test_one_model_takes_all_sizes(size: tuple[int, int]) -> None:
    (yunet,) = [m for m in REAL if m.name == "real/yunet_n_dynamic"]
    graph = program(yunet.path)
    made = keras.build(graph).model
    image = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(yunet.path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: image.transpose(0, 3, 1, 2)})
    for name, tensor, reference in zip(graph.output_names, made(image), expected, strict=True):
        assert session.get_outputs()[graph.output_names.index(name)].name == name
        assert np.abs(np.asarray(tensor) - reference).max() <= 1e-3 * max(1, np.abs(reference).max())


def test_convolutions_of_signals_are_those_of_keras(tmp_path: Path) -> None:
    source = model(
        """signals (float[N,6,40] x) => (float[N,8,19] y, float[N,8] largest, float[N,6,38] wide) {
        a = Conv<kernel_shape=[3], pads=[1,1]>(x, wa, ba)   r = Relu(a)
        b = Conv<kernel_shape=[3], dilations=[2], pads=[2,2], group=8>(r, wb)
        c = Add(r, b)   d = Conv<kernel_shape=[4], strides=[2]>(c, wc)   y = Tanh(d)
        largest = ReduceMax<axes=[2], keepdims=0>(y)   wide = ConvTranspose<strides=[2]>(y, wd) }""",
        **{"wa": (8, 6, 3), "ba": (8,), "wb": (8, 1, 3), "wc": (8, 8, 4), "wd": (8, 6, 2)},
    )
    options = {"onnx_graph": source, "output_folder_path": tmp_path, "non_verbose": True, "check": "layers"}
    result = convert(outputs=["keras"], **options, io_layout="channels-last")
    assert result.exit_code == 0 and {layer.tensor for layer in result.check.files[0].layers} >= {"r", "c", "d", "y"}
    names = [type(layer).__name__ for layer in result.tf_keras_model.layers]
    assert Counter(names) >= Counter({"Conv1D": 2, "DepthwiseConv1D": 1, "ReLU": 1, "Conv1DTranspose": 1})
    assert not any("2D" in name for name in names), names


KINDS = ("keras", "h5", "keras_weights", "frozen")


def test_every_file_is_checked_against_onnx_runtime_layer_by_layer(tmp_path: Path) -> None:
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=KINDS, check="layers", non_verbose=True)
    names = {"model_float32_v3.keras", "model_float32.h5", "model_float32.weights.h5", "model_float32.pb"}
    assert names | {"model_float32.json", "model_report.json"} == {p.name for p in tmp_path.iterdir()}
    assert [file.kind for file in result.check.files] == list(KINDS) and result.exit_code == 0
    assert all(len(file.layers) > 1 for file in result.check.files)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_weight_is_found(kind: str, tmp_path: Path) -> None:
    from onnx2tf_lite.validation import check

    source = cnn()
    result = convert(onnx_graph=source, output_folder_path=tmp_path, outputs=[kind], check="none", non_verbose=True)
    for tensor in source.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            changed = onnx.numpy_helper.to_array(tensor) * np.float32(1.1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    assert check(source, result.files[kind]).exit_code == 1


def test_the_known_flags_add_the_files_to_the_others(tmp_path: Path) -> None:
    asked = {"output_h5": True, "output_keras_v3": True, "output_tfv1_pb": True, "outputs": ["float32"]}
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, check="none", non_verbose=True, **asked)
    assert set(result.files) == {"float32", *KINDS}
    with zipfile.ZipFile(result.files["keras"]) as archive:  # some Pythons lose their place in members that are stored
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_a_result_gives_the_model_when_it_is_asked_for(tmp_path: Path) -> None:
    result = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=["float32", "keras"], non_verbose=True)
    made = result.tf_keras_model
    assert made is result.tf_keras_model and isinstance(made, tf_keras.Model)
    image = np.random.default_rng(0).normal(size=[d or 1 for d in made.input_shape]).astype(np.float32)
    np.testing.assert_array_equal(made(image), keras.load(result.files["keras"])(image))


def test_a_model_without_inputs_is_an_error() -> None:
    source = model("g () => (float[2] y) { y = Constant<value = float[2] {1, 2}>() }")
    with pytest.raises(ConversionError, match="the model has no input"):
        convert(onnx_graph=source, outputs=["keras"], disable_model_save=True, non_verbose=True)


def test_missing_keras_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ConversionError, match=r"pip install 'onnx2tf_lite\[keras\]'"):
        keras.build(Graph())


def test_batch_normalization_is_kept_as_a_layer_with_its_statistics(tmp_path: Path) -> None:
    asked = {"keep_batchnorm": True, "outputs": ["keras", "float32"], "non_verbose": True}
    result = convert(DIGITS.path, tmp_path, **asked)
    source = onnx.load(DIGITS.path).graph
    nodes = [node for node in source.node if node.op_type == "BatchNormalization"]
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in source.initializer}
    made = result.tf_keras_model
    kept = [layer for layer in made.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]
    assert result.exit_code == 0 and len(kept) == len(nodes) > 0
    for layer, node in zip(kept, nodes, strict=True):
        for ours, name in zip(layer.get_weights(), node.input[1:], strict=True):
            np.testing.assert_array_equal(ours, values[name])
    assert len(made.weights) - len(made.trainable_weights) == 2 * len(kept)
    folded = keras.build(program(DIGITS.path)).model
    assert not [layer for layer in folded.layers if isinstance(layer, tf_keras.layers.BatchNormalization)]


NORM = """
    g (float[N,5,8] x) => (float[N,5,8] y) {{
      s = Constant<value = float[8] {{1, 2, 3, 4, 5, 6, 7, 8}}>()
      b = Constant<value = float[8] {{0, 1, 0, 1, 0, 1, 0, 1}}>()
      y = LayerNormalization<axis = {axis}, epsilon = 0.01>(x, s, b) }}"""


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_normalisation_of_the_last_axis_is_its_layer(axis: int, tmp_path: Path) -> None:
    result = convert(onnx_graph=model(NORM.format(axis=axis)), outputs=["keras"], output_folder_path=tmp_path,
                     non_verbose=True)  # fmt: skip
    kinds = [type(layer).__name__ for layer in result.tf_keras_model.layers]
    assert result.exit_code == 0 and (kinds == ["InputLayer", "LayerNormalization"]) == (axis == -1)
