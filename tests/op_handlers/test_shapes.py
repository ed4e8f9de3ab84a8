"""Shapes, views, joining, repeating, creating and casting against ONNX Runtime and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference.ops.op_cast import cast_to

from tests import harness
from tests.op_handlers.nodes import check_node, i64, normal, run_node, scalar, whole


@pytest.mark.parametrize(
    "window", [{}, {"start": 1}, {"end": -1}, {"start": -2, "end": 10}, {"start": 2, "end": 1}], ids=str
)
def test_shape(window: dict[str, int]) -> None:
    check_node("Shape", [normal(2, 3, 4)], dynamic=[0], **window)


def test_size() -> None:
    check_node("Size", [normal(2, 3, 4)], dynamic=[0])


@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
@pytest.mark.parametrize("shape", [(4, 6), (0, -1), (-1,), (2, 0, 4), (1, 24, 1), (3, -1, 2)], ids=str)
def test_reshape(shape: tuple[int, ...], const: tuple[int, ...]) -> None:
    check_node("Reshape", [normal(2, 3, 4), i64(*shape)], const=const)


@pytest.mark.parametrize("shape", [(0, -1), (-1, 4), (-1, 3, 2, 2)], ids=str)
def test_reshape_dynamic(shape: tuple[int, ...]) -> None:
    check_node("Reshape", [normal(2, 3, 4), i64(*shape)], const=[1], dynamic=[0])


def test_reshape_allowzero() -> None:
    check_node("Reshape", [normal(0, 3), i64(3, 0)], const=[1], allowzero=1)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(axis: int) -> None:
    check_node("Flatten", [normal(2, 3, 4)], axis=axis, dynamic=[0])


def test_squeeze_and_unsqueeze() -> None:
    check_node("Squeeze", [normal(1, 3, 1, 4)])
    check_node("Squeeze", [normal(2, 1, 3, 1), i64(-1, 1)], const=[1], dynamic=[0])
    check_node("Unsqueeze", [normal(2, 3), i64(-1, 0, 2)], const=[1], dynamic=[0])


def test_transpose() -> None:
    check_node("Transpose", [normal(2, 3, 4)])
    check_node("Transpose", [normal(2, 3, 4)], perm=[1, 0, 2], dynamic=[0])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint16", "int8"])
def test_concat_and_split(dtype: str) -> None:
    x = whole(2, 4, low=0, high=2, dtype=dtype)
    check_node("Concat", [x, x, x[:, :0]], axis=-1)
    check_node("Split", [x, i64(1, 3)], const=[1], axis=1, outputs=2)


@pytest.mark.parametrize("count", [2, 3])
def test_split_into_equal_parts(count: int) -> None:
    check_node("Split", [normal(2, 7)], axis=1, num_outputs=count, outputs=count, dynamic=[0])


def test_split_of_a_dynamic_axis() -> None:
    check_node("Split", [normal(5, 2)], num_outputs=2, outputs=2, dynamic=[0])


@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
def test_expand_and_tile(const: tuple[int, ...]) -> None:
    check_node("Expand", [normal(3, 1), i64(2, 1, 4)], const=const)
    check_node("Tile", [normal(2, 3), i64(2, 3)], const=const)


def test_expand_and_tile_dynamic() -> None:
    check_node("Expand", [normal(3, 1), i64(2, 1, 4)], const=[1], dynamic=[0])
    check_node("Tile", [normal(2, 3), i64(2, 2)], const=[1], dynamic=[0])


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool", "int64"])
def test_constant_of_shape(dtype: str) -> None:
    value = onnx.numpy_helper.from_array(np.ones(1, dtype))
    check_node("ConstantOfShape", [i64(2, 3)], value=value)


@pytest.mark.parametrize("const", [(), (0, 1, 2)], ids=["run time", "constant"])
@pytest.mark.parametrize("ends", [(0, 10, 3), (5, -5, -2), (3, 3, 1), (10, 0, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_range(dtype: str, ends: tuple[int, ...], const: tuple[int, ...]) -> None:
    check_node("Range", [scalar(e, dtype) for e in ends], const=const)


@pytest.mark.parametrize("k", [0, 1, -2])
def test_eye_like(k: int) -> None:
    check_node("EyeLike", [normal(3, 4)], k=k, dynamic=[0])
    check_node("EyeLike", [whole(3, 3, dtype=np.int32)], k=k, dtype=int(onnx.TensorProto.FLOAT))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 2, 9])
@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
def test_trilu(const: tuple[int, ...], k: int | None, upper: int) -> None:
    x = normal(2, 3, 4)
    x[0, 0, 3] = np.inf  # a mask by multiplication would make NaN of it
    check_node("Trilu", [x] if k is None else [x, scalar(k)], const=const, upper=upper, dynamic=[0])


CASTS: list[tuple[Any, str]] = [
    (np.array([-1.9, -0.5, 0, 0.5, 1.9, 100.7], np.float32), "INT32"), (np.array([-1.5, 0, 3], np.float32), "INT64"),
    (np.array([0, -0.0, 0.1, np.nan, -5], np.float32), "BOOL"), (np.array([0, 5, 200, 255]), "UINT8"),
    (np.array([0, 300, -1, 130]), "INT8"), (np.array([True, False]), "FLOAT"), (np.array([True, False]), "INT64"),
    (np.array([0, 3, -2], np.int32), "BOOL"), (np.array([1, 2**24], np.int32), "FLOAT"),
    (np.array([1.5, 2.25], np.float16), "FLOAT"), (np.array([1.5, 2.25], np.float64), "FLOAT"),
    (np.array([1.5, 100.9], np.float32), "UINT8"), (np.array([7, 8], np.uint16), "INT32"),
]  # fmt: skip


@pytest.mark.parametrize("x, to", CASTS, ids=lambda v: v if isinstance(v, str) else str(v.dtype))
def test_cast(x: np.ndarray, to: str) -> None:
    check_node("Cast", [x], to=getattr(onnx.TensorProto, to))


NARROW = ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "INT4", "UINT4",
          *(name for name in ("INT2", "UINT2") if hasattr(onnx.TensorProto, name))]  # fmt: skip


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("to", NARROW)
def test_cast_to_types_that_tflite_lacks(to: str, saturate: int) -> None:
    """The values of onnx's own cast, in float32 or int8."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(200) * 10.0 ** rng.integers(-6, 7, 200)
    x = np.append(x, [0, 464, 465, 0.25, 3.5, -3.5, 5, -1e9]).astype(np.float32)
    if "INT" in to:
        x = np.round(x % 16 - 8)
    eight = to.startswith("FLOAT8")
    x = x if "INT" in to else np.append(x, np.float32([np.nan, np.inf, -np.inf]))
    want = cast_to(x, getattr(onnx.TensorProto, to), bool(saturate)).astype(np.float32)
    options = {"saturate": saturate} if eight else {}
    for got in run_node("Cast", [x], to=getattr(onnx.TensorProto, to), opset=25, **options).values():
        np.testing.assert_array_equal(got[0].astype(np.float32), want)


