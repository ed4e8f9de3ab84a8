"""Layers on their own: their operands, where they begin, what is said of those that were not reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import EncodeError
from hypothesis import given
from hypothesis import strategies as st

from onnx2tf_lite import child, convert, validation
from onnx2tf_lite.ir.graph import Placement, Value
from onnx2tf_lite.validation.bounds import OverBudgetError
from onnx2tf_lite.validation.feeds.operands import SCALES, Seen, draw
from onnx2tf_lite.validation.layers import alone, trial
from onnx2tf_lite.validation.layers.crop import PERIOD, cropped
from onnx2tf_lite.validation.layers.isolate import Layer, is_order
from onnx2tf_lite.validation.original import reference

from .models import cnn, model

FLOAT = Seen(np.dtype(np.float32), (2, 3, 40, 50), low=0.0, high=6.0, mean=1.0, std=2.0)


def checked(proto: onnx.ModelProto, folder: Path, **settings: object) -> validation.FileReport:
    made = convert(onnx_graph=proto, output_folder_path=folder, outputs=["float32"], check="none", non_verbose=True)
    (file,) = validation.check(proto, made.files["float32"], layers=False, **settings).files
    return file


# ------------------------------------------------------------------------------------------------ operands


@pytest.mark.parametrize("free", [False, True])
def test_operands_are_the_same_on_both_sides_and_others_in_every_round(free: bool) -> None:
    first, again, later = (draw("x", FLOAT, n, free) for n in (0, 0, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert first.shape == FLOAT.shape and first.dtype == np.float32
    assert not np.array_equal(first, draw("y", FLOAT, 0, free))


def test_a_layer_that_takes_any_floats_gets_both_signs_and_several_sizes() -> None:
    size = np.hypot(FLOAT.mean, FLOAT.std)
    for number, scale in enumerate(SCALES):
        drawn = draw("x", FLOAT, number, free=True)
        assert np.std(drawn) == pytest.approx(abs(scale) * size, rel=0.05)
        if number % 2:
            assert np.array_equal(drawn, -draw("x", FLOAT, number - 1, free=True))


def test_a_layer_that_does_not_gets_what_was_seen() -> None:
    drawn = draw("x", FLOAT, 0)
    assert drawn.min() == 0 and drawn.max() == 6 and np.mean((drawn > 0) & (drawn < 6)) > 0.6


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_bytes_are_all_values_and_then_their_ends(dtype: type[np.integer]) -> None:
    """What is shut on operands of all values, whose sums stay near the middle, opens on the ends."""
    seen, info = Seen(np.dtype(dtype), (8, 9, 40)), np.iinfo(dtype)
    assert len(np.unique(draw("q", seen, 0))) > 250
    for number in (1, 3):
        drawn = draw("q", seen, number)
        assert drawn.dtype == dtype and set(np.unique(drawn)) == {info.min, info.max}
    assert not np.array_equal(draw("q", seen, 1), draw("q", seen, 3))


def test_conditions_take_both_ways_everywhere() -> None:
    seen = Seen(np.dtype(bool), (4, 5))
    mixed, opposite, true, false = (draw("c", seen, n) for n in range(4))
    assert np.array_equal(mixed, ~opposite) and true.all() and not false.any() and 0 < mixed.sum() < 20
    one, other = (draw("c", Seen(np.dtype(bool), ()), n) for n in range(2))
    assert one != other and one.shape == ()


PADDED_MAXIMUM = """
    padded (float[1,3,9,9] x) => (float[1,6,4,4] y) {{
      c = Conv(x, w)
      b = {activation}
      a = Pad(b, pads)
      y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)
    }}"""
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("activation", ["Relu(c)", "Sigmoid(c)", "Abs(c)", "Clip(c, zero, six)", "Tanh(c)"])
def test_zeros_beside_a_maximum_count_where_numbers_are_negative(activation: str, tmp_path: Path) -> None:
    """The file leaves them out where there are none: operands that the activation cannot give say nothing of it."""
    text, ends = PADDED_MAXIMUM.format(activation=activation), {"zero": np.float32(0), "six": np.float32(6)}
    proto = model(text, w=(6, 3, 3, 3), pads=PADS, **{name: np.array(end) for name, end in ends.items()})
    found = checked(proto, tmp_path)
    assert found.ok, found.verdict


def test_zeros_beside_a_maximum_that_are_left_out_where_they_count_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = model(PADDED_MAXIMUM.format(activation="Tanh(c)"), w=(6, 3, 3, 3), pads=PADS)
    monkeypatch.setattr("onnx2tf_lite.fusion.padding.fused_limits", lambda op: (0.0, 6.0))
    found = checked(proto, tmp_path)
    assert not found.ok and "on operands made for it" in found.verdict and "MaxPool" in found.verdict


@given(rows=st.integers(1, 60), size=st.integers(1, 9))
def test_every_row_of_a_table_is_looked_up(rows: int, size: int) -> None:
    seen = Seen(np.dtype(np.int64), (size,), kept=np.zeros(size, np.int64))
    found = [draw("ids", seen, n, rows=rows) for n in range(-(-rows // size))]
    assert set(np.concatenate(found)) == set(range(rows))


def test_whole_numbers_may_be_shapes_and_stay_as_they_are() -> None:
    kept = np.array([1, -1, 50])
    assert np.array_equal(draw("shape", Seen(kept.dtype, kept.shape, kept=kept), 5), kept)


@given(extent=st.integers(1, 500), least=st.integers(12, 60))
def test_smaller_images_meet_strides_as_the_full_ones_do(extent: int, least: int) -> None:
    seen = Seen(np.dtype(np.float32), (1, 3, extent, 7))
    height = cropped(seen, least).shape[2]
    assert height <= extent and height >= min(extent, least) and height < max(least + PERIOD, 1)
    assert all((extent - height) % stride == 0 for stride in (1, 2, 3, 4, 6))


# ------------------------------------------------------------------------------------------------ layers


def test_every_layer_is_reached(tmp_path: Path) -> None:
    file = checked(cnn(), tmp_path)
    assert file.ok and str(file.coverage) == "7 of 7 layers, 100 % of the weights"
    assert checked(cnn(), tmp_path, budget=1).coverage == file.coverage, "a layer at a time"


def test_a_channel_that_nothing_opens_is_said(tmp_path: Path) -> None:
    bias = np.array([0, 0, -1e30, 0], np.float32)
    proto = model("g (float[1,8] x) => (float[1,4] y) { h = Gemm(x, w, b)\n y = Relu(h) }", w=(8, 4), b=bias)
    file = checked(proto, tmp_path)
    assert file.ok and file.coverage is not None and file.coverage.weights == 0.75 * file.coverage.all_weights
    assert "1 of 4 channels of layer y" in file.verdict and "75 % of the weights" in file.verdict


def test_equal_constants_of_the_model_may_be_one_tensor_of_the_file(tmp_path: Path) -> None:
    """Both states of an LSTM begin as zeros of a computed shape: the file has them once."""
    proto = model(
        """g (float[5,B,3] x) => (float[5,1,B,4] y) {
          s = Shape(x)
          n = Slice(s, one, two)
          to = Concat<axis=0>(one, n, four)
          h = ConstantOfShape(to)
          c = ConstantOfShape(to)
          y, yh, yc = LSTM<hidden_size=4>(x, w, r, b, , h, c)
        }""",
        w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), one=np.array([1]), two=np.array([2]), four=np.array([4]),
    )  # fmt: skip
    file = checked(proto, tmp_path)
    assert file.ok and file.coverage is not None and file.coverage.percent == 100, file.verdict


def test_a_layer_that_the_file_computes_of_other_tensors(tmp_path: Path) -> None:
    """Tan becomes Sin / Cos, which the model has too: both sides have to begin at x."""
    proto = model("g (float[4,5] x) => (float[4,5] s, float[4,5] c, float[4,5] t) "
                  "{ s = Sin(x)\n c = Cos(x)\n t = Tan(x) }")  # fmt: skip
    file = checked(proto, tmp_path)
    assert file.ok and str(file.coverage) == "3 of 3 layers, 100 % of the weights"


def test_branches_whose_results_have_no_type_or_whose_file_reads_other_tensors(tmp_path: Path) -> None:
    """As torch exports a module with an optional state: the file takes the extent from what the branch does not read,
    and an empty constant makes the condition a scalar."""
    proto = model("""g (float[S,N,8] state, float[N,4] x) => (float[N,8] y) {
        extents = Shape(state)
        count = Gather(extents, zero)
        some = Squeeze(count, zero)
        flag = Cast<to=9>(some)
        y = If<then_branch = t () => (float[N,8] held) { first = Gather(state, zero)
                                                         flat = Squeeze(first, zero)
                                                         both = MatMul(x, w)
                                                         held = Add(both, flat) },
               else_branch = e () => (float[N,8] fresh) { fresh = MatMul(x, v) }>(flag) }""",
                  zero=np.array([0]), w=(4, 8), v=(4, 8))  # fmt: skip
    for attribute in next(n for n in proto.graph.node if n.op_type == "If").attribute:
        attribute.g.output[0].ClearField("type")
    report = checked(proto, tmp_path)
    assert report.ok and report.coverage is not None
    assert report.coverage.weights == report.coverage.all_weights, report.verdict


# ---------------------------------------------------------------------------------------------------------- weights


def test_layers_are_run_in_groups_of_so_many_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost where a child takes one layer at a time, and a group never holds more than it may."""
    whole = checked(cnn(), tmp_path)
    sizes = list[int]()

    def rounds(bench: alone.Bench, layers: list[Layer], numbers: Sequence[int]) -> None:
        sizes.append(sum(map(bench.weights, layers)) if len(layers) > 1 else 0)
        run(bench, layers, numbers)

    run = alone.Bench.rounds
    monkeypatch.setattr(child, "one_for_all", lambda work, told: work(told))  # what is counted is counted here
    monkeypatch.setattr(alone, "WEIGHTS", 400)
    monkeypatch.setattr(alone.Bench, "rounds", rounds)
    parts = checked(cnn(), tmp_path)
    assert parts.verdict == whole.verdict and parts.coverage == whole.coverage
    assert len(sizes) > 1 and max(sizes) <= 400


