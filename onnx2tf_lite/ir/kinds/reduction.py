"""Operators that reduce along axes, and those that normalise along the last one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from .. import intervals
from ..graph import Attrs, Op, Value
from ..kind import Evaluate, Fields, Result, define
from ..orders import LAST_AXIS, AnyOrder
from ..traits import DOTS, PICKER, REALS, TOTALS, Bits, Elements, FixedScale, Int8, Lapse, Traits, computed, real, whole
from .shapes import same


def reduced(inputs: Sequence[Value], attrs: Attrs) -> Result:
    """The axes in ``axes`` become 1 (``keepdims``) or vanish."""
    shape, axes = inputs[0].shape, set(attrs["axes"])
    if attrs["keepdims"]:
        return tuple(1 if i in axes else d for i, d in enumerate(shape)), inputs[0].dtype
    return tuple(d for i, d in enumerate(shape) if i not in axes), inputs[0].dtype


def _evaluate(function: Evaluate) -> Evaluate:
    return lambda attrs, x: np.asarray(function(x, axis=tuple(attrs["axes"]), keepdims=attrs["keepdims"]), x.dtype)


def _evaluate_at(function: Evaluate) -> Evaluate:
    return lambda attrs, x, axes: _evaluate(function)({**attrs, "axes": np.unique(axes)}, x)


def _mean(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    mean = np.asarray(np.mean(x, axis=axis, keepdims=True, dtype=np.float64))
    mean = mean if x.dtype.kind == "f" else np.trunc(mean)
    return mean if keepdims else mean.squeeze(axis)


Empty = Callable[[np.dtype], float]


def lowest(dtype: np.dtype) -> float:
    """The identity of the maximum."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def highest(dtype: np.dtype) -> float:
    """The identity of the minimum."""
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def always(value: float) -> Empty:
    """The same number in every dtype."""
    return lambda dtype: value


AT_RUN_TIME = "_AT"  # ends the name of a kind whose parameters are operands instead of attributes


def reducer(
    name: str, function: Evaluate, types: str, versions: str, tensorflow: str, empty: Empty, traits: Traits
) -> None:
    """Define a reduction of whole axes, and the same along axes that only run time knows."""
    form: Fields = {"types": types, "options": ("ReducerOptions", {"keepDims": "keepdims"}), "versions": versions}
    form |= {"empty": empty, "tensorflow": tensorflow, "tf_attrs": {"keep_dims": "keepdims"}, "max_rank": 6}
    evaluate = _evaluate(function)  # XNNPACK fails to prepare above rank 6
    symbolic = evaluate if function in (np.sum, np.prod) else None
    layout = AnyOrder(axis=("axes",), drops="axes")
    define(name, reduced, traits, layout=layout, operands=(0, "axes"), evaluate=evaluate, symbolic=symbolic, **form)
    # x and axes; ``shape`` is that of the result
    define(
        f"{name}{AT_RUN_TIME}",
        lambda inputs, attrs: (tuple(attrs["shape"]), inputs[0].dtype),
        traits.but(int8=None, indices=(1,), interval=traits.interval if traits.elements is Elements.PICKED else None),
        operator=name,
        evaluate=_evaluate_at(function),
        **form,
    )


_INTEGERS = "f32 i8 u8 i16 i32 i64"
_NUMBERS, _8 = "f32 i32 i64", "2:qi8|qu8 3:qi16"
_EXTREME = PICKER.but(bits=Bits.ORDERED, int8=Int8.MOVES, lapse=Lapse.AMONG)
_MEAN = computed(TOTALS, REALS, intervals.first, Bits.WRONG, Int8.RESCALES, int16=True)
reducer("MEAN", _mean, _NUMBERS, _8, "Mean", always(np.nan), _MEAN)
reducer("SUM", np.sum, _NUMBERS, _8, "Sum", always(0), computed(TOTALS, REALS, intervals.summed, Bits.SAME, None))
reducer("REDUCE_MAX", np.max, _INTEGERS, "2:i8 3:i16", "Max", lowest, _EXTREME)
reducer("REDUCE_MIN", np.min, _INTEGERS, "2:i8 3:i16", "Min", highest, _EXTREME)
reducer("REDUCE_PROD", np.prod, _INTEGERS, "2:i8|i16", "Prod", always(1), computed(DOTS, REALS, None, Bits.SAME, None))
reducer("REDUCE_ANY", np.any, "bool", "", "Any", always(False), whole(None, Bits.WRONG))
reducer("REDUCE_ALL", np.all, "bool", "", "All", always(True), whole(None, Bits.WRONG))


