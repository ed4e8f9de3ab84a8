"""Small IR programs in physical order, and what it takes to run and compare them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.dims import Expr
from onnx2tf_lite.ir.graph import Graph, Origin, Placement, Value, building, constant, copy_graph
from onnx2tf_lite.legalize import dynamic

F32 = np.float32
RESOLVERS = {"plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, "default": OpResolverType.AUTO}


def program(function: Callable[..., Any], *inputs: Any) -> Graph:
    """``function`` of inputs given as shapes or (shape, dtype); every tensor has a placement under its own name."""
    graph = Graph()
    declared = [i if i and isinstance(i[-1], type) else (i, F32) for i in inputs]
    values = [graph.add_input(f"x{n}", tuple(shape), np.dtype(t)) for n, (shape, t) in enumerate(declared)]
    with building(graph, Origin("node", "Op", (), ())):
        results = function(*values)
    graph.outputs = list(results) if isinstance(results, (list, tuple)) else [results]
    graph.output_names = [f"y{n}" for n in range(len(graph.outputs))]
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        value.name = name
    for value in [*graph.inputs, *(v for o in graph.ops for v in o.outputs)]:
        graph.placements[value.name] = Placement(value, value.shape, tuple(range(value.rank)), value.shape)
    return graph


def kinds(graph: Graph) -> list[str]:
    return [o.kind.name for o in graph.ops]


def attrs(graph: Graph, kind: str) -> dict[str, Any]:
    """Attributes of the only operation of a kind."""
    (found,) = [o for o in graph.ops if o.kind.name == kind]
    return found.attrs


def random_feeds(graph: Graph, sizes: dict[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for v in graph.inputs:
        shape = [(sizes or {}).get(str(d), 5) if isinstance(d, Expr) else d for d in v.shape]
        feeds[v.name] = np.asarray(
            3 * rng.standard_normal(shape) if v.dtype.kind == "f" else rng.integers(0, 100, shape)
        )
    return {v.name: feeds[v.name].astype(v.dtype) for v in graph.inputs}


def run(graph: Graph, feeds: dict[str, np.ndarray], runtime: str = "plain") -> dict[str, np.ndarray]:
    """The outputs of the written file."""
    graph = dynamic.materialise(copy_graph(graph))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        tflite.write(graph, str(path))
        interpreter = Interpreter(model_content=path.read_bytes(), experimental_op_resolver_type=RESOLVERS[runtime])
    details = interpreter.get_input_details()
    for detail, value in zip(details, graph.inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], feeds[value.name].shape)
    interpreter.allocate_tensors()
    for detail, value in zip(details, graph.inputs, strict=True):
        interpreter.set_tensor(detail["index"], feeds[value.name])
    interpreter.invoke()
    found = interpreter.get_output_details()
    return {n: np.array(interpreter.get_tensor(d["index"])) for n, d in zip(graph.output_names, found, strict=True)}


def every_tensor(
    graph: Graph, feeds: dict[str, np.ndarray], runtime: str = "plain", sizes: dict[str, int] | None = None
) -> dict[str, np.ndarray]:
    """All tensors that have a placement, in ONNX order."""
    copy = copy_graph(graph)
    places = {n: p for n, p in copy.placements.items() if p.value not in copy.inputs and not p.value.is_constant}
    copy.outputs = list(dict.fromkeys(p.value for p in places.values()))
    copy.output_names = [f"t{i}" for i in range(len(copy.outputs))]
    got = run(copy, feeds, runtime)
    stored = dict(zip(copy.outputs, got.values(), strict=True))
    return {n: p.restore(stored[p.value], sizes or {}) for n, p in places.items()}


def assert_close(got: np.ndarray, want: np.ndarray, what: str, size: float = 0) -> None:
    """Within 1e-5 of the largest number, which is at least ``size``: of what the tensor was computed from."""
    assert got.shape == want.shape and got.dtype == want.dtype, what
    size = max(np.abs(want).max(initial=0), size, 1e-3)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * size, err_msg=what)


# ------------------------------------------------------------------------------------------------ pieces


def weights(*shape: int, seed: int = 1) -> Value:
    return constant(np.random.default_rng(seed).standard_normal(shape).astype(F32))


def vector(size: int, seed: int = 2) -> np.ndarray:
    """Non-zero numbers of both signs."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.5, 2, size) * rng.choice([-1, 1], size)).astype(F32)


def pads(low: int, high: int, rank: int = 4) -> tuple[tuple[int, int], ...]:
    return ((0, 0), *((low, high),) * (rank - 2), (0, 0))


def _window(strides: int, dilation: int, padding: str, rank: int = 2) -> dict[str, Any]:
    return {"padding": padding, "strides": (strides,) * rank, "dilations": (dilation,) * rank, "activation": None}


def conv(x: Value, out: int = 4, k: int = 3, stride: int = 1, dilation: int = 1, padding: str = "VALID",
         w: Value | None = None, bias: bool = True, groups: int | None = None) -> Value:  # fmt: skip
    w = weights(out, k, k, x.shape[-1] // (groups or 1)) if w is None else w  # type: ignore[operator]
    return b.emit(
        "CONV_2D", x, w, constant(vector(out)) if bias else None, groups=groups, **_window(stride, dilation, padding)
    )


def depthwise(x: Value, multiplier: int = 2, k: int = 3, stride: int = 1, dilation: int = 1) -> Value:
    out = x.shape[-1] * multiplier
    return b.emit("DEPTHWISE_CONV_2D", x, weights(1, k, k, out), constant(vector(out)), multiplier=multiplier,
                  dilated=dilation > 1, **_window(stride, dilation, "VALID"))  # fmt: skip


def transposed(x: Value, out: int = 3) -> Value:
    n, h, w, c = x.shape
    return b.emit("TRANSPOSE_CONV", x, weights(out, 2, 2, c), constant(vector(out)), strides=(2, 2), padding="VALID",
                  output_shape=(n, 2 * h, 2 * w, out), activation=None)  # fmt: skip


def conv_3d(x: Value, out: int = 3, k: int = 3) -> Value:
    return b.emit("CONV_3D", x, weights(k, k, k, x.shape[-1], out), constant(vector(out)), **_window(1, 1, "VALID", 3))


def pool(kind: str, x: Value, k: int = 3, stride: int = 1) -> Value:
    return b.emit(f"{kind}_POOL_2D", x, kernel=(k, k), strides=(stride, stride), padding="VALID", activation=None)


def dense(x: Value, out: int = 5) -> Value:
    return b.fully_connected(x, weights(out, x.shape[-1]))


def two(*values: Value) -> Sequence[Value]:
    """Several outputs."""
    return values
