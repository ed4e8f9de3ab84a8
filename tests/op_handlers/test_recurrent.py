"""LSTM, GRU and RNN against ONNX Runtime: every attribute, constant and run-time weights, dynamic steps and batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model, new_runtime
from tests.op_handlers.nodes import check_node, node_model, normal

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, B, WIDTH, H = 6, 3, 4, 5
DYNAMIC = {"static": (), "dynamic": (0, (0, 1))}


def operands(name: str, directions: int = 1, *, steps: int = STEPS, layout: int = 0, lengths: bool = False,
             initial: bool = False, peepholes: bool = False) -> list[Any]:  # fmt: skip
    """x, w, r, b, sequence_lens, initial_h (, initial_c, p)."""
    g, state = GATES[name] * H, (B, directions, H) if layout else (directions, B, H)
    x = normal(*((B, steps, WIDTH) if layout else (steps, B, WIDTH)))
    result = [x, normal(directions, g, WIDTH, seed=1), normal(directions, g, H, seed=2),
              normal(directions, 2 * g, seed=3),
              np.array([steps, 1, steps // 2 + 1], np.int32) if lengths else None,
              normal(*state, seed=4) if initial else None]  # fmt: skip
    if name == "LSTM":
        result += [
            normal(*state, seed=5) if initial else None,
            normal(directions, 3 * H, seed=6) if peepholes else None,
        ]
    while result[-1] is None:
        result.pop()
    return result


def check(name: str, inputs: list[Any], dynamic: tuple = (), **attrs: Any) -> Any:
    outputs = 3 if name == "LSTM" else 2
    return check_node(name, inputs, const=(1, 2, 3, 7), dynamic=dynamic, outputs=outputs, hidden_size=H, opset=21,
                      rtol=1e-4, atol=1e-5, **attrs)  # fmt: skip


@pytest.mark.parametrize("dynamic", DYNAMIC)
@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", GATES)
def test_directions(name: str, direction: str, lengths: bool, dynamic: str) -> None:
    inputs = operands(name, 1 + (direction == "bidirectional"), lengths=lengths, initial=dynamic == "static")
    check(name, inputs, DYNAMIC[dynamic], direction=direction)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=new_runtime) if n == "RNN" else n for n in GATES])
def test_a_sequence_without_steps_ends_in_zeros(name: str, direction: str) -> None:
    inputs = operands(name, 1 + (direction == "bidirectional"), lengths=True, initial=True)
    inputs[4] = np.array([0, STEPS, 0], np.int32)
    check(name, inputs, direction=direction)


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "peepholes": ("LSTM", {"peepholes": True, "initial": True}, {}),
    "clip": ("LSTM", {"initial": True}, {"clip": 0.7}),
    "gru_clip": ("GRU", {}, {"clip": 0.5}),
    "input_forget": ("LSTM", {"peepholes": True}, {"input_forget": 1}),
    "before_reset": ("GRU", {"initial": True, "lengths": True}, {"linear_before_reset": 1}),
    "activations": ("LSTM", {}, {"activations": ["HardSigmoid", "Affine", "LeakyRelu"],
                                 "activation_alpha": [0.3, 0.8, 0.1], "activation_beta": [0.4, 0.1]}),
    "defaults_of_activations": ("GRU", {}, {"activations": ["Sigmoid", "Softsign"]}),
    "relu": ("RNN", {"initial": True}, {"activations": ["Relu"]}),
    "scaled_tanh": ("RNN", {}, {"activations": ["ScaledTanh"], "activation_alpha": [0.7], "activation_beta": [1.3]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_attributes(case: str) -> None:
    name, options, attrs = CASES[case]
    check(name, operands(name, **options), **attrs)


@pytest.mark.parametrize("name", GATES)
def test_one_step_is_no_loop(name: str) -> None:
    graph = check(name, operands(name, 2, steps=1, initial=True), direction="bidirectional")
    assert not any(op.kind.name == "WHILE" for op in graph.ops)


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_weights_given_at_run_time(name: str) -> None:
    count = 3 if name == "LSTM" else 2
    check_node(name, operands(name, initial=True), outputs=count, hidden_size=H, opset=21, rtol=1e-4, atol=1e-5)


def test_nothing_survives_an_invocation() -> None:
    """The same feeds give the same values in a second call of the same interpreter."""
    import tempfile
    from pathlib import Path

    from ai_edge_litert.interpreter import Interpreter

    from onnx2tf_lite.emitters import tflite
    from tests.harness import compile_model
    from tests.op_handlers.nodes import node_model

    inputs = operands("LSTM")
    graph = compile_model(node_model("LSTM", inputs, const=(1, 2, 3), outputs=3, hidden_size=H))
    with tempfile.TemporaryDirectory() as folder:
        tflite.write(graph, Path(folder, "m.tflite"))
        run = Interpreter(str(Path(folder, "m.tflite"))).get_signature_runner()
        first, second = (run(x0=inputs[0]) for _ in range(2))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize("name", GATES)
def test_everything_open_but_the_hidden_size(name: str) -> None:
    inputs = operands(name, 2, lengths=True, initial=True, peepholes=True)
    dynamic = [(i, axis) for i, array in enumerate(inputs) for axis in range(array.ndim)]
    check_node(name, inputs, dynamic=dynamic, outputs=3 if name == "LSTM" else 2, hidden_size=H, opset=21,
               direction="bidirectional", rtol=1e-4, atol=1e-5)  # fmt: skip


def test_an_unknown_hidden_size_is_refused() -> None:
    inputs = operands("GRU")
    model = node_model("GRU", inputs, dynamic=[(2, 2)], outputs=2, opset=21)
    with pytest.raises(ConversionError, match="hidden size that is only known at run time"):
        compile_model(model)
