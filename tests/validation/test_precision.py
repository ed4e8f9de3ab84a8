"""What a reference is good for: where it rounds or saturates, and what the model means there."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from onnx2tf_lite import convert, validation
from onnx2tf_lite.validation.checking import make_reference
from onnx2tf_lite.validation.original import precision
from onnx2tf_lite.validation.original.reference import round_weights
from onnx2tf_lite.validation.whole.samples import Samples

from .models import model, own, reference, verdict

RUNTIME = tuple(map(int, version("onnxruntime").split(".")[:2]))


def test_halves_are_compared_with_what_they_mean() -> None:
    """Rounded after each of twelve operators, the reference is 1e-3 off what the model means and the file computes."""
    body = "".join(f"h{i + 1} = MatMul(h{i}, w)\n" for i in range(12))
    half = (np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0]).astype(np.float16)
    proto = model(f"g (float16[1,64] h0) => (float[1,64] y) {{ {body} y = Cast<to=1>(h12) }}", w=half)
    code, report = verdict(proto)
    assert code == 0 and "16-bit" in report.notes[0]
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float16)
    (found,) = reference(proto).open().run({"h0": x}).values()
    exact = x.astype(np.float64) @ np.linalg.matrix_power(half.astype(np.float64), 12)
    np.testing.assert_allclose(found, exact, atol=1e-5)


def test_a_file_may_round_as_the_model_does() -> None:
    """A constant that is computed in float16 before anything runs is 2e-4 off what it means."""
    proto = model("""g (float16[1,64] x) => (float16[1,64] y) {
        k = Sqrt(three)
        y = Mul(x, k) }""", three=np.array(3, np.float16))  # fmt: skip
    samples = Samples(reference(proto), validation.CheckOptions())
    samples.draw([])
    samples.read_slack("float32", ["y"])
    (sample,) = samples.samples
    assert sample.expected["y"].dtype == np.float32
    top = np.abs(sample.expected["y"]).max()
    assert 5e-5 * top < sample.slack["float32"]["y"] < 5e-4 * top


def test_halves_that_are_only_stored_change_nothing() -> None:
    proto = model("g (float[1,8] x) => (float[1,8] y) { k = Cast<to=1>(w)\n y = MatMul(x, k) }",
                  w=np.ones((8, 8), np.float16))  # fmt: skip
    assert not reference(proto).halves


INTEGER = """g (uint8[4,64] x) => (int32[4,16] y, int32[4,16] z) {
  y = MatMulInteger(x, w)
  z = MatMulInteger(x, w, three, four) }"""


def test_signed_weights_are_read_as_unsigned_where_products_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    w = np.random.default_rng(0).integers(-128, 128, (64, 16)).astype(np.int8)
    proto = model(INTEGER, w=w, three=np.array(3, np.uint8), four=np.array(4, np.int8))
    monkeypatch.setattr(precision, "saturates", lambda: True)
    wide = reference(proto)
    used = wide._model(["y", "z"], "")
    kinds = {t.name: t.data_type for t in used.graph.initializer}
    assert all(kinds[n.input[1]] == kinds[n.input[3]] == onnx.TensorProto.UINT8 for n in used.graph.node)
    x = np.full((4, 64), 255, np.uint8)
    found = wide.open().run({"x": x})
    np.testing.assert_array_equal(found["y"], x.astype(int) @ w.astype(int))
    np.testing.assert_array_equal(found["z"], (x.astype(int) - 3) @ (w.astype(int) - 4))


@pytest.mark.parametrize("cut", [False, True], ids=["exact", "saturating"])
def test_the_probe_tells_a_saturating_product(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    class Machine:
        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def run(self, names: object, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            rows, depth = feeds["x"].shape
            pair = 2 * 255 * 127
            return [np.full((rows, 16), depth // 2 * (min(pair, 32767) if cut else pair), np.int32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Machine)
    assert precision.saturates.__wrapped__() == cut


def test_only_models_with_such_products_pay_for_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "saturates", lambda: pytest.fail("a float model was probed"))
    proto = model("g (float[1,8] x) => (float[1,4] y) { y = MatMul(x, w) }", w=(8, 4))
    assert reference(proto).open().run({"x": np.ones((1, 8), np.float32)})["y"].shape == (1, 4)


# ------------------------------------------------------------------------------------------------ refused forms


def test_rounded_weights_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    """In a file they stay there, and the rounded ones are handed over beside the model; also those of a Constant."""
    proto = model("g (float[1,64] x) => (float[1,64] y) { a = MatMul(x, w) c = Identity(w) b = MatMul(a, c) "
                  "y = Add(b, v) }", w=(64, 64), v=(64,))  # fmt: skip
    value = next(t for t in proto.graph.initializer if t.name == "w")
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w2"], value=value))
    proto.graph.node[2].input[0] = "w2"
    onnx.save(proto, tmp_path / "own.onnx")
    inline = onnx.load(tmp_path / "own.onnx")
    onnx.save(proto, tmp_path / "side.onnx", save_as_external_data=True, location="beside", size_threshold=0)
    feeds = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)}
    first, *others = (make_reference(s) for s in (inline, tmp_path / "own.onnx", tmp_path / "side.onnx"))
    plain, rounded = (first.open(rounding=kind).run(feeds)["y"] for kind in ("", "float16"))
    moved = np.abs(rounded - plain).max()
    for other in others:
        assert other._given(["y"], "float16")[1].keys() == {"w"}  # smaller ones than LARGE are not rounded
        assert np.abs(other.open(rounding="float16").run(feeds)["y"] - rounded).max() < 1e-2 * moved
    assert not first._given(["y"], "float16")[1]


def test_weights_of_bodies_are_rounded_and_sizes_there_are_not(tmp_path: Path) -> None:
    """Wherever they lie; the reference runs with them."""
    proto = own(model("""g (float[1,16] x, bool c) => (float[N,M] y) {
      y = If<then_branch = t () => (float[N,M] a) { m = MatMul(x, w) a = Resize(m, , scales) },
             else_branch = e () => (float[N,M] b) { b = Identity(x) }>(c)
    }""", w=(16, 16), scales=np.array([1, 2], np.float32)))  # fmt: skip
    onnx.save(proto, tmp_path / "own.onnx")
    inline = onnx.load(tmp_path / "own.onnx")
    onnx.save(proto, tmp_path / "side.onnx", save_as_external_data=True, location="beside", size_threshold=0)
    feeds = {"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 16), "c": np.array(True)}
    for source in (inline, tmp_path / "side.onnx"):
        plain, rounded = (make_reference(source).open(rounding=kind).run(feeds)["y"] for kind in ("", "float16"))
        assert 2.0**-16 < np.abs(rounded - plain).max() / np.abs(plain).max() < 2.0**-9
    held = [proto.graph.node[0].attribute[0].g.initializer for proto in (onnx.load(tmp_path / "own.onnx"), inline)]
    round_weights(inline, "scales")
    before, after = ({t.name: onnx.numpy_helper.to_array(t) for t in tensors} for tensors in held)
    assert (after["w"] != before["w"]).any() and (after["scales"] == before["scales"]).all()


def test_float64_is_where_onnx_runtime_has_it() -> None:
    """A convolution has no kernel for it: what is behind one is meant as exactly as elsewhere."""
    proto = model("""g (float[1,1,64] x) => (float[1,1,64] z) {
      y = Conv(x, w)
      z = Sigmoid(y)
    }""", w=np.ones((1, 1, 1), np.float32))  # fmt: skip
    x = np.linspace(-16, -8, 64, dtype=np.float32).reshape(1, 1, 64)
    deep = reference(proto).open(rounding="exact").run({"x": x})["z"]
    np.testing.assert_allclose(deep, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6)
    assert ("", "Conv") in precision.in_float32() and ("", "Sigmoid") not in precision.in_float32()


def test_steps_below_what_the_reference_is_good_for(tmp_path: Path) -> None:
    """ONNX Runtime's Sigmoid is good to 1e-7, whatever its size: several steps of 16 bits of a tensor of 4e-4."""
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    proto = parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
    g (float[1,64] x) => (float[1,64] z) {
      scale = Constant<value_float = 1.2e-8>()
      zero = Constant<value = int16 {0}>()
      y = Sigmoid(x)
      steps = QuantizeLinear(y, scale, zero)
      z = DequantizeLinear(steps, scale, zero)
    }""")
    x = np.linspace(-16, -8, 64, dtype=np.float32).reshape(1, 64)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    whole = reference(proto)
    deep = whole.open(rounding="exact").run({"x": x})["z"]
    assert np.abs(deep - exact).max() <= 0.6 * 1.2e-8
    result = convert(
        "", tmp_path, onnx_graph=proto, outputs=("float32", "saved_model"), test_data={"x": x}, non_verbose=True
    )
    assert result.exit_code == 0
