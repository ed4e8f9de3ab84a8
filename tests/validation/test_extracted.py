"""Parts of a .tflite as models of their own: each operator makes of its operands what it makes of them in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from onnx2tf_lite import convert, validation
from onnx2tf_lite.emitters.tflite import writer
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.parted import Segment
from tests.validation.editor import Editor
from tests.validation.models import cnn, model

ALIGNMENT = 64


def interpreter(content: bytes) -> Interpreter:
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(
        model_content=content, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
    )
    made.allocate_tensors()
    return made


def results(content: bytes, operands: list[np.ndarray]) -> list[np.ndarray]:
    made = interpreter(content)
    for end, operand in zip(made.get_input_details(), operands, strict=True):
        made.set_tensor(end["index"], operand)
    made.invoke()
    return [made.get_tensor(end["index"]) for end in made.get_output_details()]


def written(how: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> FlatFile:
    """A network as one of our files, small or as large ones are, or as generated code lays it out."""
    if how == "outside":
        monkeypatch.setattr(writer.write, "__kwdefaults__", writer.write.__kwdefaults__ | {"flatbuffer_limit": 0})
    kind = "float16" if how == "halves" else "float32"
    result = convert(onnx_graph=cnn("1"), output_folder_path=folder, outputs=[kind], check="none", non_verbose=True)
    path = result.files[kind]
    if how == "generated":
        Editor(path).save(folder / "generated.tflite")
        path = folder / "generated.tflite"
    return FlatFile(path)


@pytest.mark.parametrize("how", ["ours", "halves", "outside", "generated"])
def test_every_operator_alone_is_what_it_is_in_the_file(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(how, tmp_path, monkeypatch)
    whole = interpreter(bytes(file.data))
    for end in whole.get_input_details():
        whole.set_tensor(end["index"], np.random.default_rng(0).standard_normal(end["shape"], np.float32))
    whole.invoke()
    known = [file.inputs[0], *(t for op in file.operators for t in op.outputs)]
    segments = [found for op in file.operators if (found := file.segment(op.outputs[0], known)) and found.boundary]
    operands = [whole.get_tensor(t) for s in segments for t in s.boundary]
    content = file.extract(segments, [a.shape for a in operands])
    for segment, got in zip(segments, results(content, operands), strict=True):
        np.testing.assert_array_equal(got, whole.get_tensor(segment.target))
    assert len(segments) > 5
    assert (file.front < len(file.data)) == (how != "generated"), "weights are taken without the rest where they can be"


SPLITS = """
    g (float[1,3,8] x) => (float[1,3,4] r, float[1,3,4] z) {
      a, b = Split<axis=2>(x, c)
      s = Sigmoid(b)
      t = Sigmoid(b)
      r = Relu(s)
      z = Add(t, a)
    }"""


def splits(folder: Path) -> tuple[onnx.ModelProto, Path]:
    """A file that has equal nodes on one part of a Split once, so that ``z`` is a layer of ``x`` and ``b``."""
    proto = model(SPLITS, c=np.array([4, 4]))
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float32"], check="none", non_verbose=True)
    return proto, made.files["float32"]


def test_a_part_that_begins_at_one_result_of_an_operator_and_before_it_reads_what_it_is_given(tmp_path: Path) -> None:
    file = FlatFile(splits(tmp_path)[1])
    split, logistic, add = (next(op for op in file.operators if op.name == n) for n in ("SPLIT", "LOGISTIC", "ADD"))
    part = Segment(add.outputs[0], (file.inputs[0], split.outputs[1]), (split.index, logistic.index, add.index))
    x, b = (np.random.default_rng(n).standard_normal(s, np.float32) for n, s in enumerate([(1, 3, 8), (1, 3, 4)]))
    (got,) = results(file.extract([part], [x.shape, b.shape]), [x, b])
    np.testing.assert_allclose(got, x[..., :4] + 1 / (1 + np.exp(-b)), rtol=1e-5)


@pytest.mark.parametrize("wrong", ["", "parts", "function", "operand"])
def test_a_layer_of_a_part_of_a_split_and_of_its_operand(wrong: str, tmp_path: Path) -> None:
    """It is right in a right file, and an error of any of its operators is found."""
    proto, path = splits(tmp_path)
    edit = Editor(path)
    (split,), (logistic,), (add,) = (edit.indices(name) for name in ("SPLIT", "LOGISTIC", "ADD"))
    operators = edit.graph.operators
    if wrong == "parts":
        operators[split].outputs = operators[split].outputs[::-1]
    elif wrong == "function":
        old = operators.pop(logistic)
        edit.insert(logistic, "TANH", old.inputs, old.outputs)
        edit.model.operatorCodes[-1].version = 1
    elif wrong == "operand":
        ends = {int(operators[logistic].outputs[0]): int(operators[logistic].inputs[0])}
        operators[add].inputs = np.array([ends.get(int(t), int(t)) for t in operators[add].inputs], np.int32)
    (file,) = validation.check(proto, edit.save(tmp_path / "other.tflite"), layers=False).files
    assert file.ok == (not wrong), file.verdict
    assert not wrong or "introduces" in file.verdict, file.verdict


def test_a_part_has_the_weights_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written("ours", tmp_path, monkeypatch)
    last = next(op for op in file.operators if op.name == "FULLY_CONNECTED")
    segment = Segment(last.outputs[0], last.inputs[:1], (last.index,))
    content = file.extract([segment], [file.tensors[last.inputs[0]].shape])
    own = sum(file.tensors[t].nbytes for t in last.inputs[1:] if t >= 0 and file.tensors[t].constant)
    assert len(content) < 2 * file.front + own + 8 * ALIGNMENT < len(file.data)


def test_operands_may_be_smaller_than_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written("ours", tmp_path, monkeypatch)
    first = next(op for op in file.operators if op.name == "CONV_2D")
    segment = Segment(first.outputs[0], first.inputs[:1], (first.index,))
    full = np.random.default_rng(0).standard_normal(file.tensors[first.inputs[0]].shape, np.float32)
    small = np.ascontiguousarray(full[:, :8, :6])
    ends = [results(file.extract([segment], [a.shape]), [a])[0] for a in (full, small)]
    inside = (slice(None), slice(1, 5), slice(1, 4))
    np.testing.assert_allclose(ends[1][inside], ends[0][inside], rtol=1e-5, atol=1e-6)
