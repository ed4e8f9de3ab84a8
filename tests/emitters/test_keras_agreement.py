"""The law of the Keras emitter: its model of a graph computes what the .tflite of the graph does, also once saved and
loaded."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2tf_lite.emitters import keras, tflite
from onnx2tf_lite.emitters.saved_model import frozen
from onnx2tf_lite.ir.graph import Graph
from tests.emitters.cases import CASES, program
from tests.emitters.test_agreement import assert_agree, variants
from tests.harness import invoke

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")


def outputs(model, graph: Graph, feeds) -> list[np.ndarray]:
    given = [feeds[v.name] for v in graph.inputs]
    results = model(given if len(given) > 1 else given[0], training=False)
    return [np.asarray(t) for t in tf.nest.flatten(results)]


@pytest.mark.parametrize(("case", "dynamic"), variants())
def test_the_model_agrees_with_the_file_of_tflite(case, dynamic, tmp_path):
    graph, feeds = program(case, dynamic)
    tflite.write(graph, tmp_path / "model.tflite")
    theirs = invoke(str(tmp_path / "model.tflite"), feeds, True)
    ours = outputs(keras.build(graph).model, graph, feeds)
    for name, array in zip(graph.output_names, ours, strict=True):
        assert_agree(theirs[name], array)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("name", ["CONV_2D", "PRELU", "FULLY_CONNECTED", "IF", "WHILE", "GATHER", "SPLIT_V", "UNIQUE"])
def test_a_file_computes_bit_for_bit_what_the_model_does(name, suffix, tmp_path):
    graph, feeds = program(CASES[name], "[N" in CASES[name][0])
    path = tmp_path / f"model{suffix}"
    keras.write(graph, path)
    for one, other in zip(
        outputs(keras.build(graph).model, graph, feeds), outputs(keras.load(path), graph, feeds), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    before = path.read_bytes()
    keras.write(graph, path)
    assert path.read_bytes() == before, "the same graph gives the same bytes"


@pytest.mark.parametrize("name", ["CONV_2D", "IF", "WHILE", "UNIQUE", "SPLIT", "IDENTITY"])
def test_the_frozen_graph_agrees_with_the_file_of_tflite(name, tmp_path):
    case = next(case for key, case in CASES.items() if key.split("-")[0] == name)
    graph, feeds = program(case, "[N" in case[0])
    tflite.write(graph, tmp_path / "model.tflite")
    frozen.write(graph, tmp_path / "model.pb")
    run = frozen.load(tmp_path / "model.pb", [f"{n}:0" for n in graph.output_names])
    ours = run({f"{n}:0": a for n, a in feeds.items()})
    for output, array in invoke(str(tmp_path / "model.tflite"), feeds, True).items():
        assert_agree(array, ours[f"{output}:0"])
