"""Recurrent operators are layers of Keras where those mean the same, and computed as ever where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite import convert
from tests.validation.models import model

pytest.importorskip("tf_keras")
RNG = np.random.default_rng(0)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4


def array(*shape: int) -> str:
    return ", ".join(f"{x:.3f}" for x in RNG.uniform(-1, 1, int(np.prod(shape))))


def source(operator: str, directions: int, attributes: str, biased: bool) -> str:
    rows = GATES[operator] * HIDDEN
    b = f"B = Constant<value = float[{directions},{2 * rows}] {{{array(directions, 2 * rows)}}}>()" if biased else ""
    return f"""
    g (float[{STEPS},N,{FEATURES}] x) => (float[{STEPS},{directions},N,{HIDDEN}] y, float[{directions},N,{HIDDEN}] h) {{
      W = Constant<value = float[{directions},{rows},{FEATURES}] {{{array(directions, rows, FEATURES)}}}>()
      R = Constant<value = float[{directions},{rows},{HIDDEN}] {{{array(directions, rows, HIDDEN)}}}>()
      {b}
      y, h = {operator}<hidden_size = {HIDDEN}{attributes}>(x, W, R{", B" if biased else ""}) }}"""


CASES = {
    "LSTM": ("LSTM", 1, "", "LSTM"),
    "LSTM backwards": ("LSTM", 1, ', direction = "reverse"', "LSTM"),
    "LSTM both ways": ("LSTM", 2, ', direction = "bidirectional"', "LSTM"),
    "LSTM with a clip": ("LSTM", 1, ", clip = 0.5", None),
    "LSTM with coupled gates": ("LSTM", 1, ", input_forget = 1", None),
    "LSTM of other functions": ("LSTM", 1, ', activations = ["Sigmoid", "Relu", "Tanh"]', None),
    "GRU": ("GRU", 1, "", "GRU"),
    "GRU reset after the product": ("GRU", 2, ', direction = "bidirectional", linear_before_reset = 1', "GRU"),
    "RNN": ("RNN", 1, "", "SimpleRNN"),
    "RNN of Relu": ("RNN", 1, ', activations = ["Relu"]', "SimpleRNN"),
    "RNN of Sigmoid": ("RNN", 1, ', activations = ["Sigmoid"]', None),
}


@pytest.mark.parametrize("biased", [True, False], ids=["biased", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_a_recurrent_operator(case: str, biased: bool, tmp_path: Path) -> None:
    operator, directions, attributes, layer = CASES[case]
    graph = model(source(operator, directions, attributes, biased))
    result = convert(onnx_graph=graph, output_folder_path=tmp_path, outputs=["keras"], non_verbose=True)
    assert result.exit_code == 0
    kinds = [type(made).__name__ for made in result.tf_keras_model.layers]
    recurrent = {"LSTM", "GRU", "SimpleRNN"} & set(kinds)
    assert (recurrent == {layer} and kinds.count(layer) == directions) if layer else not recurrent
