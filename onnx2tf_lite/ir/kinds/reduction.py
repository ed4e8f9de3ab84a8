"""Operators that reduce along axes, and those that normalise along the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Value
from ..kind import Result, define
from ..orders import LAST_AXIS, AnyOrder
from .elementwise import same


def reduced(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    """The axes in ``axes`` become 1 (``keepdims``) or vanish."""
    shape, axes = inputs[0].shape, set(attrs["axes"])
    if attrs["keepdims"]:
        return tuple(1 if i in axes else d for i, d in enumerate(shape)), inputs[0].dtype
    return tuple(d for i, d in enumerate(shape) if i not in axes), inputs[0].dtype


def _evaluate(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda attrs, x: np.asarray(function(x, axis=tuple(attrs["axes"]), keepdims=attrs["keepdims"]), x.dtype)


def _evaluate_at(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda attrs, x, axes: _evaluate(function)({**attrs, "axes": np.unique(axes)}, x)


def _mean(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.asarray(np.mean(x, axis=axis, keepdims=keepdims, dtype=np.float64))
    return np.trunc(np.mean(x, axis=axis, keepdims=keepdims))


AT_RUN_TIME = "_AT"  # ends the name of a kind that is written as the operator without it
_INTEGERS = "f32 i8 u8 i16 i32 i64"
REDUCERS: list[tuple[Any, ...]] = [
    ("MEAN", _mean, "f32 i32 i64", "2:qi8|qu8 3:qi16", "Mean"),
    ("SUM", np.sum, "f32 i32 i64", "2:qi8|qu8 3:qi16", "Sum"),
    ("REDUCE_MAX", np.max, _INTEGERS, "2:i8 3:i16", "Max"),
    ("REDUCE_MIN", np.min, _INTEGERS, "2:i8 3:i16", "Min"),
    ("REDUCE_PROD", np.prod, _INTEGERS, "2:i8|i16", "Prod"),
    ("REDUCE_ANY", np.any, "bool", "", "Any"),
    ("REDUCE_ALL", np.all, "bool", "", "All"),
]
for _name, _function, _types, _versions, _tf in REDUCERS:
    define(_name, reduced, layout=AnyOrder(axis=("axes",), drops="axes"), types=_types, operands=(0, "axes"),
           options=("ReducerOptions", {"keepDims": "keepdims"}), versions=_versions, tensorflow=_tf,
           tf_attrs={"keep_dims": "keepdims"}, evaluate=_evaluate(_function),  # XNNPACK fails to prepare above rank 6
           symbolic=_evaluate(_function) if _name in ("SUM", "REDUCE_PROD") else None)  # fmt: skip
    # x and axes that only run time knows; ``shape`` is that of the result
    define(f"{_name}{AT_RUN_TIME}", lambda inputs, attrs: (tuple(attrs["shape"]), inputs[0].dtype), types=_types, versions=_versions,
           options=("ReducerOptions", {"keepDims": "keepdims"}), tensorflow=_tf, tf_attrs={"keep_dims": "keepdims"},
           evaluate=_evaluate_at(_function))  # fmt: skip


def _arg(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    shape = inputs[0].shape
    return shape[: attrs["axis"]] + shape[attrs["axis"] + 1 :], attrs["to"]


for _name, _function, _tf in [("ARG_MAX", np.argmax, "ArgMax"), ("ARG_MIN", np.argmin, "ArgMin")]:
    define(_name, _arg, layout=AnyOrder(axis=("axis",), drops="axis"), types="f32 i8 u8 i32", operands=(0, "axis"),
           options=(f"{_name.title().replace('_', '')}Options", {"outputType": "to"}), versions="2:i8 3:bool",
           tensorflow=_tf, evaluate=lambda attrs, x, f=_function: f(x, axis=attrs["axis"]).astype(attrs["to"]),
           max_rank=8)  # fmt: skip


def _softmax(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


define("SOFTMAX", same, layout=LAST_AXIS, types="f32", options=("SoftmaxOptions", {"beta": 1.0}), tensorflow="Softmax",
       versions="2:qi8|qu8 3:qi16", evaluate=_softmax)  # fmt: skip
define("LOG_SOFTMAX", same, layout=LAST_AXIS, types="f32", options=("LogSoftmaxOptions", {}), tensorflow="LogSoftmax",
       versions="2:qi8|qu8", evaluate=_log_softmax, max_rank=8)  # fmt: skip


def _cumsum(attrs: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    axis = attrs["axis"]
    x = np.flip(x, axis) if attrs["reverse"] else x
    y = np.cumsum(x, axis, dtype=x.dtype)
    y = y - x if attrs["exclusive"] else y
    return np.flip(y, axis) if attrs["reverse"] else y


define("CUMSUM", same, layout=AnyOrder(axis=("axis",)), types="f32 i32 i64", operands=(0, "axis"), tensorflow="Cumsum",
       options=("CumsumOptions", {"exclusive": "exclusive", "reverse": "reverse"}), evaluate=_cumsum, max_rank=8,
       tf_attrs={"exclusive": "exclusive", "reverse": "reverse"})  # fmt: skip


def _topk(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> list[Result]:
    shape = (*inputs[0].shape[:-1], attrs["k"])
    return [(shape, inputs[0].dtype), (shape, np.dtype(np.int32))]


define("TOPK_V2", _topk, layout=LAST_AXIS, types="f32 i8 u8 i16 i32 i64", operands=(0, "k"), tensorflow="TopKV2",
       options=("TopKV2Options", {}), versions="2:i8 3:i16", max_rank=8)  # fmt: skip