def _arg(inputs: Sequence[Value], attrs: Attrs) -> Result:
    shape = inputs[0].shape
    return shape[: attrs["axis"]] + shape[attrs["axis"] + 1 :], attrs["to"]


def arg(name: str, function: Evaluate) -> None:
    """Define the index of an extreme along one axis."""
    camel = name.title().replace("_", "")
    define(
        name,
        _arg,
        whole(intervals.extent, Bits.ORDERED),
        layout=AnyOrder(axis=("axis",), drops="axis"),
        types="f32 i8 u8 i32",
        max_rank=8,
        operands=(0, "axis"),
        options=(f"{camel}Options", {"outputType": "to"}),
        versions="2:i8 3:bool",
        tensorflow=camel,
        evaluate=lambda attrs, x: function(x, axis=attrs["axis"]).astype(attrs["to"]),
    )


arg("ARG_MAX", np.argmax)
arg("ARG_MIN", np.argmin)


def _softmax(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _log_softmax(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


define(
    "SOFTMAX",
    same,
    real(". n n . n", (0, 1), FixedScale(1 / 256, -128), int16=True),
    layout=LAST_AXIS,
    types="f32",
    max_rank=6,
    options=("SoftmaxOptions", {"beta": 1.0}),
    versions="2:qi8|qu8 3:qi16",
    tensorflow="Softmax",
    evaluate=_softmax,
)
define(
    "LOG_SOFTMAX",
    same,
    real("- n -n . n", (-inf, 0), FixedScale(16 / 256, 127)),
    layout=LAST_AXIS,
    types="f32",
    max_rank=8,
    options=("LogSoftmaxOptions", {}),
    versions="2:qi8|qu8",
    tensorflow="LogSoftmax",
    evaluate=_log_softmax,
)


def _cumsum(attrs: Attrs, x: np.ndarray) -> np.ndarray:
    axis = attrs["axis"]
    x = np.flip(x, axis) if attrs["reverse"] else x
    if attrs["exclusive"]:
        x = np.insert(np.delete(x, -1, axis), 0, 0, axis)
    y = np.cumsum(x, axis, dtype=x.dtype)
    return np.flip(y, axis) if attrs["reverse"] else y


define(
    "CUMSUM",
    same,
    computed(TOTALS, REALS, intervals.running, Bits.SAME, None),
    layout=AnyOrder(axis=("axis",)),
    types="f32 i32 i64",
    max_rank=8,
    operands=(0, "axis"),
    options=("CumsumOptions", {"exclusive": "exclusive", "reverse": "reverse"}),
    tensorflow="Cumsum",
    tf_attrs={"exclusive": "exclusive", "reverse": "reverse"},
    evaluate=_cumsum,
)


def _topk(inputs: Sequence[Value], attrs: Attrs) -> list[Result]:
    shape = (*inputs[0].shape[:-1], attrs["k"])
    return [(shape, inputs[0].dtype), (shape, np.dtype(np.int32))]


def _too_many(op: Op) -> str:
    assert op.inputs[0] is not None
    k, extent = op.attrs["k"], op.inputs[0].shape[-1]
    return f"k = {k} of {extent}" if isinstance(k, int) and isinstance(extent, int) and k > extent else ""


define(
    "TOPK_V2",
    _topk,
    PICKER.but(interval=lambda op, a: [a, intervals.EXTENT], bits=Bits.ORDERED, trap=_too_many),
    layout=LAST_AXIS,
    types="f32 i8 u8 i16 i32 i64",
    max_rank=8,
    operands=(0, "k"),
    options=("TopKV2Options", {}),
    versions="2:i8 3:i16",
    tensorflow="TopKV2",
)
