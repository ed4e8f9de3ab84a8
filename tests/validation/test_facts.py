"""What is drawn follows from what the model does with its inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert, passes, validation
from onnx2tf_lite.validation.checking import make_reference
from onnx2tf_lite.validation.feeds import extents, inputs
from onnx2tf_lite.validation.feeds.inputs import InputSpec
from onnx2tf_lite.validation.whole.samples import Samples

from .models import model


def specs(proto: onnx.ModelProto) -> dict[str, InputSpec]:
    return {s.name: s for s in inputs.describe(passes.load(proto))}


def drawn(proto: onnx.ModelProto, turn: int = 0) -> dict[str, np.ndarray]:
    """The first candidate of a sample."""
    found = inputs.describe(passes.load(proto))
    places = {s.name: inputs.default_place(s) for s in found}
    return next(extents.generate(found, places, {}, turn=turn))[1]


def checked(proto: onnx.ModelProto, path: Path) -> validation.Report:
    made = convert(onnx_graph=proto, output_folder_path=path, outputs=["float32"], check="none", non_verbose=True)
    return validation.check(proto, made.files["float32"])


RATE = """g (float[1,8] x, int64 sr) => (float[1,4] y) {{
  is = Equal(sr, rate)
  y = If<then_branch = a () => (float[1,4] t) {{ t = MatMul(x, w) }},
         else_branch = b () => (float[1,4] e) {{ {other} }}>(is)
}}"""


def test_both_branches_of_a_compared_input_are_run(tmp_path: Path) -> None:
    """The weights of the else branch are bent in the file: only a sample that takes it can tell."""
    proto = model(RATE.format(other="e = MatMul(x, v)"), w=(8, 4), v=(8, 4), rate=np.array(16000, np.int64))
    assert [drawn(proto, turn)["sr"].item() for turn in range(2)] == [16000, 16001]
    assert checked(proto, tmp_path).exit_code == 0
    made = tmp_path / "model_float32.tflite"
    weights = onnx.numpy_helper.to_array(proto.graph.initializer[1])
    content = made.read_bytes()
    for stored in (weights, np.ascontiguousarray(weights.T)):
        bent = stored.copy()
        bent[0, 0] += 1
        content = content.replace(stored.tobytes(), bent.tobytes())
    assert content != made.read_bytes()
    made.write_bytes(content)
    assert validation.check(proto, made).exit_code == 1


def test_every_sampling_rate_gets_its_sample() -> None:
    """An inner comparison counts as well; the model runs with no third rate."""
    other = """ low = Equal(sr, half)
      e = If<then_branch = c () => (float[1,4] f) { f = MatMul(x, v) },
             else_branch = d () => (float[1,4] h) { h = Reshape(x, wrong) }>(low)"""
    proto = model(RATE.format(other=other), w=(8, 4), v=(8, 4), rate=np.array(16000, np.int64),
                  half=np.array(8000, np.int64), wrong=np.array([1, 4]))  # fmt: skip
    samples = Samples(make_reference(proto), validation.CheckOptions())
    samples.draw([])
    assert sorted(s.feeds["sr"].item() for s in samples.samples) == [8000, 16000]


CHANNELS = {
    "convolution": ("float[N,C,H,W] x", "y = Conv(x, w)", (8, 24, 3, 3), 1, 24),
    "grouped convolution": ("float[N,C,H,W] x", "y = Conv<group=4>(x, w)", (8, 6, 3, 3), 1, 24),
    "matmul behind a transpose": (
        "float[N,C,T] x",
        "t = Transpose<perm=[0,2,1]>(x)\n y = MatMul(t, w)",
        (80, 5),
        1,
        80,
    ),
    "gemm, turned": ("float[N,C] x", "y = Gemm<transB=1>(x, w)", (5, 80), 1, 80),
    "addition": ("float[N,T,C] x", "y = Add(x, w)", (1, 80), 2, 80),
}


@pytest.mark.parametrize("given, body, weights, axis, extent", CHANNELS.values(), ids=CHANNELS)
def test_weights_say_extents(given: str, body: str, weights: tuple[int, ...], axis: int, extent: int) -> None:
    rank = given.count(",") + 1
    proto = model(f"g ({given}) => (float[{','.join('PQRS'[:rank])}] y) {{ {body} }}", w=weights)
    x = drawn(proto)["x"]
    assert x.shape[axis] == extent
    free = [d for a, d in enumerate(x.shape) if a not in (0, axis)]
    assert len(set(free)) == len(free), "extents that nothing makes equal differ"


def test_a_reshape_says_an_extent() -> None:
    proto = model("g (float[N,T,C] x) => (float[A,B,2,40] y) { y = Reshape(x, to) }", to=np.array([0, 0, 2, 40]))
    assert drawn(proto)["x"].shape[2] == 80


SIZES = {
    "reshape": ("(float[2,3,4] x, int64[2] k) => (float[6,4] y) { y = Reshape(x, k) }", [6, 4]),
    "top": ("(float[2,6,4] x, int64[1] k) => (int64[2,5,4] y) { v, y = TopK<axis=1>(x, k) }", [5]),
    "one-hot": ("(int64[3] x, int64 k, float[2] v) => (float[3,7] y) { y = OneHot(x, k, v) }", 7),
    "pad": ("(float[2,5] x, int64[4] k) => (float[4,6] y) { y = Pad(x, k) }", [1, 0, 1, 1]),
    "split": ("(float[9] x, int64[2] k) => (float[4] y, float[5] z) { y, z = Split(x, k) }", [4, 5]),
    "scales": ("(float[2,4] x, float[2] k) => (float[2,6] y) { y = Resize(x, , k) }", [1, 1.5]),
    "axes": ("(float[1,3,1,5] x, int64[1] k) => (float[1,3,5] y) { y = Squeeze(x, k) }", [2]),
    "expand": ("(float[1,4] x, int64[2] k) => (float[3,4] y) { y = Expand(x, k) }", [3, 4]),
}


@pytest.mark.parametrize("text, expected", SIZES.values(), ids=SIZES)
def test_declared_results_say_sizes(text: str, expected: object) -> None:
    assert drawn(model(f"g {text}"))["k"].tolist() == expected


OTHER_VERSIONS = {
    "scales": (9, "(float[1,1,2,2] x, float[4] k) => (float[1,1,4,6] y) { y = Upsample(x, k) }", [1, 1, 2, 3]),
    "window": (18, "(float[1,6,8] x, int64[2] image, int64[2] k) => (float[1,1,4,5] y) { y = Col2Im(x, image, k) }",
               [3, 2]),
}  # fmt: skip


@pytest.mark.parametrize("version, text, expected", OTHER_VERSIONS.values(), ids=OTHER_VERSIONS)
def test_so_they_do_in_other_versions(version: int, text: str, expected: list[int]) -> None:
    head = f'<ir_version: 8, opset_import: ["": {version}]>\n'
    assert drawn(onnx.parser.parse_model(f"{head}g {text}"))["k"].tolist() == expected


def test_sizes_that_only_a_body_reads_are_tried_among_those_declared(tmp_path: Path) -> None:
    """ONNX Runtime refuses the reshape of 24 numbers for any others than were declared."""
    proto = model("""g (float[24] x, bool flag, int64[3] k) => (float[3,2,4] y) {
      y = If<then_branch = t () => (float[A,B,C] one) { one = Reshape(x, k) },
             else_branch = e () => (float[A,B,C] two) { two = Reshape(x, k) }>(flag)
    }""")
    assert specs(proto)["k"].facts.made == (2, 3, 4)
    assert checked(proto, tmp_path).exit_code == 0


def test_booleans_are_of_both_kinds() -> None:
    keep = drawn(model("g (bool[2,3,4] keep) => (bool[2,3,4] y) { y = Xor(keep, keep) }"))["keep"]
    assert 0 < keep.mean() < 1


def test_a_comparison_with_every_id_is_a_vocabulary() -> None:
    body = "u = Unsqueeze(ids, one)\n b = Equal(u, all)\n y = Cast<to=1>(b)"
    proto = model(
        f"g (int32[64] ids) => (float[64,40] y) {{ {body} }}", one=np.array([1]), all=np.arange(40, dtype="i4")
    )
    ids = drawn(proto)["ids"]
    assert ids.min() >= 0 and 20 < ids.max() < 40


def test_extents_of_one_name_are_tried_apart() -> None:
    proto = model("g (float[N,T] a, float[N,T] b) => (float[N,T] y, float[N,T] z) { y = Relu(a)\n z = Relu(b) }")
    feeds = drawn(proto, turn=1)
    assert feeds["a"].shape[0] != feeds["b"].shape[0] and feeds["a"].shape[1] != feeds["b"].shape[1]
    assert 1 not in feeds["a"].shape + feeds["b"].shape, "a one would be broadcast"


def test_nothing_is_divided_by_zero() -> None:
    proto = model("g (int64[99] a, int64[99] b) => (int64[99] d, int64[99] m) { d = Div(a, b)\n m = Mod(a, b) }")
    feeds = drawn(proto)
    assert (feeds["b"] != 0).all() and (feeds["b"] < 0).any() and (feeds["a"] < 0).any()


def test_masks_have_full_mixed_and_empty_rows() -> None:
    proto = model("g (float[4,16] x, bool[4,16] keep) => (float[4,16] y) { y = Where(keep, x, low) }",
                  low=np.array(-9, np.float32))  # fmt: skip
    for turn, empty in enumerate((False, True)):
        rows = drawn(proto, turn)["keep"].mean(axis=1)
        assert rows[0] == 1 and 0 < rows[1] < 1 and (rows[-1] == 0) == empty


def test_lengths_are_within_the_time() -> None:
    proto = model("""g (float[T,3,5] x, int32[3] n) => (float[T,1,3,2] y) {
        y = LSTM<hidden_size=2>(x, w, r, , n) }""", w=(1, 8, 5), r=(1, 8, 2))  # fmt: skip
    first, second = drawn(proto), drawn(proto, 1)
    assert first["n"].max() == len(first["x"]) and first["n"].min() >= 1
    assert second["n"].max() == len(second["x"]) and second["n"][-1] == 1


def test_bounds_leave_something_between_them() -> None:
    """A range of frequencies: random ends would mostly hold no bin at all, and 0 / 0 is NaN."""
    proto = model("""g (float fmin, float fmax) => (float[40] y) {
        above = GreaterOrEqual(bins, fmin)
        below = LessOrEqual(bins, fmax)
        inside = And(above, below)
        y = Cast<to=1>(inside) }""", bins=np.linspace(50, 2000, 40).astype(np.float32))  # fmt: skip
    for turn in range(2):
        feeds = drawn(proto, turn)
        assert 50 < feeds["fmin"] < feeds["fmax"] < 2000


PREPROCESSING = {
    "none": ("y = Conv(x, w)", (-2, 2)),
    "division by 255": ("d = Div(x, by)\n y = Conv(d, w)", (0, 255)),
    "mean of bytes": ("d = Sub(x, mean)\n y = Conv(d, w)", (0, 255)),
    "mean and deviation": ("d = Sub(x, part)\n e = Div(d, spread)\n y = Conv(e, w)", (0, 1)),
}


@pytest.mark.parametrize("body, span", PREPROCESSING.values(), ids=PREPROCESSING)
def test_pictures_are_smooth_and_in_range(body: str, span: tuple[float, float]) -> None:
    proto = model(f"g (float[2,3,32,48] x) => (float[2,4,30,46] y) {{ {body} }}", w=(4, 3, 3, 3),
                  by=np.array(255, np.float32), mean=np.full((1, 3, 1, 1), 120, np.float32),
                  part=np.full((1, 3, 1, 1), 0.45, np.float32),
                  spread=np.full((1, 3, 1, 1), 0.2, np.float32))  # fmt: skip
    x = drawn(proto)["x"]
    assert span[0] <= x.min() < x.max() <= span[1] and x.std() > (span[1] - span[0]) / 12
    steps = np.abs(np.diff(x, axis=3))
    assert np.median(steps) < (span[1] - span[0]) / 20, "white noise has a median of a quarter"
    assert not np.array_equal(x[0], x[1])


def test_a_quantised_input_is_drawn_from_its_scale() -> None:
    proto = model("""g (float[1,64] x) => (float[1,64] y) {
        q = QuantizeLinear(x, scale, zero)
        y = DequantizeLinear(q, scale, zero) }""",
                  scale=np.array(2, np.float32), zero=np.array(0, np.uint8))  # fmt: skip
    x = drawn(proto)["x"]
    assert x.min() >= 0 and 100 < x.mean() < 400 and x.max() <= 510


def test_sizes_are_estimated_before_anything_is_allocated(tmp_path: Path) -> None:
    """Six free extents of one product: 64 each would be 256 GB."""
    proto = model("""g (float[A,1,1,1,1,1] a, float[B,1,1,1,1] b, float[C,1,1,1] c, float[D,1,1] d, float[E,1] e,
                        float[F] f) => (float[A,B,C,D,E,F] y) {
        ab = Mul(a, b)\n cd = Mul(c, d)\n ef = Mul(e, f)\n abcd = Mul(ab, cd)\n y = Mul(abcd, ef) }""")  # fmt: skip
    report = checked(proto, tmp_path)
    assert report.samples and max(np.prod([d for s in shapes.values() for d in s]) for shapes in report.samples) < 1e8


def test_index_vectors_are_no_longer_than_the_data_has_axes() -> None:
    """Whatever a model says of them."""
    text = "g (float[5,4] x, int64[2,2000000000] i) => (float[2] y) { y = GatherND(x, i) }"
    assert specs(model(text))["i"].facts.high == 4
