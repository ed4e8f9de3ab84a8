"""Slice, Pad and CenterCropPad against numpy and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnx2tf_lite import compile, passes
from tests import harness
from tests.op_handlers.nodes import check_node, i64, normal, scalar, whole
from tests.validation.models import model

FAR = 2**63 - 1
# start, end, step of an axis of 7
BOUNDS = [(0, 7, 1), (1, -1, 1), (-3, FAR, 1), (2, 100, 2), (-1, -FAR, -1), (5, 1, -2), (-100, 3, 1), (4, 2, 1),
          (-2, -9, -3), (3, 3, 1), (6, -8, -1), (100, 0, -1)]  # fmt: skip


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("dynamic", [(), (0,)], ids=["fixed", "dynamic"])
def test_slice(bounds: tuple[int, int, int], dynamic: tuple[int, ...]) -> None:
    start, end, step = bounds
    inputs = [normal(7, 5), i64(start), i64(end), i64(0), i64(step)]
    check_node("Slice", inputs, const=[1, 2, 3, 4], dynamic=dynamic)


@pytest.mark.parametrize("bounds", BOUNDS[:7], ids=str)
def test_slice_with_run_time_bounds(bounds: tuple[int, int, int]) -> None:
    start, end, step = bounds
    check_node("Slice", [normal(7, 5), i64(start), i64(end), i64(0), i64(step)], const=[3, 4])


def test_slice_of_several_axes_and_dtypes() -> None:
    for dtype in ("int64", "bool", "uint16"):
        x = whole(4, 5, 6, low=0, high=2, dtype=dtype)
        check_node("Slice", [x, i64(1, 0), i64(3, FAR), i64(-1, 0), i64(1, 2)], const=[1, 2, 3, 4])
    check_node("Slice", [normal(4, 5), i64(1, 1), i64(3, 4)], const=[1, 2])


@pytest.mark.parametrize("start", [0, -(10**9)])
def test_an_end_that_no_tensor_reaches_is_the_end(start: int) -> None:
    """What JAX writes for a free batch: 10^9 rows of 4,096 numbers are more than any runtime holds."""
    source = model(f"""far (float[N,4096] x) => (float[M,4096] y) {{
        start = Constant<value = int64[1] {{{start}}}>()   end = Constant<value = int64[1] {{1000000000}}>()
        axis = Constant<value = int64[1] {{0}}>()   part = Slice(x, start, end, axis)   y = Neg(part) }}""")
    graph = compile.run(passes.optimize(gs.import_onnx(source))[0], compile.STAGES)
    assert [op.kind.name for op in graph.ops] == ["NEG"]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0), (0, 0, 0, 0), (2, 0, 0, 3)], ids=str)
@pytest.mark.parametrize("dynamic", [(), (0,)], ids=["fixed", "dynamic"])
def test_pad(mode: str, pads: tuple[int, ...], dynamic: tuple[int, ...]) -> None:
    check_node("Pad", [normal(4, 5), i64(*pads)], const=[1], mode=mode, dynamic=dynamic)


def test_pad_values_axes_and_crops() -> None:
    x = normal(3, 4, 5)
    check_node("Pad", [x, i64(0, -1, 2, 1, 1, -2), scalar(2.5, np.float32)], const=[1, 2])
    check_node("Pad", [x, i64(1, 2), scalar(-np.inf, np.float32), i64(-1)], const=[1, 2, 3])
    check_node("Pad", [whole(3, 4), i64(1, 0, 0, 1), scalar(7)], const=[1, 2])
    check_node("Pad", [x > 0, i64(1, 0, 0, 0, 0, 1), scalar(True, bool)], const=[1, 2])
    check_node("Pad", [normal(3, 4), i64(0, 3, 0, 6)], const=[1], mode="wrap")


def test_pad_of_rank_6() -> None:
    check_node("Pad", [normal(2, 1, 3, 2, 2, 2), i64(0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 1, 0)], const=[1])


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_pad_with_run_time_amounts(mode: str) -> None:
    check_node("Pad", [normal(3, 4), i64(1, 0, 0, 2)], mode=mode)


@pytest.mark.parametrize("shape", [(3, 4), (7, 2), (8, 9)], ids=str)
def test_center_crop_pad(shape: tuple[int, ...]) -> None:
    check_node("CenterCropPad", [normal(5, 5, 2), i64(*shape)], const=[1], axes=[0, 1])


def test_run_time_end_before_a_known_start() -> None:
    check_node("Slice", [normal(7, 5), i64(2), i64(0)], const=[1])


@pytest.mark.parametrize("start", [-100, -7, 6, 100])
@pytest.mark.parametrize("dynamic", [(), (0,)], ids=["fixed", "dynamic"])
def test_starts_of_a_walk_back_are_clipped_to_the_elements(start: int, dynamic: tuple[int, ...]) -> None:
    check_node("Slice", [normal(7, 5), i64(start), i64(-FAR), i64(0), i64(-1)], const=[1, 2, 3, 4], dynamic=dynamic)


def _padded(missing: str) -> onnx.ModelProto:
    """x with as many rows added at its end as the steps ``missing`` compute."""
    return onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 23]>
        padded (float[N,2] x) => (float[M,2] y) <int64[1] wanted = {{8}}, int64[1] none = {{0}}> {{
            rows = Shape <end = 1>(x)
            {missing}
            pads = Concat <axis = 0>(none, none, missing, none)
            y = Pad(x, pads) }}""")


@pytest.mark.parametrize("rows", [6, 8, 11])
def test_pads_computed_from_the_shape_crop_where_they_are_negative(rows: int) -> None:
    harness.check_model(_padded("missing = Sub(wanted, rows)"), {"x": normal(rows, 2)})


@pytest.mark.parametrize("rows", [6, 8, 11])
def test_pads_up_to_a_multiple_never_crop(rows: int) -> None:
    steps = "over = Mod(rows, wanted)  short = Sub(wanted, over)  missing = Mod(short, wanted)"
    graph = harness.check_model(_padded(steps), {"x": normal(rows, 2)})
    assert all(v.rank == 1 for op in graph.ops if op.kind.name == "SLICE" for v in op.outputs)
