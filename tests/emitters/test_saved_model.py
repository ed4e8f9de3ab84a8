"""The SavedModel as its users see it: signature, files, failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite.emitters import saved_model
from onnx2tf_lite.emitters.saved_model import checkpoint
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, building
from onnx2tf_lite.ir.kinds import KINDS
from tests.emitters.cases import weights, window

try:
    import tensorflow as tf
except ModuleNotFoundError:
    tf = None
needs_tensorflow = pytest.mark.skipif(tf is None, reason="TensorFlow is not installed")


def graph_of(function, *inputs, names=("y",)) -> Graph:
    """A graph of inputs (name, shape, dtype) and the outputs that ``function`` makes of them."""
    graph = Graph()
    for name, shape, dtype in inputs:
        graph.add_input(name, shape, dtype)
    with building(graph):
        graph.outputs = list(function(*graph.inputs))
    graph.output_names = list(names)
    return graph


def cnn() -> Graph:
    def layers(x):
        attrs = window((2, 2), "SAME", activation="RELU")
        x = b.emit("CONV_2D", x, weights(8, 3, 3, 3), weights(8), **attrs)
        x = b.emit("DEPTHWISE_CONV_2D", x, weights(1, 3, 3, 8), weights(8), multiplier=1, **attrs)
        return [b.softmax(b.fully_connected(b.reduce("MEAN", x, (1, 2)), weights(5, 8), weights(5)))]

    return graph_of(layers, ("image", (dims.symbol("N"), 16, 16, 3), np.float32))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        pytest.param(["x", "Input_1"], ["x", "Input_1"], id="legal names stay"),
        pytest.param(["images/rgb:0", "input.1"], ["images_rgb_0", "input_1"], id="punctuation"),
        pytest.param(["1", "_a", ""], ["tensor_1", "tensor_a", "tensor_"], id="no letter first"),
        pytest.param(["a.b", "a_b", "a-b"], ["a_b_1", "a_b", "a_b_2"], id="collisions spare the legal name"),
        pytest.param(["x", "X", "Image"], ["x", "X_1", "Image"], id="case alone is no difference"),
        pytest.param(["class", "lambda"], ["class_", "lambda_"], id="keywords"),
        pytest.param(["größe", "入力"], ["gr__e", "tensor_"], id="not ASCII"),
    ],
)
def test_signature_keys(names, keys):
    assert list(saved_model.signature_keys(names).items()) == list(zip(names, keys, strict=True))


@needs_tensorflow
def test_signature_has_all_inputs_and_outputs_in_onnx_order(tmp_path):
    n = dims.symbol("N")
    graph = graph_of(
        lambda x, upper, unused, flag, image: [x + upper, b.logical_not(flag), b.emit("IDENTITY", x, shape=x.shape)],
        ("x", (n, 4), np.float32), ("X", (n, 4), np.float32), ("un used", (2, dims.symbol("T")), np.int64),
        ("class", (), np.bool_), ("Image", (), np.float32), names=("z/0", "not", "x"),
    )  # fmt: skip
    keys = saved_model.write(graph, tmp_path, signature_key="predict")
    assert list(keys) == [*(v.name for v in graph.inputs), "z/0", "not"]
    assert list(keys.values()) == ["x", "X_1", "un_used", "class_", "Image", "z_0", "not_"]
    signature = tf.saved_model.load(str(tmp_path)).signatures["predict"]
    (_, inputs), outputs = signature.structured_input_signature, signature.structured_outputs
    assert {k: (s.shape.as_list(), s.dtype.name) for k, s in inputs.items()} == {
        "x": ([None, 4], "float32"), "X_1": ([None, 4], "float32"),
        "un_used": ([2, None], "int64"), "class_": ([], "bool"),
        "Image": ([], "float32")}  # fmt: skip
    assert {k: s.shape.as_list() for k, s in outputs.items()} == {"z_0": [None, 4], "not_": [], "x": [None, 4]}
    x = np.ones((3, 4), np.float32)
    rest = {"un_used": np.zeros((2, 1), np.int64), "class_": np.array(True), "Image": np.float32(0)}
    results = saved_model.load(tmp_path, signature_key="predict")({"x": x, "X_1": 2 * x, **rest})
    np.testing.assert_array_equal(results["z_0"], 3 * x)
    assert not results["not_"] and np.array_equal(results["x"], x)


@needs_tensorflow
def test_outputs_that_are_inputs_or_constants(tmp_path):
    graph = graph_of(lambda x: [x, b.lift(np.arange(3))], ("x", (2,), np.float32), names=("same", "constant"))
    saved_model.write(graph, tmp_path)
    results = saved_model.load(tmp_path)({"x": np.ones(2, np.float32)})
    assert results["same"].tolist() == [1, 1] and results["constant"].tolist() == [0, 1, 2]


@needs_tensorflow
def test_a_model_without_inputs(tmp_path):
    saved_model.write(graph_of(lambda: [b.lift(np.float32(3))]), tmp_path)
    assert saved_model.load(tmp_path)({}) == {"y": 3}


# ------------------------------------------------------------------------------------------------ files


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        saved_model.write(cnn(), tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@needs_tensorflow
def test_a_second_model_replaces_the_first_and_other_files_stay(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"kept")
    saved_model.write(cnn(), tmp_path)
    saved_model.write(graph_of(lambda x: [b.neg(x)], ("x", (2,), np.float32)), tmp_path)
    assert saved_model.load(tmp_path)({"x": np.ones(2, np.float32)})["y"].tolist() == [-1, -1]
    assert (tmp_path / "model.tflite").read_bytes() == b"kept"
    assert not [p for p in tmp_path.parent.iterdir() if p.name.startswith(f".{tmp_path.name}")]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    saved_model.write(cnn(), tmp_path / "out")
    before = contents(tmp_path)

    def half(prefix, arrays, objects):
        Path(f"{prefix}.data-00000-of-00001").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "write", half)
    for folder in ("out", "new"):
        with pytest.raises(OSError, match="disk full"):
            saved_model.write(cnn(), tmp_path / folder)
    assert contents(tmp_path) == before and not (tmp_path / "new").exists()


def test_an_operation_without_counterpart_is_an_error(tmp_path):
    graph = graph_of(lambda x: [b.dims_value(x.shape)], ("x", (dims.symbol("N"),), np.float32))
    with pytest.raises(ConversionError, match="DIMS has no TensorFlow form"):
        saved_model.write(graph, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_integer_kernel_is_an_error(tmp_path):
    graph = graph_of(lambda x: [b.add(x, x)], ("x", (4,), np.int8))
    with pytest.raises(ConversionError, match=r"ADD of x: i8\[4\] has no TensorFlow form"):
        saved_model.write(graph, tmp_path / "out")


def test_weights_are_stored_once(tmp_path):
    big = weights(256, 256)
    graph = graph_of(lambda x: [b.fully_connected(b.fully_connected(x, big), big)], ("x", (1, 256), np.float32))
    saved_model.write(graph, tmp_path)
    assert sum(map(len, contents(tmp_path).values())) < big.data.nbytes + 32_000


# ------------------------------------------------------------------------------------------------ TensorFlow itself


def test_every_kind_has_a_counterpart():
    from onnx2tf_lite.emitters.saved_model.ops import COUNTERPARTS

    raw = {name for name, kind in KINDS.items() if kind.tensorflow}
    replaced = {name for name, kind in KINDS.items() if kind.operator is None}  # before anything is written
    assert raw | set(COUNTERPARTS) == set(KINDS) - replaced and not raw & set(COUNTERPARTS)


def test_it_is_written_without_tensorflow_which_runs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    saved_model.write(cnn(), tmp_path)
    with pytest.raises(ConversionError, match=r"pip install 'onnx2tf_lite\[tensorflow\]'"):
        saved_model.load(tmp_path)


def test_writing_imports_no_tensorflow(tmp_path):
    code = (
        "import sys\n"
        "from onnx2tf_lite.emitters import saved_model\n"
        "from tests.emitters.cases import CASES, program\n"
        "saved_model.write(program(CASES['WHILE'], True)[0], sys.argv[1])\n"
        "assert not [m for m in sys.modules if m.startswith('tensorflow')]\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@needs_tensorflow
def test_a_fingerprint_of_another_model_does_not_stay(tmp_path):
    (tmp_path / "fingerprint.pb").write_bytes(b"of another")
    saved_model.write(cnn(), tmp_path)
    assert not (tmp_path / "fingerprint.pb").exists()


@needs_tensorflow
def test_writing_and_running_is_silent(tmp_path):
    code = (
        "import numpy as np\n"
        "from onnx2tf_lite.emitters import saved_model\n"
        "from tests.emitters.cases import CASES, program\n"
        f"folder, (graph, feeds) = {str(tmp_path)!r}, program(CASES['CONV_2D'], True)\n"
        "keys = saved_model.write(graph, folder)\n"
        "saved_model.load(folder)({keys[n]: a for n, a in feeds.items()})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == ""


@needs_tensorflow
def test_tensorflow_lite_converter_accepts_it(tmp_path):
    saved_model.write(cnn(), tmp_path)
    image = np.random.default_rng(0).standard_normal((1, 16, 16, 3)).astype(np.float32)
    expected = saved_model.load(tmp_path)({"image": image})["y"]
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)).convert()
    from ai_edge_litert.interpreter import Interpreter

    got = Interpreter(model_content=content).get_signature_runner("serving_default")(image=image)["y"]
    np.testing.assert_allclose(got, expected, atol=1e-6)
