"""Operators that read or write elements at computed places, and those whose result's size depends on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Op, Value, current_graph
from ..kind import Result, define
from ..orders import Gather

I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
_INDEXED = "f32 i8 u8 i16 i32 i64 bool"


def _gather(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    data, index = inputs
    axis, batch = attrs["axis"], attrs["batch_dims"]
    return data.shape[:axis] + index.shape[batch:] + data.shape[axis + 1 :], data.dtype


def _take(attrs: Mapping[str, Any], x: np.ndarray, index: np.ndarray) -> np.ndarray:
    if attrs["batch_dims"]:
        raise TypeError("batched gather is not folded")
    return np.take(x, index.astype(np.int64), attrs["axis"])


# Indices are 0 <= i < extent: a negative one is a run-time error of the kernel, so handlers wrap them.
define("GATHER", _gather, layout=Gather(), types=_INDEXED, max_rank=7, evaluate=_take, symbolic=_take,
       options=("GatherOptions", {"axis": "axis", "batchDims": "batch_dims"}), versions="2:i8|u8 3:bool 4:i16 5:@batch_dims")  # fmt: skip


def _gather_nd(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    data, index = inputs
    return index.shape[:-1] + data.shape[index.shape[-1] :], data.dtype  # type: ignore[index]


define("GATHER_ND", _gather_nd, types=_INDEXED, options=("GatherNdOptions", {}), versions="3:i16 5:bool",
       tensorflow="GatherNd", max_rank=8, evaluate=lambda attrs, x, i: x[tuple(np.moveaxis(i, -1, 0))])  # fmt: skip
# indices i32 [..., depth], updates; duplicates add up
define("SCATTER_ND", lambda inputs, attrs: (tuple(attrs["shape"]), inputs[1].dtype), types="f32 i8 u8 i32 i64 bool",
       typed=(1,), operands=(0, 1, "shape"), options=("ScatterNdOptions", {}), tensorflow="ScatterNd", max_rank=8)  # fmt: skip


def _window_axes(op: Op) -> list[int]:
    _, index, updates = op.inputs
    return list(range(index.rank - 1, updates.rank))  # type: ignore[union-attr]


def _indexed_axes(op: Op) -> list[int]:
    return list(range(int(op.inputs[1].shape[-1])))  # type: ignore[arg-type, union-attr]


# x, i64 index vectors [..., depth], updates; ``body`` (old, new -> result, scalars) is the graph of ``reduction``: "mul",
# "max", "min" or "none"
define("STABLEHLO_SCATTER", lambda inputs, attrs: (inputs[0].shape, inputs[0].dtype), types="f32 i8 u8 i16 i32 i64 u32 bool",
       typed=(0, 2), max_rank=8, options=("StablehloScatterOptions", {
           "updateWindowDims": _window_axes, "insertedWindowDims": _indexed_axes, "scatterDimsToOperandDims": _indexed_axes,
           "indexVectorDim": lambda op: op.inputs[1].rank - 1, "updateComputationSubgraphIndex": "body",
           "indicesAreSorted": False, "uniqueIndices": False}))  # fmt: skip


def _where(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return (current_graph().fresh_symbol("nonzero"), inputs[0].rank), I64


define(
    "WHERE",
    _where,
    types="bool f32 i32 i64 i8 u8 u32",
    options=("WhereOptions", {}),
    tensorflow="Where",
    max_rank=8,
    versions="2:f32|i32|i8|u8|u32",
)  # indices of the true elements: [count, rank]; fmt: skip


def _one_hot(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    index, on = inputs[0], inputs[1]
    axis = attrs["axis"]
    return (*index.shape[:axis], attrs["depth"], *index.shape[axis:]), on.dtype


# indices, on and off values (scalars); an index outside [0, depth) gives all-off
define("ONE_HOT", _one_hot, types="f32 i8 u8 i32 i64 bool", typed=(1, 2), operands=(0, "depth", 1, 2), max_rank=7,
       options=("OneHotOptions", {"axis": "axis"}), tensorflow="OneHot", tf_attrs={"axis": "axis"})  # fmt: skip


def _unique(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> list[Result]:
    return [((current_graph().fresh_symbol("unique"),), inputs[0].dtype), (inputs[0].shape, I32)]


define("UNIQUE", _unique, types="f32 i8 u8 i16 i32 i64", options=("UniqueOptions", {"idxOutType": I32}), max_rank=1,
       tensorflow="Unique")  # fmt: skip


def _suppressed(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> list[Result]:
    return [((attrs["count"],), I32), ((), I32)]


# boxes [N,4] as y1 x1 y2 x2, scores [N], IoU and score thresholds (scalars): indices padded to ``count``, valid number;
# a box is dropped when it reaches the IoU threshold, and kept when it is above that of the score
define("NON_MAX_SUPPRESSION_V4", _suppressed, types="f32", typed=(0, 1, 2, 3), operands=(0, 1, "count", 2, 3), max_rank=2,
       options=("NonMaxSuppressionV4Options", {}), tensorflow="NonMaxSuppressionV4",
       tf_attrs={"pad_to_max_output_size": True})  # fmt: skip
