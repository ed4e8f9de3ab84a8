"""The file: signature, names, shapes, buffers, alignment, size limits, determinism, atomicity, float16."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite.emitters import streaming
from onnx2tf_lite.emitters.tflite import constants, write
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Quant, building, constant
from onnx2tf_lite.ir.verify import verify
from tests.harness import invoke

RNG = np.random.default_rng(0)


def dense(width: int = 64, layers: int = 2, batch: dims.Dim = 2) -> Graph:
    """x -> relu(x W + b) -> ..."""
    rng = np.random.default_rng(1)
    graph = Graph()
    x = graph.add_input("x", (batch, width), np.float32)
    with building(graph):
        for _ in range(layers):
            w = rng.standard_normal((width, width)).astype(np.float32) / width
            x = b.relu(b.fully_connected(x, w, rng.standard_normal(width).astype(np.float32)))
    graph.outputs, graph.output_names = [x], ["y"]
    return graph


def dense_reference(graph: Graph, x: np.ndarray) -> np.ndarray:
    for op in graph.ops:
        assert op.kind.evaluate
        x = np.asarray(op.kind.evaluate(op.attrs, x, *(v.data for v in op.inputs[1:])))
    return x


def read(path) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))


def op_names(model: schema.ModelT, subgraph: int = 0) -> list[str]:
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    return [names[model.operatorCodes[o.opcodeIndex].builtinCode] for o in model.subgraphs[subgraph].operators]


def data_places(path) -> list[int]:
    """Positions of the data of every buffer in the file, whichever form it has."""
    root = schema.Model.GetRootAs(bytearray(path.read_bytes()), 0)
    places = []
    for i in range(root.BuffersLength()):
        buffer = root.Buffers(i)
        slot = buffer._tab.Offset(4)
        if buffer.Offset() > 1:
            places.append(buffer.Offset())
        elif slot:
            places.append(buffer._tab.Vector(slot))
    return places


@pytest.mark.parametrize("limit", [1 << 31, 0], ids=["inside", "outside"])
@pytest.mark.parametrize("width", [64, 63])
def test_both_forms_of_weights(tmp_path, limit, width):
    graph, path = dense(width), tmp_path / "m.tflite"
    write(graph, path, flatbuffer_limit=limit)
    x = RNG.standard_normal((2, width)).astype(np.float32)
    for plain in (True, False):
        got = invoke(str(path), {"x": x}, plain)["y"]
        np.testing.assert_allclose(got, dense_reference(graph, x), rtol=1e-5, atol=1e-6)
    places = data_places(path)
    assert len(places) == 4 and all(p % 64 == 0 for p in places)


def test_file_with_offsets_is_not_limited_by_the_builder(tmp_path):
    """The tables of the outside form hold absolute 64-bit places, so nothing in them depends on the weights' size."""
    graph, path = dense(), tmp_path / "m.tflite"
    write(graph, path, flatbuffer_limit=0)
    model = read(path)
    assert [x.size for x in model.buffers[1:]] == [64 * 64 * 4, 64 * 4] * 2
    assert all(x.data is None for x in model.buffers)


def test_first_buffer_is_empty_and_version_is_3(tmp_path):
    write(dense(), tmp_path / "m.tflite")
    model = read(tmp_path / "m.tflite")
    assert model.buffers[0].data is None and model.buffers[0].offset == 0
    assert model.version == 3 and (tmp_path / "m.tflite").read_bytes()[4:8] == b"TFL3"


