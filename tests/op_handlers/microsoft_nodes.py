"""One-node models of ONNX Runtime's own operators: convert, run on both runtimes, compare with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx2tf_lite.ir.graph import Graph
from tests import harness
from tests.op_handlers.nodes import IN_PROCESS, OPSET

DOMAIN = "com.microsoft"


def model_of(
    op_type: str, inputs: Sequence[Any], *, const: Sequence[int] = (), dynamic: Sequence[Any] = (),
    outputs: Sequence[Any] = (np.float32,), domain: str = DOMAIN, version: int = OPSET, **attrs: Any
) -> onnx.ModelProto:  # fmt: skip
    """A node with a plain Identity before and behind it, whose shapes nobody declares; onnx does not know them.

    ``const`` and ``dynamic`` as in :func:`tests.op_handlers.nodes.node_model`; ``outputs`` are dtypes, None is absent.
    """
    infos, initializers, names, nodes = [], [], [], []
    for i, x in enumerate(inputs):
        names.append("" if x is None else f"v{i}" if i not in const else f"x{i}")
        if x is None:
            continue
        array = np.asarray(x)
        if i in const:
            initializers.append(numpy_helper.from_array(array, f"x{i}"))
            continue
        shape = [
            "N" if i in dynamic and axis == 0 else f"d{i}_{axis}" if (i, axis) in dynamic else d
            for axis, d in enumerate(array.shape)
        ]
        infos.append(helper.make_tensor_value_info(f"x{i}", _kind(array.dtype), shape))
        nodes.append(helper.make_node("Identity", [f"x{i}"], [f"v{i}"]))
    made = ["" if dtype is None else f"z{i}" for i, dtype in enumerate(outputs)]
    nodes.append(helper.make_node(op_type, names, made, op_type.lower(), domain=domain, **attrs))
    kept = [(i, dtype) for i, dtype in enumerate(outputs) if dtype is not None]
    nodes += [helper.make_node("Identity", [f"z{i}"], [f"y{i}"]) for i, _ in kept]
    results = [_anything(f"y{i}", dtype) for i, dtype in kept]
    types = [helper.make_value_info(f"z{i}", helper.make_tensor_type_proto(_kind(dtype), None)) for i, dtype in kept]
    graph = helper.make_graph(nodes, op_type, infos, results, initializers, value_info=types)
    opsets = [helper.make_opsetid("", version), *(helper.make_opsetid(d, 1) for d in {DOMAIN, domain} - {""})]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _kind(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _anything(name: str, dtype: Any, rank: int = 0) -> onnx.ValueInfoProto:
    """A tensor whose extents are not declared; ONNX wants a rank, which is 0 until somebody knows."""
    return helper.make_tensor_value_info(name, _kind(dtype), [None] * rank)


def declare(model: onnx.ModelProto, arrays: Sequence[np.ndarray]) -> onnx.ModelProto:
    """The model with the ranks of its outputs."""
    for output, array in zip(model.graph.output, arrays, strict=True):
        output.CopyFrom(_anything(output.name, array.dtype, array.ndim))
    return model


def expectation(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives; it must have the operator."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    found: dict[str, np.ndarray] = harness.referenced(_expectation, model, feeds)
    return found


def _expectation(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, feeds), strict=True))


def feeds_of(inputs: Sequence[Any], const: Sequence[int] = ()) -> dict[str, np.ndarray]:
    return {f"x{i}": np.asarray(x) for i, x in enumerate(inputs) if x is not None and i not in const}


@IN_PROCESS
def check(op_type: str, inputs: Sequence[Any], *, rtol: float = 1e-5, atol: float = 1e-6, **options: Any) -> Graph:
    """The node against ONNX Runtime; see :func:`model_of` for ``options``."""
    model, feeds = model_of(op_type, inputs, **options), feeds_of(inputs, options.get("const", ()))
    wanted = expectation(model, feeds)
    graph = harness.compile_model(declare(model, list(wanted.values())))
    harness.compare_all(wanted, harness.run_tflite(graph, feeds), rtol, atol)
    return graph


@IN_PROCESS
def check_against(expected: Sequence[np.ndarray], op_type: str, inputs: Sequence[Any], *, rtol: float = 1e-5,
                  atol: float = 1e-6, **options: Any) -> None:  # fmt: skip
    """The node against arrays that its definition gives, for operators that ONNX Runtime has no CPU kernel of."""
    model, feeds = declare(model_of(op_type, inputs, **options), expected), feeds_of(inputs, options.get("const", ()))
    wanted = {output.name: array for output, array in zip(model.graph.output, expected, strict=True)}
    harness.compare_all(wanted, harness.run_tflite(harness.compile_model(model), feeds), rtol, atol)


@IN_PROCESS
def steps_apart(op_type: str, inputs: Sequence[Any], expected: np.ndarray | None = None, **options: Any) -> int:
    """Greatest difference of the stored integers from ``expected`` or ONNX Runtime's, over both runtimes."""
    model, feeds = model_of(op_type, inputs, **options), feeds_of(inputs, options.get("const", ()))
    (wanted,) = expectation(model, feeds).values() if expected is None else (expected,)
    graph = harness.compile_model(declare(model, [wanted]))
    results = [next(iter(outputs.values())) for outputs in harness.run_tflite(graph, feeds).values()]
    assert all(got.shape == wanted.shape and got.dtype == wanted.dtype for got in results)
    return max(int(np.abs(got.astype(int) - wanted.astype(int)).max()) for got in results)
