"""Time of an LSTM as the converter writes it, a WHILE, against TFLite's own operator and ONNX Runtime.

python -m benchmarks.recurrent [--seconds 1]

UNIDIRECTIONAL_SEQUENCE_LSTM has no state as operand: it keeps it in variable tensors from one call to the next, which
no operator in the file can clear.  The last column is by how much its second answer to one input differs from its
first: for that alone it cannot stand for ONNX's LSTM, which starts from its initial state in every call.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.latency import compiled, fastest, interpreter

SIZES = ((30, 64, 64), (64, 128, 128), (100, 32, 32), (50, 256, 256))  # steps, inputs, hidden
VARIABLE = "variable"


def weights(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(np.float32)


def lstm(steps: int, inputs: int, hidden: int) -> onnx.ModelProto:
    """ONNX's operator, forward, batch of one."""
    held = {"w": (1, 4 * hidden, inputs), "r": (1, 4 * hidden, hidden), "b": (1, 8 * hidden)}
    node = helper.make_node("LSTM", ["x", *held], ["y"], hidden_size=hidden)
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (steps, 1, inputs)), ("y", (steps, 1, 1, hidden)))
    ]
    initializers = [numpy_helper.from_array(weights(*s), n) for n, s in held.items()]
    graph = helper.make_graph([node], "lstm", *ends, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def fused(steps: int, inputs: int, hidden: int) -> bytes:
    """A file with TFLite's operator alone."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    model, graph, operator, code = s.ModelT(), s.SubGraphT(), s.OperatorT(), s.OperatorCodeT()
    model.version, model.buffers, graph.tensors = 3, [s.BufferT()], []

    def tensor(shape: tuple[int, ...], data: Any = None) -> int:
        held, made = s.BufferT(), s.TensorT()
        made.shape, made.type, made.name = np.array(shape, np.int32), s.TensorType.FLOAT32, f"t{len(graph.tensors)}"
        made.isVariable, made.buffer = data is VARIABLE, len(model.buffers)
        if isinstance(data, np.ndarray):
            held.data = np.frombuffer(data.tobytes(), np.uint8)
        model.buffers.append(held)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def gates(*shape: int) -> list[int]:
        return [tensor(shape, weights(*shape)) for _ in range(4)]

    x, y = tensor((steps, 1, inputs)), tensor((steps, 1, hidden))
    states = [tensor((1, hidden), VARIABLE) for _ in range(2)]
    operands = [x, *gates(hidden, inputs), *gates(hidden, hidden), -1, -1, -1, *gates(hidden), -1, -1, *states]
    operator.inputs, operator.outputs = np.array([*operands, -1, -1, -1, -1], np.int32), np.array([y], np.int32)
    operator.builtinOptionsType = s.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    operator.builtinOptions = options = s.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction, options.timeMajor = s.ActivationFunctionType.TANH, True
    code.builtinCode = code.deprecatedBuiltinCode = s.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    graph.operators, graph.inputs, graph.outputs = [operator], operator.inputs[:1], operator.outputs
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Runtime:
    """ONNX Runtime with one thread, called as an interpreter is."""

    def __init__(self, model: onnx.ModelProto, x: np.ndarray):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self.x = x

    def invoke(self) -> None:
        self.session.run(None, {"x": self.x})


def main() -> None:
    from ai_edge_litert.interpreter import Interpreter

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    print(f"{'steps, inputs, hidden':22} {'WHILE':>8} {'fused':>8} {'ONNX Runtime':>13}  second answer of fused")
    for sizes in SIZES:
        model, x = lstm(*sizes), weights(sizes[0], 1, sizes[1])
        own = Interpreter(model_content=fused(*sizes), num_threads=1)
        own.allocate_tensors()
        own.set_tensor(own.get_input_details()[0]["index"], x)
        answers = []
        for _ in range(2):
            own.invoke()
            answers.append(own.get_tensor(own.get_output_details()[0]["index"]).copy())
        with tempfile.TemporaryDirectory() as folder:
            engines = {"while": interpreter(compiled(model, True), folder), "fused": own, "ort": Runtime(model, x)}
            best = fastest(engines, args.seconds)
        times = " ".join(f"{best[k] * 1e3:{width}.3f}" for k, width in (("while", 8), ("fused", 8), ("ort", 13)))
        print(f"{sizes!s:22} {times}  {np.abs(answers[1] - answers[0]).max():.2f}", flush=True)


if __name__ == "__main__":
    main()
