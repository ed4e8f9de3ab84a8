"""The loaded SavedModel as an object: its weights are variables, it can be called, trained, wrapped and converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.emitters import saved_model
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, building
from tests.emitters.cases import CASES, program, weights, window
from tests.models import golden

tf = pytest.importorskip("tensorflow")
RNG = np.random.default_rng(0)


def two_inputs() -> tuple[Graph, dict[str, np.ndarray]]:
    """A convolution of z and a dense layer of a (that comes second): three weights each with a bias."""
    graph, n = Graph(), dims.symbol("N")
    z, a = graph.add_input("z", (n, 6, 6, 3), np.float32), graph.add_input("a", (n, 5), np.float32)
    with building(graph):
        attrs = window((1, 1), "SAME", activation="RELU")
        space = b.emit("CONV_2D", z, weights(4, 3, 3, 3), weights(4), **attrs)
        row = b.fully_connected(a, weights(4, 5, seed=1), weights(4, seed=2))
        graph.outputs = [b.reduce("MEAN", space, (1, 2)) + row, row * 0.5]
    graph.output_names = ["sum", "half"]
    rows = {"z": (2, 6, 6, 3), "a": (2, 5)}
    return graph, {name: RNG.normal(size=shape).astype(np.float32) for name, shape in rows.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "model"
    saved_model.write(two_inputs()[0], path)
    return path


def test_the_weights_are_variables(folder: Path) -> None:
    loaded = tf.saved_model.load(str(folder))
    graph = two_inputs()[0]
    constants = [v.data for op in graph.ops for v in op.uses() if v.data is not None and v.data.size > 1]
    assert len(loaded.variables) == len(loaded.trainable_variables) == len(constants) == 4
    held = sorted(v.numpy().size for v in loaded.variables)
    assert held == sorted(c.size for c in constants)


def test_the_root_is_called_with_tensors_or_a_list(folder: Path) -> None:
    feeds = two_inputs()[1]
    loaded = tf.saved_model.load(str(folder))
    named = saved_model.load(folder)(feeds)
    for results in (loaded(feeds["z"], feeds["a"]), loaded.serving_default([feeds["z"], feeds["a"]])):
        for name, tensor in zip(["sum", "half"], results, strict=True):
            np.testing.assert_array_equal(tensor, named[name])


def test_what_is_given_by_name_comes_by_name(folder: Path) -> None:
    feeds = two_inputs()[1]
    loaded = tf.saved_model.load(str(folder))
    named = saved_model.load(folder)(feeds)
    for results in (loaded(feeds), loaded(**feeds), loaded.serving_default(**feeds), loaded.serve(feeds)):
        assert results.keys() == named.keys()
        for name, tensor in results.items():
            np.testing.assert_array_equal(tensor, named[name])


def test_one_result_is_a_tensor(tmp_path: Path) -> None:
    graph, feeds = program(CASES["FULLY_CONNECTED"], True)
    saved_model.write(graph, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    result = loaded.serving_default(*feeds.values())
    np.testing.assert_array_equal(result, saved_model.load(tmp_path)(feeds)["out0"])
    for named in (loaded(feeds), loaded(**feeds)):
        assert named.keys() == {"out0"} and np.array_equal(named["out0"], result)


def test_it_is_trained(folder: Path) -> None:
    feeds = two_inputs()[1]
    loaded = tf.saved_model.load(str(folder))

    def loss():
        return tf.reduce_mean(tf.square(loaded(feeds["z"], feeds["a"])[0]))

    before = loss()
    with tf.GradientTape() as tape:
        value = loss()
    for variable, slope in zip(loaded.variables, tape.gradient(value, loaded.variables), strict=True):
        assert slope is not None and np.any(slope)
        variable.assign_sub(0.05 * slope)
    assert loss() < 0.9 * before


@pytest.mark.parametrize("name", ["FULLY_CONNECTED", "CONV_2D", "IF", "WHILE"])
def test_variables_reach_bodies(name: str, tmp_path: Path) -> None:
    graph, feeds = program(CASES[name], True)
    saved_model.write(graph, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    before = [np.asarray(t) for t in tf.nest.flatten(loaded(*feeds.values()))]
    for variable in loaded.variables:
        variable.assign(variable * 0)
    after = [np.asarray(t) for t in tf.nest.flatten(loaded(*feeds.values()))]
    assert loaded.variables and any((x != y).any() for x, y in zip(before, after, strict=True))


def test_a_layer_of_keras_wraps_it(folder: Path) -> None:
    keras = pytest.importorskip("keras")
    feeds = two_inputs()[1]
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")
    expected = saved_model.load(folder)(feeds)
    assert len(layer.trainable_weights) == 4
    np.testing.assert_allclose(layer([feeds["z"], feeds["a"]])[0], expected["sum"], rtol=1e-6)
    assert layer(feeds).keys() == keras.layers.TFSMLayer(str(folder))(feeds).keys() == expected.keys()


def test_a_model_of_keras_holds_it(folder: Path) -> None:
    keras = pytest.importorskip("keras")
    feeds = two_inputs()[1]
    inputs = {name: keras.Input(batch_shape=(None, *x.shape[1:]), name=name) for name, x in feeds.items()}
    model = keras.Model(inputs, keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")(inputs))
    results = model.predict(feeds, verbose=0)
    for name, expected in saved_model.load(folder)(feeds).items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("quantised", [False, True], ids=["float", "with a representative data set"])
def test_tensorflow_lite_converter_takes_it(folder: Path, quantised: bool) -> None:
    from ai_edge_litert.interpreter import Interpreter

    feeds = two_inputs()[1]
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({n: x[i : i + 1] for n, x in feeds.items()} for i in range(2))
    content = converter.convert()
    got = Interpreter(model_content=content).get_signature_runner("serving_default")(**feeds)
    for name, expected in saved_model.load(folder)(feeds).items():
        limit = 0.05 if quantised else 1e-5
        assert np.abs(got[name] - expected).max() <= limit * np.abs(expected).max()
    int8 = [d for d in Interpreter(model_content=content).get_tensor_details() if d["dtype"] == np.int8]
    assert bool(int8) == quantised


#: Real models: branches, loops over a free axis, convolutions behind reshapes that only run time knows.
REAL = ["silero_vad_16k_op15", "sentence_bilstm", "ppocr_rec_en_number", "yunet_n_dynamic", "dtln_stage2", "vittrack"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_tensorflow_lite_converter_takes_real_models(name: str, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    (found,) = [m for m in golden.everything() if m.name == f"real/{name}"]
    if not found.present:
        pytest.skip("the model is not there")
    asked = {"outputs": ("saved_model",), "io_layout": "onnx", "check": "none", "non_verbose": True}
    result = convert(str(found.path), str(tmp_path), **asked)
    feeds = {result.report["signature"][n]: x for n, x in found.feeds()[0].items()}
    expected = saved_model.load(tmp_path)(feeds)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    got = Interpreter(model_content=converter.convert()).get_signature_runner("serving_default")(**feeds)
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-3, atol=1e-3 * np.abs(value).max())
