"""Loading: lazily, safely, of any age."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import convert, passes
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.model.wire import LARGE

from .conftest import feeds, model, ops, same, session

W = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
TEXT = "(float[1,64] x) => (float[1,64] y) { y = MatMul (x, w) }"


def saved(folder: Path, **how: object) -> Path:
    onnx.save(model(TEXT, w=W), folder / "m.onnx", **how)
    return folder / "m.onnx"


def weight(path: Path | str) -> np.ndarray:
    return passes.load(path).nodes[0].inputs[1].values


def is_view(array: np.ndarray) -> bool:
    """Does it lie in somebody else's memory (the map of the file)?"""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array.base, memoryview) and not array.flags.owndata and not array.flags.writeable


def test_raw_data_is_a_view_of_the_file(tmp_path: Path) -> None:
    found = weight(saved(tmp_path))
    np.testing.assert_array_equal(found, W)
    assert is_view(found)


def test_float_data_is_a_view_of_the_file(tmp_path: Path) -> None:
    proto = model(TEXT)
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, W.shape, W.reshape(-1)))
    onnx.save(proto, tmp_path / "m.onnx")
    found = weight(tmp_path / "m.onnx")
    assert is_view(found)
    np.testing.assert_array_equal(found, W)


def test_constant_node_is_a_view_of_the_file(tmp_path: Path) -> None:
    proto = model(TEXT)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W)))
    onnx.save(proto, tmp_path / "m.onnx")
    found = weight(tmp_path / "m.onnx")
    assert is_view(found)
    np.testing.assert_array_equal(found, W)


def test_external_data_is_a_view_of_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path, save_as_external_data=True, location="sub.bin", size_threshold=0)
    found = weight(path)
    assert is_view(found)
    np.testing.assert_array_equal(found, W)


def test_model_proto_is_not_changed() -> None:
    proto = model(TEXT, w=W)
    before = proto.SerializeToString()
    graph, _ = passes.optimize(passes.load(proto))
    assert proto.SerializeToString() == before
    given = feeds(proto)
    same(session(proto).run(None, given), session(passes.to_proto(graph)).run(None, given))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "float16", "bool", "uint8", "complex64"])
def test_every_type_survives(tmp_path: Path, dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = (np.arange(LARGE * 4) % 2).astype(kind)
    name = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(kind)).lower()
    proto = model(f"({name}[2] x) => ({name}[{array.size}] y) {{ y = Identity (w) }}", 25, w=array)
    onnx.save(proto, tmp_path / "m.onnx")
    graph = passes.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(graph.nodes[0].inputs[0].values, array)
    back = numpy_helper.to_array(passes.to_proto(graph).graph.initializer[0])
    np.testing.assert_array_equal(back, array)


def external(tmp_path: Path, **entries: str) -> Path:
    proto = model(TEXT)
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=W.shape, data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    (folder / "w.bin").write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "dangling.bin").symlink_to("nothing.bin")
    (folder / "circle.bin").symlink_to("circle.bin")
    (folder / "folder.bin").mkdir()
    os.mkfifo(folder / "pipe.bin")
    (folder / "to_pipe.bin").symlink_to("pipe.bin")
    (folder / "device.bin").symlink_to("/dev/zero")
    (folder / "sub").symlink_to(tmp_path)
    (folder / "short.bin").write_bytes(W.tobytes()[:-4])
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../secret.bin"}, "outside"),
        ({"location": "sub/../../secret.bin"}, "outside"),
        ({"location": "/etc/passwd"}, "outside"),
        ({"location": "..\\secret.bin"}, "outside"),
        ({"location": "C:\\secret.bin"}, "outside"),
        ({"location": "link.bin"}, "outside"),
        ({"location": ""}, "outside"),
        ({"location": "none.bin"}, "missing"),
        ({"location": "device.bin"}, "outside"),
        ({"location": "sub/secret.bin"}, "outside"),
        ({"location": "w.bin/"}, "outside"),
        ({"location": "dangling.bin"}, "missing"),
        ({"location": "circle.bin"}, "circle"),
        ({"location": "folder.bin"}, "Is a directory"),
        ({"location": "pipe.bin"}, "a pipe or a device"),
        ({"location": "to_pipe.bin"}, "a pipe or a device"),
        ({"location": "a" * 5000}, r"a\.\.\.' cannot be read: File name too long$"),
        ({"location": "short.bin"}, "16384 bytes are needed"),
        ({"location": "w.bin", "offset": "8"}, "16384 bytes are needed"),
        ({"location": "w.bin", "offset": "-8"}, "bytes are needed"),
        ({"location": "w.bin", "length": "x"}, "bytes are needed"),
    ],
    ids=lambda v: str(v.get("location", "")) + str(v.get("offset", "")) if isinstance(v, dict) else "",
)
def test_external_data_is_refused(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        passes.load(external(tmp_path, **entries))


def test_link_inside_the_folder_is_fine(tmp_path: Path) -> None:
    path = external(tmp_path, location="inner.bin")
    (path.parent / "inner.bin").symlink_to("w.bin")
    np.testing.assert_array_equal(weight(path), W)
    result = convert(path, tmp_path / "out", outputs=["float32"], verbosity="error")
    assert result.check.ok and not result.check.notes, "the check reads it too"


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ConversionError, match="a pipe or a device"):
        passes.load(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a model at all", "not an ONNX file"), (b"", "no graph"), (b"version https://git-lfs", "not an ONNX file")],
)
def test_not_an_onnx_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ConversionError, match=message):
        passes.load(tmp_path / "m.onnx")