def test_more_weights_than_a_message_holds_are_over_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        def SerializeToString(self) -> bytes:
            raise EncodeError("Failed to serialize proto")

    with pytest.raises(OverBudgetError, match="2 GB"):
        reference._serialised(Large())  # type: ignore[arg-type]


def test_what_a_part_makes_is_not_made_up_where_only_its_shape_is_read(tmp_path: Path) -> None:
    """The end of a padded tensor is the end of what is in it, which the file reads instead."""
    proto = model("""g (float[2,4,8] x) => (float[2,4,11] padded, float[2,4,3] end) {
        padded = Concat<axis=2>(zeros, x)
        long = Shape<start=2, end=3>(padded)
        from = Sub(long, three)
        end = Slice(padded, from, long, axes)
    }""", zeros=np.zeros((2, 4, 3), np.float32), three=np.array([3]), axes=np.array([2]))  # fmt: skip
    file = checked(proto, tmp_path)
    assert file.ok and file.coverage is not None and file.coverage.layers == file.coverage.all_layers, file.verdict


def test_axes_that_are_split_and_joined_again_are_no_order() -> None:
    """Shuffled channels of one picture: as many axes as it has, but none of them its own."""
    value = Value("x", (1, 14, 14, 272), np.dtype(np.float32))
    assert is_order(Placement(value, (1, 14, 14, 272), (0, 3, 1, 2), (1, 272, 14, 14)))
    assert not is_order(Placement(value, (14, 14, 4, 68), (3, 2, 0, 1), (1, 272, 14, 14)))


def test_what_files_share_is_what_each_has_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked together, the second file takes what the original model made for the first; figures are the same."""
    made = convert(onnx_graph=cnn(), output_folder_path=tmp_path, outputs=["float32", "float16"], check="none")
    monkeypatch.setattr(child, "one_for_all", lambda work, told: work(told))
    monkeypatch.setattr(child, "call", lambda function, *rest: function())
    sessions: list[int] = []

    def session(self: trial.Trial, *given: Any) -> Any:
        sessions[-1] += 1
        return run(self, *given)

    run = trial.Trial.session
    monkeypatch.setattr(trial.Trial, "session", session)
    sessions.append(0)
    together = validation.check(cnn(), made.files).files
    sessions.append(0)
    apart = [validation.check(cnn(), {kind: path}).files[0] for kind, path in made.files.items()]
    assert all(one.verdict.count("matches") for one in together) and 0 < sessions[0] < sessions[1]
    for one, other in zip(together, apart, strict=True):
        assert (one.verdict, one.coverage, one.layers) == (other.verdict, other.coverage, other.layers)
