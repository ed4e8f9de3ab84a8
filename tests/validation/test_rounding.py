"""Right files of models that make much of rounding errors, or draw random numbers, match; wrong ones do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation import bounds
from onnx2tf_lite.validation.checking import make_reference
from onnx2tf_lite.validation.reports.report import FileReport
from onnx2tf_lite.validation.whole.samples import Samples

from .editor import Editor
from .models import model
from .single import element

DISTANCES = """d (float[N,16] x) => (float[N,N] y) {
  m = MatMul(x, w)  squares = Mul(m, m)  s = ReduceSum(squares, last)  across = Transpose<perm=[1,0]>(s)
  turned = Transpose<perm=[1,0]>(m)  products = MatMul(m, turned)  twice = Mul(products, two)
  sums = Add(s, across)  all = Sub(sums, twice)  positive = Relu(all)  y = Sqrt(positive)
}"""
TAIL = """t (float[N,16] x) => (float[N,16] y) {
  m = MatMul(x, w)  k = Mul(m, two)  e = Erf(k)  rest = Sub(one, e)  y = Log(rest)
}"""
VARIANCE = """v (float[N,16] x) => (float[N,1] y) {
  m = MatMul(x, w)  far = Add(m, hundred)  squares = Mul(far, far)  mean = ReduceMean<axes=[1]>(squares)
  low = ReduceMean<axes=[1]>(far)  power = Mul(low, low)  v = Sub(mean, power)  y = Sqrt(v)
}"""
LOST = """l (float[N,16] x) => (float[N,16] y) {
  m = MatMul(x, w)  far = Add(m, large)  near = Sub(far, large)  y = Mul(near, two)
}"""
LONG = """s (float[1,600000] x) => (float[1,16] y) { l = ReduceL2<axes=[1]>(x)  y = MatMul(l, row) }"""
NUMBERS = {"two": 2, "one": 1, "hundred": 100, "large": 1e5}
ROUNDING = {"distances": DISTANCES, "tail": TAIL, "variance": VARIANCE, "lost": LOST, "long": LONG}

VAE = """v (float[N,16] x) => (float[N,8] y, float[N,16] o) {
  mean = MatMul(x, a)  log = MatMul(x, b)  spread = Exp(log)  noise = RandomNormalLike(mean)
  part = Mul(spread, noise)  y = Add(mean, part)  o = MatMul(y, c)
}"""
TRAINED = "t (float[N,16] x) => (float[N,16] y) { m = MatMul(x, w)  d = Dropout(m, half, yes)  y = MatMul(d, w) }"
DRAWN = "d (float[1,16] x) => (int32[1,5] y, float[1,16] p) { p = MatMul(x, w)  y = Multinomial<sample_size=5>(p) }"


def made(text: str) -> onnx.ModelProto:
    shapes = {"w": (16, 16), "row": (1, 16), "a": (16, 8), "b": (16, 8), "c": (8, 16)}
    numbers = {n: np.array([v], np.float32) for n, v in NUMBERS.items()}
    given = {**shapes, **numbers, "last": np.array([1]), "half": np.array(0.5, np.float32), "yes": np.array(True)}
    return model(text, **{n: v for n, v in given.items() if f"{n})" in text or f"{n}," in text})


def judged(proto: onnx.ModelProto, path: Path) -> FileReport:
    (found,) = validation.check(proto, path, layers=False).files
    return found


def written(proto: onnx.ModelProto, folder: Path) -> Path:
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float32"], check="none", non_verbose=True)
    return made.files["float32"]


def bent(path: Path, kind: str = "weight") -> Path:
    edit = Editor(path)
    assert element(edit, kind, np.random.default_rng(0)) is not None
    return edit.save(path.with_name("bent.tflite"))


@pytest.mark.parametrize("text", ROUNDING.values(), ids=ROUNDING)
def test_what_a_model_makes_of_rounding_is_no_error_of_its_file(text: str, tmp_path: Path) -> None:
    proto = made(text)
    path = written(proto, tmp_path)
    right, wrong = judged(proto, path), judged(proto, bent(path))
    assert right.ok and right.ill_conditioned and "ill-conditioned here" in right.verdict
    assert not wrong.ok and len(wrong.culprits) == 1


def test_without_noise_in_every_layer_it_would_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Samples, "stirred", lambda self, noise, names: [{} for _ in self.samples])
    proto = made(TAIL)
    found = judged(proto, written(proto, tmp_path))
    assert not found.ok and not found.culprits and "no layer alone is beyond the limit" in found.verdict


def test_noise_is_of_the_size_that_is_asked_for(tmp_path: Path) -> None:
    """By their definition: of y = k * x the result moves by as much of itself as x and y do, twice in all."""
    proto = model("g (float[1,4000] x) => (float[1,4000] y) { a = Neg(x)  y = Neg(a) }")
    samples = Samples(make_reference(proto), validation.CheckOptions())
    samples.draw([])
    (moves,) = samples.stirred({"a": 2.0**-10, "y": 2.0**-10}, ["y"])
    most = float(np.abs(samples.samples[0].expected["y"]).max())
    assert 2.0**-11 * most < moves["y"] <= 2.01 * 2.0**-10 * most


@pytest.mark.parametrize("text", [VAE, TRAINED, DRAWN], ids=["normal", "dropout", "multinomial"])
def test_random_numbers_are_not_compared_and_what_is_made_of_them_is(text: str, tmp_path: Path) -> None:
    proto = made(text)
    path = written(proto, tmp_path)
    found = judged(proto, path)
    assert found.ok and "it draws random numbers" in found.verdict
    assert validation.check(proto, path, require_coverage=100).exit_code == 1
    if text != TRAINED:  # there all weights are behind the random numbers of a layer, or in it
        assert not judged(proto, bent(path)).ok


def test_a_result_of_random_numbers_has_its_shape(tmp_path: Path) -> None:
    proto = made(DRAWN)
    other = made(DRAWN.replace("sample_size=5", "sample_size=6").replace("[1,5]", "[1,6]"))
    found = judged(proto, written(other, tmp_path))
    assert not found.ok and "shape" in found.verdict


def test_nothing_is_seen_of_the_weights_of_an_empty_batch(tmp_path: Path) -> None:
    proto = model("e (float[0,16] x) => (float[0,8] y) { y = MatMul(x, a) }", a=(16, 8))
    found = judged(proto, written(proto, tmp_path))
    assert found.ok and "0 of 1 layers, 0 % of the weights" in found.verdict
    assert "layer y (its result has no elements)" in found.verdict


def test_layers_of_a_bfloat16_model_take_part(tmp_path: Path) -> None:
    import ml_dtypes

    proto = model("b (float[N,16] x) => (float[N,8] y) { m = MatMul(x, w)  r = Relu(m)  y = MatMul(r, a) }",
                  w=(16, 16), a=(16, 8))  # fmt: skip
    for end in [*proto.graph.input, *proto.graph.output]:
        end.type.tensor_type.elem_type = TensorProto.BFLOAT16
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16), tensor.name))
    path = written(proto, tmp_path)
    assert "2 of 2 layers, 100 % of the weights" in judged(proto, path).verdict
    assert not judged(proto, bent(path)).ok


@pytest.mark.parametrize("later", [bounds.LATER, 1e-6], ids=["beside a run of the model", "by the time of the check"])
def test_a_loop_without_an_end_is_blamed(later: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model("""l (float[2,3] x, int64 turns) => (float[2,3] y) {
      a = Tanh(x)  b = Loop<body = l (int64 i, bool c, float[2,3] s) => (bool d, float[2,3] t) {
        d = Identity(c)  t = MatMul(s, w)
      }>(turns, , a)  y = Sigmoid(b)
    }""", w=(3, 3))  # fmt: skip
    feeds = {"x": np.ones((2, 3), np.float32), "turns": np.array(3)}
    path = written(proto, tmp_path)
    edit = Editor(path)
    edit.graph = edit.model.subgraphs[2]
    (step,) = (i for i in edit.indices("ADD") if (n := edit.data(int(edit.graph.operators[i].inputs[1]))) is not None
               and n.size == 1)  # fmt: skip
    edit.put(step, 1, np.zeros_like(edit.data(int(edit.graph.operators[step].inputs[1]))))
    monkeypatch.setattr(bounds, "PATIENCE", 1.0)
    monkeypatch.setattr(bounds, "LATER", later)
    (found,) = validation.check(proto, edit.save(tmp_path / "bent.tflite"), feeds, layers=False, seconds=3000).files
    assert not found.ok and [row.tensor for row in found.culprits] == ["b"]
    assert "b cannot be run to its end" in found.verdict
