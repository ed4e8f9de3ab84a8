"""Models in a line of ONNX's own text language, and the law every pass is held to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, numpy_helper

from onnx2tf_lite import passes

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def model(text: str, opset: int = 23, ir: int = 10, **constants: np.ndarray) -> ModelProto:
    """`(float[2,3] x) => (float[2,3] y) { y = Relu (x) }`, with initialisers by name."""
    parsed = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}]> g {text}')
    parsed.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    return parsed


def load(text: str, opset: int = 23, **constants: np.ndarray) -> gs.Graph:
    return passes.load(model(text, opset, **constants))


def session(proto: ModelProto | bytes | str) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    return ort.InferenceSession(proto.SerializeToString() if isinstance(proto, ModelProto) else proto, options)


def feeds(proto: ModelProto, seed: int = 0, **symbols: int) -> dict[str, np.ndarray]:
    """Seeded inputs for every input of the model; symbolic dimensions are 2 unless given."""
    rng = np.random.default_rng(seed)
    held = {t.name for t in proto.graph.initializer}
    made = {}
    for info in proto.graph.input:
        if info.name in held:
            continue
        kind = info.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else symbols.get(d.dim_param, 2) for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        made[info.name] = _random(rng, dims, np.dtype(dtype))
    return made


def _random(rng: np.random.Generator, dims: list[int], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return rng.standard_normal(dims).astype(dtype)
    return rng.integers(0, 2, dims).astype(dtype)


def same(expected: list, actual: list, rtol: float = 1e-5) -> None:
    """Equal in number, type, shape and (relative to the largest element) value."""
    assert len(expected) == len(actual)
    for e, a in zip(expected, actual, strict=True):
        e, a = np.asarray(e), np.asarray(a)
        assert (e.dtype, e.shape) == (a.dtype, a.shape)
        if e.dtype.kind in "fc":
            scale = max(float(np.abs(e[np.isfinite(e)]).max(initial=0.0)), 1e-6)
            np.testing.assert_allclose(a.astype(np.float64), e.astype(np.float64), rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(a, e)


def ops(graph: gs.Graph) -> dict[str, int]:
    return dict(Counter(n.op for n in graph.nodes))


def surface(graph: gs.Graph) -> tuple[list[str], list[str]]:
    return [t.name for t in graph.inputs], [t.name for t in graph.outputs]


def law(name: str, proto: ModelProto, options: passes.PassOptions | None = None, rtol: float = 1e-5, **symbols: int):
    """Run one pass: same numbers, same surface, a valid model, and nothing left to do. Returns graph and result."""
    graph = passes.load(proto)
    if name != "shapes":
        passes.run("shapes", graph)
    before = surface(graph)
    result = passes.run(name, graph, options)
    graph = result.graph
    assert surface(graph) == before
    after = passes.to_proto(graph)
    onnx.checker.check_model(after)
    given = feeds(proto, **symbols)
    same(session(proto).run(None, given), session(after).run(None, given), rtol)
    again = passes.run(name, graph, options)
    assert not again.modified, again.notes
    return graph, result