def test_same_graph_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(dense(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_writing_twice_does_not_change_the_graph(tmp_path):
    graph = dense()
    write(graph, tmp_path / "a")
    write(graph, tmp_path / "half", float16=True)
    write(graph, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    monkeypatch.setattr(streaming, "_ordered", lambda array, dtype: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(dense(), path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


# ------------------------------------------------------------------------------------------------ constants


def shared(*arrays: np.ndarray) -> int:
    """How many buffers these constants take."""
    pool = constants.Pool()
    return len({pool.add(a) for a in arrays})


W = RNG.standard_normal((40, 50)).astype(np.float32)
CHANGED = W.copy()
CHANGED[20, 1] += 1
NEGATIVE_ZERO = np.zeros((40, 50), np.float32)
NEGATIVE_ZERO[3, 3] = -0.0


@pytest.mark.parametrize(("arrays", "buffers"), [
    pytest.param([W, W], 1, id="one array"),
    pytest.param([W, W[:]], 1, id="two views of one array"),
    pytest.param([W.T, W.T], 1, id="two transposed views"),
    pytest.param([W, W.T], 2, id="a matrix and its transpose"),
    pytest.param([W, W.copy()], 1, id="equal contents"),
    pytest.param([W, W.copy().reshape(50, 40)], 1, id="equal bytes in another shape"),
    pytest.param([W.T, np.ascontiguousarray(W.T)], 1, id="equal contents in another memory order"),
    pytest.param([W, CHANGED], 2, id="a difference outside the sample"),
    pytest.param([np.zeros((40, 50), np.float32), NEGATIVE_ZERO], 2, id="the sign of zero"),
    pytest.param([np.full(9, np.nan, np.float32)] * 2, 1, id="nan"),
    pytest.param([np.zeros(4, np.float32), np.zeros(4, np.int32)], 1, id="equal bytes of two dtypes"),
    pytest.param([np.zeros(4, np.float32), np.zeros(2, np.int64)], 2, id="other item sizes"),
    pytest.param([np.float32(1).reshape(()), np.float32(1).reshape(1)], 1, id="a scalar and a vector of one"),
])  # fmt: skip
def test_deduplication(arrays, buffers):
    assert shared(*arrays) == buffers


def test_short_lived_arrays_do_not_alias():
    """An address that was freed and taken by another array is not the same constant."""
    pool = constants.Pool()
    for round_ in range(3):
        for i in range(50):
            index = pool.add(np.array([i % 10], np.int32))
            assert pool.blobs[index - 1].array[0] == i % 10, round_


def test_half_and_full_precision_of_one_array_are_two_buffers():
    pool = constants.Pool()
    assert pool.add(W) != pool.add(W, np.dtype(np.float16))


def test_weights_are_not_copied(tmp_path):
    graph = Graph()
    x = graph.add_input("x", (1, 4096), np.float32)
    big = np.memmap(tmp_path / "w", np.float32, "w+", shape=(4096, 4096))
    big[0, 0] = 1
    with building(graph):
        graph.outputs, graph.output_names = [b.fully_connected(x, constant(big))], ["y"]
    tracemalloc.start()
    write(graph, tmp_path / "m.tflite")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 < big.nbytes


# ------------------------------------------------------------------------------------------------ names, shapes


def test_signature_has_the_onnx_names_in_onnx_order(tmp_path):
    graph = Graph()
    second = graph.add_input("b:0", (2, 3), np.float32)
    first = graph.add_input("a/x", (2, 3), np.float32)
    with building(graph):
        total, scaled = second + first, first * 2.0
    graph.outputs, graph.output_names = [total, scaled], ["z", "the sum"]
    write(graph, tmp_path / "m", signature_key="run")
    (signature,) = read(tmp_path / "m").signatureDefs
    tensors = read(tmp_path / "m").subgraphs[0].tensors
    assert signature.signatureKey == b"run"
    assert [(m.name, tensors[m.tensorIndex].name) for m in signature.inputs] == [(b"b:0",) * 2, (b"a/x",) * 2]
    assert [m.name for m in signature.outputs] == [b"z", b"the sum"]
    assert [tensors[m.tensorIndex].name for m in signature.outputs] == [b"z", b"the sum"]


def test_tensor_names_are_unique(tmp_path):
    graph = Graph()
    x = graph.add_input("x", (4,), np.float32)
    with building(graph):
        y = b.mul(x, constant(np.arange(4, dtype=np.float32), name="x")) + np.arange(1, 5, dtype=np.float32)
    graph.outputs, graph.output_names = [y], ["y"]
    write(graph, tmp_path / "m")
    names = [t.name for t in read(tmp_path / "m").subgraphs[0].tensors]
    assert len(set(names)) == len(names) and b"x;1" in names


def test_symbolic_extents(tmp_path):
    graph = dense(batch=dims.symbol("N"))
    write(graph, tmp_path / "m")
    tensor = read(tmp_path / "m").subgraphs[0].tensors[0]
    assert list(tensor.shape) == [1, 64] and list(tensor.shapeSignature) == [-1, 64]
    for batch in (1, 5):
        x = RNG.standard_normal((batch, 64)).astype(np.float32)
        np.testing.assert_allclose(
            invoke(str(tmp_path / "m"), {"x": x}, False)["y"], dense_reference(graph, x), atol=1e-6
        )


def test_scalar_reshape_is_static(tmp_path):
    graph = Graph()
    x = graph.add_input("x", (1, 1), np.float32)
    with building(graph):
        y = b.reshape(x, ()) + np.float32(1)
    graph.outputs, graph.output_names = [y], ["y"]
    verify(graph)
    write(graph, tmp_path / "m")
    for plain in (True, False):
        assert invoke(str(tmp_path / "m"), {"x": np.float32([[3]])}, plain)["y"] == 4


# ------------------------------------------------------------------------------------------------ operators


def test_convolution_without_a_bias_gets_zeros(tmp_path):
    graph = Graph()
    x = graph.add_input("x", (1, 4, 4, 2), np.float32)
    attrs = {"padding": "VALID", "strides": (1, 1), "dilations": (1, 1), "activation": None}
    with building(graph):
        y = b.emit("CONV_2D", x, b.lift(np.ones((3, 1, 1, 2), np.float32)), None, **attrs)
        y = b.emit("DEPTHWISE_CONV_2D", y, b.lift(np.ones((1, 1, 1, 3), np.float32)), multiplier=1, **attrs)
    graph.outputs, graph.output_names = [y], ["y"]
    write(graph, tmp_path / "m")
    (subgraph,) = read(tmp_path / "m").subgraphs
    assert [len(o.inputs) for o in subgraph.operators] == [3, 3] and min(
        o.inputs.min() for o in subgraph.operators
    ) >= 0


@pytest.mark.parametrize(("shape", "perm", "dtype", "version"), [
    ((2, 3), (1, 0), "float32", 1), ((2, 3), (1, 0), "int8", 2), ((2, 3), (1, 0), "bool", 3),
    ((1, 2, 3, 4, 5), (4, 3, 2, 1, 0), "float32", 4), ((1, 2, 3, 4, 5, 6), (5, 4, 3, 2, 1, 0), "float32", 6),
])  # fmt: skip
def test_the_lowest_version_that_has_the_feature(tmp_path, shape, perm, dtype, version):
    graph = Graph()
    x = graph.add_input("x", shape, np.dtype(dtype))
    with building(graph):
        graph.outputs, graph.output_names = [b.transpose(x, perm)], ["y"]
    write(graph, tmp_path / "m")
    (code,) = read(tmp_path / "m").operatorCodes
    assert (code.version, code.builtinCode, code.deprecatedBuiltinCode) == (version, 39, 39)


def test_quantisation_is_written_with_the_tensor(tmp_path):
    quant = Quant(np.float32([0.5, 0.25]), np.int64([3, -4]), np.dtype(np.int8), axis=1)
    graph = Graph()
    x = graph.add_input("x", (3, 2), np.int8)
    with building(graph):
        graph.outputs, graph.output_names = [b.dequantize(x, quant)], ["y"]
    write(graph, tmp_path / "m")
    parameters = read(tmp_path / "m").subgraphs[0].tensors[0].quantization
    assert list(parameters.scale) == [0.5, 0.25] and list(parameters.zeroPoint) == [3, -4]
    assert parameters.quantizedDimension == 1


# ------------------------------------------------------------------------------------------------ float16


def test_half_precision_weights(tmp_path):
    graph = dense(width=64)
    write(graph, tmp_path / "full")
    write(graph, tmp_path / "half", float16=True)
    model = read(tmp_path / "half")
    assert op_names(model) == ["DEQUANTIZE"] * 2 + ["FULLY_CONNECTED", "RELU"] * 2  # the biases are too small
    tensors = model.subgraphs[0].tensors
    assert [tensors[i].type for i in model.subgraphs[0].inputs] == [schema.TensorType.FLOAT32]
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    x = RNG.standard_normal((2, 64)).astype(np.float32)
    for plain in (True, False):
        got = invoke(str(tmp_path / "half"), {"x": x}, plain)["y"]
        np.testing.assert_allclose(got, dense_reference(graph, x), rtol=0, atol=2e-3)


def test_sums_in_half_precision_are_said_to_delegates(tmp_path):
    graph = dense()
    write(graph, tmp_path / "half", float16=True, float16_sums=True)
    data = (tmp_path / "half").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    entries = {entry.name.decode(): bytes(model.buffers[entry.buffer].data) for entry in model.metadata}
    assert entries["reduced_precision_support"] == b"fp16accfp16"


@pytest.mark.parametrize("value", [1e38, -70000.0, np.nan], ids=str)
def test_constants_beyond_half_precision_stay(tmp_path, value):
    graph = Graph()
    x = graph.add_input("x", (300,), np.float32)
    data = np.zeros(300, np.float32)
    data[7] = value
    with building(graph):
        graph.outputs, graph.output_names = [b.maximum(x, data)], ["y"]
    write(graph, tmp_path / "m", float16=True)
    assert op_names(read(tmp_path / "m")) == ["MAXIMUM"]


def test_tensorflow_is_not_imported(tmp_path):
    code = f"""
import sys
sys.modules["tensorflow"] = None
from tests.emitters.test_tflite_file import dense
from onnx2tf_lite.emitters.tflite import write
write(dense(), {str(tmp_path / "m")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
