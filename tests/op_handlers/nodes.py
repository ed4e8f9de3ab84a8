"""One-node models for the tests of handlers: build, convert, run on both runtimes, compare with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx2tf_lite.ir.graph import Graph
from tests import harness

OPSET = 23
# a fork costs ten times the run of one operator; one that kills the process takes the test session with it
IN_PROCESS = mock.patch.object(harness, "forked", lambda function, *args: function(*args))


def node_model(
    op_type: str, inputs: Sequence[Any], *, const: Sequence[int] = (), dynamic: Sequence[Any] = (), outputs: int = 1,
    opset: int = OPSET, **attrs: Any
) -> onnx.ModelProto:  # fmt: skip
    """A model of one node.  Inputs in ``const`` are initializers; axis 0 of those in ``dynamic`` is called N.

    An entry (input, axis) of ``dynamic`` leaves another axis open.
    """
    arrays = [None if x is None else np.asarray(x) for x in inputs]
    names = ["" if x is None else f"x{i}" for i, x in enumerate(arrays)]
    infos, initializers = [], []
    for i, array in enumerate(arrays):
        if array is None:
            continue
        if i in const:
            initializers.append(numpy_helper.from_array(array, names[i]))
        else:
            shape = ["N" if i in dynamic and axis == 0 else f"d{i}_{axis}" if (i, axis) in dynamic else d
                     for axis, d in enumerate(array.shape)]  # fmt: skip
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            infos.append(helper.make_tensor_value_info(names[i], kind, shape))
    node = helper.make_node(op_type, names, [f"y{i}" for i in range(outputs)], op_type.lower(), **attrs)
    results = [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)]
    graph = helper.make_graph([node], op_type, infos, results, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in model.graph.output:
        if not output.type.tensor_type.HasField("shape"):  # nothing inferred: as the first operand, which will do
            kind = output.type.tensor_type.elem_type
            output.type.CopyFrom(model.graph.input[0].type)
            output.type.tensor_type.elem_type = kind or output.type.tensor_type.elem_type
    return model


@IN_PROCESS
def check_node(
    op_type: str,
    inputs: Sequence[Any],
    *,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    branch: str = "integer",
    **options: Any,
) -> Graph:
    """The node against ONNX Runtime (or the reference implementation); see :func:`node_model` for ``options``.

    ``branch``: "float" keeps integer kernels away, which round ties as they like (``tests/fusion/test_qdq.py``).
    """
    const = options.get("const", ())
    feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs) if x is not None and i not in const}
    return harness.check_model(node_model(op_type, inputs, **options), feeds, rtol=rtol, atol=atol, branch=branch)


@IN_PROCESS
def run_node(op_type: str, inputs: Sequence[Any], **options: Any) -> dict[str, list[np.ndarray]]:
    """Outputs per runtime, for expectations that ONNX Runtime does not give."""
    const = options.get("const", ())
    feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs) if x is not None and i not in const}
    results = harness.run_tflite(harness.compile_model(node_model(op_type, inputs, **options)), feeds)
    return {runtime: list(outputs.values()) for runtime, outputs in results.items()}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Seeded float32 normals."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def whole(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int64, seed: int = 0) -> np.ndarray:
    """Seeded integers in [low, high)."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def i64(*values: int) -> np.ndarray:
    """A vector of int64."""
    return np.array(values, np.int64)


def scalar(value: Any, dtype: Any = np.int64) -> np.ndarray:
    """A 0-d tensor."""
    return np.array(value, dtype)


__all__ = ["check_node", "i64", "node_model", "normal", "run_node", "scalar", "whole"]
