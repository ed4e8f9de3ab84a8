"""Bodies of loops at no, one and several turns; Ifs in bodies, both branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation.figures.judge import TOLERANCES
from onnx2tf_lite.validation.files.flatfile import INT4

from .editor import Editor
from .models import model, own

LOOP = """
g (float[1,4] x, int64 turns, bool go) => (float[1,4] z) {
  z = Loop<body = b (int64 i, bool c, float[1,4] v) => (bool d, float[1,4] w) {
    d = Identity(c)
    m = MatMul(v, k)
    w = Tanh(m)
  }>(turns, go, x)
}"""
#: The number of turns is the length of a sequence.
SEQUENCE = """
g (float[1,2,4] x, int64 turns) => (float[M,4] z) {
  none = SequenceEmpty()
  all = Loop<body = b (int64 i, bool c, seq(float[1,2,4]) s) => (bool d, seq(float[1,2,4]) t) {
    d = Identity(c)
    f = Cast<to=1>(i)
    e = Mul(x, f)
    t = SequenceInsert(s, e)
  }>(turns, , none)
  more = SequenceInsert(all, x)
  joined = ConcatFromSequence<axis=0>(more)
  shape = Constant<value = int64[2] {-1, 4}>()
  z = Reshape(joined, shape)
}"""
IN_LOOP = """
g (float[1,4] x, bool flag) => (float[1,4] z) {
  turns = Constant<value = int64 {2}>()
  z = Loop<body = b (int64 i, bool c, float[1,4] v) => (bool d, float[1,4] w) {
    d = Identity(c)
    w = If<then_branch = t () => (float[1,4] one) { one = MatMul(v, m1) },
           else_branch = e () => (float[1,4] two) { two = MatMul(v, m2) }>(flag)
  }>(turns, , x)
}"""
IN_SCAN = """
g (float[1,4] x, float[3,1,4] rows, bool flag) => (float[1,4] z, float[3,1,4] all) {
  z, all = Scan<num_scan_inputs=1, body = b (float[1,4] v, float[1,4] r) => (float[1,4] w, float[1,4] u) {
    w = If<then_branch = t () => (float[1,4] one) { one = MatMul(v, m1) },
           else_branch = e () => (float[1,4] two) { two = MatMul(r, m2) }>(flag)
    u = Add(w, r)
  }>(x, rows)
}"""
IN_IF = """
g (float[1,4] x, bool flag, bool other) => (float[1,4] z) {
  z = If<then_branch = t () => (float[1,4] y) {
           y = If<then_branch = t2 () => (float[1,4] one) { one = MatMul(x, m1) },
                  else_branch = e2 () => (float[1,4] two) { two = MatMul(x, m2) }>(other) },
         else_branch = e () => (float[1,4] three) { three = MatMul(x, m3) }>(flag)
}"""
FEEDS = {"x": np.ones((1, 4), np.float32), "flag": np.array(True), "other": np.array(True),
         "rows": np.ones((3, 1, 4), np.float32), "turns": np.array(3), "go": np.array(True)}  # fmt: skip


def made(text: str, folder: Path, kind: str = "float32", width: int = 4) -> tuple[onnx.ModelProto, Path]:
    wanted = {n: (width, width) for n in ("m1", "m2", "m3", "k") if f"{n})" in text}
    proto = model(text.replace(",4]", f",{width}]"), **wanted)  # type: ignore[arg-type]
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=[kind], check="none", non_verbose=True)
    return proto, made.files[kind]


def checked(proto: onnx.ModelProto, path: Path) -> validation.FileReport:
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    feeds = {n: np.broadcast_to(FEEDS[n].flat[0] if shape else FEEDS[n], shape) for n, shape in shapes.items()}
    (file,) = validation.check(proto, path, feeds, require_coverage=100).files
    return file


def matrices(path: Path) -> list[tuple[int, int]]:
    """(subgraph, operator) of all products."""
    edit = Editor(path)
    graphs = range(len(edit.model.subgraphs))
    found = []
    for number in graphs:
        edit.graph = edit.model.subgraphs[number]
        found += [(number, i) for i in edit.indices("FULLY_CONNECTED")]
    return found


def one_weight(data: np.ndarray) -> np.ndarray:
    wrong = data.copy()
    wrong.reshape(-1)[5] += np.abs(data).max()
    return wrong


def bent(path: Path, place: tuple[int, int], to: Path, change: Callable[[np.ndarray], np.ndarray] = one_weight) -> Path:
    edit = Editor(path)
    edit.graph = edit.model.subgraphs[place[0]]
    data = edit.data(int(edit.graph.operators[place[1]].inputs[1]))
    assert data is not None
    edit.put(place[1], 1, change(data).astype(data.dtype))
    return edit.save(to / "bent.tflite")


@pytest.mark.parametrize("text, branches, products", [
    (LOOP, "3 of 3 branches", 1), (SEQUENCE, "3 of 3 branches", 0),
    (IN_LOOP, "2 of 2 branches", 2), (IN_SCAN, "2 of 2 branches", 2),
    (IN_IF, "4 of 4 branches", 3)], ids=["Loop", "sequence", "If in Loop", "If in Scan", "If in If"])  # fmt: skip
def test_every_body_is_reached(text: str, branches: str, products: int, tmp_path: Path) -> None:
    proto, path = made(text, tmp_path)
    file = checked(proto, path)
    assert file.ok and f"{branches}, 100 % of the weights" in file.verdict, file.verdict
    found = matrices(path)
    assert len(found) == products
    for place in found:
        wrong = checked(proto, bent(path, place, tmp_path))
        assert not wrong.ok and "introduces" in wrong.verdict, place


PRODUCTS = {"Loop": LOOP, "If in Loop": IN_LOOP, "If in Scan": IN_SCAN, "If in If": IN_IF}
WIDTH = 24  # of so many elements a matrix is stored in 16 bits


@pytest.mark.parametrize("inside", [False, True], ids=["weights around", "weights inside"])
@pytest.mark.parametrize("text", PRODUCTS.values(), ids=PRODUCTS)
def test_weights_of_16_bits_in_bodies_may_do_what_rounding_does(text: str, inside: bool, tmp_path: Path) -> None:
    """As those of other layers; what is wrong by more is found, one weight or 1 % of each."""
    proto, path = made(text, tmp_path, "float16", WIDTH)
    proto = own(proto) if inside else proto
    file = checked(proto, path)
    assert file.ok and file.kind == "float16" and "100 % of the weights" in file.verdict, file.verdict
    found = matrices(path)
    assert found
    for place in found:
        for change in (one_weight, lambda data: data * np.float16(1.01)):
            wrong = checked(proto, bent(path, place, tmp_path, change))
            assert not wrong.ok and "introduces" in wrong.verdict, place


@pytest.mark.parametrize("text", PRODUCTS.values(), ids=PRODUCTS)
def test_bodies_of_a_file_without_halves_are_held_to_float32(text: str, tmp_path: Path) -> None:
    """Weights that are rounded to 16 bits are wrong where they are stored in 32."""
    proto, path = made(text, tmp_path, width=WIDTH)
    for place in matrices(path):
        wrong = checked(proto, bent(path, place, tmp_path, lambda data: data.astype(np.float16)))
        assert not wrong.ok and "introduces" in wrong.verdict, place


def test_layers_of_32_bits_beside_a_branch_of_16_are_held_to_float32(tmp_path: Path) -> None:
    """The If may do what rounding does to the other branch; theirs are also run on their own."""
    text = """
    g (float[1,24] x, bool flag) => (float[1,24] z) {
      z = If<then_branch = t () => (float[1,24] one) { one = MatMul(x, w) },
             else_branch = e () => (float[1,24] two) { few = MatMul(x, a) two = MatMul(few, b) }>(flag)
    }"""
    proto = model(text, w=(24, 24), a=(24, 4), b=(4, 24))
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float16"], check="none", non_verbose=True)
    path = made.files["float16"]
    assert checked(proto, path).ok
    small = [place for place in matrices(path) if place[0] == max(matrices(path))[0]]
    assert len(small) == 2
    for place in small:
        wrong = checked(proto, bent(path, place, tmp_path, lambda data: data * np.float32(1.0005)))
        assert not wrong.ok and "introduces" in wrong.verdict, place


def test_weights_of_4_bits_in_bodies_are_held_to_what_4_bits_leave(tmp_path: Path) -> None:
    proto, path = made(IN_LOOP, tmp_path, "weight_only_int4", 64)
    file = checked(proto, path)
    assert file.ok and file.tolerance == str(TOLERANCES["int4"]), file.verdict
    edit = Editor(path)
    for tensor in (t for graph in edit.model.subgraphs for t in graph.tensors if t.type == INT4):
        edit.model.buffers[tensor.buffer].data = edit.model.buffers[tensor.buffer].data * 0
    wrong = checked(proto, edit.save(tmp_path / "empty.tflite"))
    assert not wrong.ok and "introduces" in wrong.verdict