def test_truncated_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConversionError, match="not an ONNX file"):
        passes.load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no such file"):
        passes.load(tmp_path / "m.onnx")
    with pytest.raises(ConversionError, match="is a folder"):
        passes.load(tmp_path)


def test_invalid_model() -> None:
    proto = model("(float[2] x) => (float[2] y) { y = Relu (x) }")
    proto.graph.node[0].input.append("x")
    with pytest.raises(ConversionError, match="not a valid ONNX model"):
        passes.load(proto)


def test_old_ir_lists_initialisers_as_inputs() -> None:
    proto = model("(float[1,64] x, float[64,64] w) => (float[1,64] y) { y = MatMul (x, w) }", 8, 3, w=W)
    assert [t.name for t in passes.load(proto).inputs] == ["x"]


def test_no_opset_is_opset_one() -> None:
    proto = model("(float[2] x) => (float[2] y) { y = Relu (x) }", 1, 2)
    del proto.opset_import[:]
    assert passes.load(proto).opset == 1


def test_functions_are_inlined() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18, "own" : 1]>
      g (float[2] x) => (float[2] y) { y = own.twice (x) }
      <domain: "own", opset_import: ["" : 18]> twice (a) => (b) { b = Add (a, a) }"""
    assert ops(passes.load(onnx.parser.parse_model(text))) == {"Add": 1}


def test_sparse_initialiser_and_constant_forms() -> None:
    proto = model("(float[4] x) => (float[4] y) { c = Constant <value_float = 2.0> () z = Mul (x, c) y = Add (z, s) }")
    sparse = proto.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.array([5, 7], np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1, 3]), "i"))
    graph = passes.load(proto)
    assert ops(graph) == {"Mul": 1, "Add": 1}
    np.testing.assert_array_equal(graph.nodes[1].inputs[1].values, np.array([0, 5, 0, 7], np.float32))


def test_500_mb_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    """A sparse file of 500 MB: loading and tuning touches none of it."""
    count, side = 5, 5120
    body = " ".join(f"x{i + 1} = MatMul (x{i}, w{i})" for i in range(count))
    proto = model(f"(float[1,5120] x0) => (float[1,5120] x5) {{ {body} }}")
    for i in range(count):
        tensor = proto.graph.initializer.add(name=f"w{i}", data_type=1, dims=[side, side])
        tensor.data_location = TensorProto.EXTERNAL
        for key, text in (
            ("location", "w.bin"),
            ("offset", str(i * side * side * 4)),
            ("length", str(side * side * 4)),
        ):
            tensor.external_data.add(key=key, value=text)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        os.truncate(file.fileno(), count * side * side * 4)
        for i in range(count):  # different, so that they are no duplicates
            file.seek(i * side * side * 4)
            file.write(bytes([i + 1] * 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    graph, _ = passes.optimize(passes.load(tmp_path / "m.onnx"))
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert ops(graph) == {"MatMul": count}
    assert seconds < 1 and grown < 50_000, (seconds, grown)


def test_nodes_out_of_order_are_sorted_and_noted() -> None:
    proto = model("(float[2] x) => (float[2] y) { c = Neg (x) y = Relu (c) }")
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    notes: list[str] = []
    assert [n.op for n in passes.load(proto, notes.append).nodes] == ["Neg", "Relu"]
    assert len(notes) == 1 and [n.op_type for n in proto.graph.node] == ["Relu", "Neg"], "the caller's stays as it is"


def test_the_default_domain_has_two_spellings() -> None:
    proto = model("(float[2] x) => (float[2] y) { c = Neg (x) y = Relu (c) }")
    for entry in [*proto.opset_import, *proto.graph.node]:
        entry.domain = "ai.onnx"
    assert [n.domain or "" for n in passes.load(proto).nodes] == ["", ""]
    assert convert(onnx_graph=proto, disable_model_save=True, outputs=["float32"], non_verbose=True).exit_code == 0


def test_edges_without_shape_or_type() -> None:
    """What ONNX Runtime runs: the result may have no type, and the input's shape may be left to -ois."""
    proto = model("(float[2] x) => (float[2] y) { c = Neg (x) y = Relu (c) }")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    proto.graph.output[0].ClearField("type")
    asked = {"onnx_graph": proto, "disable_model_save": True, "outputs": ["float32"], "non_verbose": True}
    result = convert(**asked, overwrite_input_shape={"x": (2,)})
    assert result.exit_code == 0 and result.outputs[0].onnx_shape == (2,)
    with pytest.raises(ConversionError, match="-ois x:"):
        convert(**asked)


def test_a_cycle_is_no_model() -> None:
    proto = model("(float[2] x) => (float[2] y) { c = Neg (x) y = Relu (c) }")
    proto.graph.node[0].input[0] = "y"
    with pytest.raises(ConversionError, match="cycle"):
        passes.load(proto)


def test_names_of_the_main_graph_stay_whatever_bodies_call_theirs() -> None:
    proto = model("""(float[3] x, bool c) => (float[3] r, float[3] t) {
        q = If (c) <then_branch = a () => (float[3] r) { t = Relu (x) r = Exp (t) },
                    else_branch = b () => (float[3] r) { t = Neg (x) r = Exp (t) }>
        t = Sqrt (q)
        r = Tanh (t) }""")
    graph = passes.load(proto)
    inner = [t.name for body in graph.nodes[0].attrs.values() for n in body.nodes for t in n.outputs]
    assert [t.name for t in graph.outputs] == ["r", "t"] and len({*inner, "r", "t"}) == 6