def test_cast_like() -> None:
    check_node("CastLike", [normal(3), whole(1, dtype=np.int32)])


def test_constants_of_every_form() -> None:
    for attrs in ({"value": onnx.numpy_helper.from_array(normal(2, 3))}, {"value_float": 1.5}, {"value_ints": [1, 2]}):
        for got in run_node("Constant", [], **attrs).values():
            assert got[0].size in (1, 2, 6)


@pytest.mark.parametrize("rows", [5, 6])
@pytest.mark.parametrize("rounding", ["Floor", "Ceil", "Round", "Identity"])
def test_shape_arithmetic_with_floats_is_rounded_as_written(rounding: str, rows: int) -> None:
    """An extent of x halved as a float; the cast to an integer truncates what is not whole."""
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 23]>
        halved (float[N,2] x) => (float[M,2] y) <float two = {{2.0}}, float[2] ones = {{1, 1}}> {{
            rows = Shape <end = 1>(x)  extent = Cast <to = 1>(rows)  half = Div(extent, two)
            whole = {rounding}(half)   count = Cast <to = 7>(whole)
            columns = Constant <value_ints = [2]>()  shape = Concat <axis = 0>(count, columns)
            y = Expand(ones, shape) }}""")
    harness.check_model(model, {"x": normal(rows, 2)})
