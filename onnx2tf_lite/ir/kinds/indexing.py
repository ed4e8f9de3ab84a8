"""Operators that read or write elements at computed places, and those whose result's size depends on data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import intervals
from ..dims import Dim
from ..graph import Attrs, Op, Value, current_graph, short
from ..kind import Result, define
from ..orders import Gather
from ..traits import DOTS, MOVER, PICKER, REALS, TOTALS, Bits, computed, whole
from .movement import scalar

I32 = np.dtype(np.int32)
I64 = np.dtype(np.int64)
_INDEXED = "f32 i8 u8 i16 i32 i64 bool"


# ------------------------------------------------------------------------------------------------ kernels' traps


def _outside(index: Value, columns: Sequence[np.ndarray], extents: Sequence[Dim]) -> str:
    """Indices of the right dtype; constant ones inside the data."""
    if short(index.dtype) not in ("i32", "i64"):
        return f"indices of {short(index.dtype)}"
    for extent, column in zip(extents, columns, strict=False):
        low, high = (int(column.min()), int(column.max())) if column.size else (0, -1)
        if low < 0 or (isinstance(extent, int) and high >= extent):
            return f"index {low if low < 0 else high} is outside the extent {extent}"
    return ""


def _places(op: Op) -> str:
    data, index = op.inputs
    assert data is not None and index is not None
    columns = [] if index.data is None else [index.data]
    return _outside(index, columns, [data.shape[op.attrs["axis"]]])


def _vectors(op: Op) -> str:
    data, index = op.inputs
    assert data is not None and index is not None
    columns = [] if index.data is None else list(np.moveaxis(index.data, -1, 0))
    return _outside(index, columns, data.shape)


def _targets(op: Op) -> str:
    index = op.inputs[0]
    assert index is not None
    if index.dtype != np.int32:
        return f"indices of {short(index.dtype)}, the kernel has i32"
    return "negative index" if index.data is not None and index.data.size and index.data.min() < 0 else ""


# ------------------------------------------------------------------------------------------------ reading


def _gather(inputs: Sequence[Value], attrs: Attrs) -> Result:
    data, index = inputs
    axis, batch = attrs["axis"], attrs["batch_dims"]
    return data.shape[:axis] + index.shape[batch:] + data.shape[axis + 1 :], data.dtype


def _take(attrs: Attrs, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    if attrs["batch_dims"]:
        raise TypeError("batched gather is not folded")
    return np.take(x, index.astype(np.int64), attrs["axis"])


# Indices are 0 <= i < extent: a negative one is a run-time error of the kernel, so handlers wrap them.
define(
    "GATHER",
    _gather,
    MOVER.but(indices=(1,), trap=_places),
    layout=Gather(),
    types=_INDEXED,
    max_rank=7,
    options=("GatherOptions", {"axis": "axis", "batchDims": "batch_dims"}),
    versions="2:i8|u8 3:bool 4:i16 5:@batch_dims",
    evaluate=_take,
    symbolic=_take,
)


def _gather_nd(inputs: Sequence[Value], attrs: Attrs) -> Result:
    data, index = inputs
    return index.shape[:-1] + data.shape[index.shape[-1] :], data.dtype  # type: ignore[index]


define(
    "GATHER_ND",
    _gather_nd,
    MOVER.but(int8=None, indices=(1,), trap=_vectors),
    types=_INDEXED,
    max_rank=8,
    options=("GatherNdOptions", {}),
    versions="3:i16 5:bool",
    tensorflow="GatherNd",
    evaluate=lambda attrs, x, i: x[tuple(np.moveaxis(i, -1, 0))],
)


def _where(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return (current_graph().fresh_symbol("nonzero"), inputs[0].rank), I64


# indices of the true elements: [count, rank]
define(
    "WHERE",
    _where,
    whole(intervals.extent, Bits.SAME, trap=scalar, data_shaped=True),
    types="bool f32 i32 i64 i8 u8 u32",
    max_rank=8,
    options=("WhereOptions", {}),
    versions="2:f32|i32|i8|u8|u32",
    tensorflow="Where",
)


def _unique(inputs: Sequence[Value], attrs: Attrs) -> list[Result]:
    return [((current_graph().fresh_symbol("unique"),), inputs[0].dtype), (inputs[0].shape, I32)]


# the distinct elements in the order of their first place, and which of them each element is
define(
    "UNIQUE",
    _unique,
    PICKER.but(interval=lambda op, a: [a, intervals.EXTENT], data_shaped=True),
    types="f32 i8 u8 i16 i32 i64",
    max_rank=1,
    options=("UniqueOptions", {"idxOutType": I32}),
    tensorflow="Unique",
)


def _suppressed(inputs: Sequence[Value], attrs: Attrs) -> list[Result]:
    return [((attrs["count"],), I32), ((), I32)]


# boxes [N,4] as y1 x1 y2 x2, scores [N], IoU and score thresholds (scalars): indices padded to ``count``, valid number;
# a box is dropped when it reaches the IoU threshold, and kept when it is above that of the score
define(
    "NON_MAX_SUPPRESSION_V4",
    _suppressed,
    whole(lambda op, *ignored: [intervals.EXTENT, intervals.EXTENT], Bits.WRONG),
    types="f32",
    typed=(0, 1, 2, 3),
    max_rank=2,
    operands=(0, 1, "count", 2, 3),
    options=("NonMaxSuppressionV4Options", {}),
    tensorflow="NonMaxSuppressionV4",
    tf_attrs={"pad_to_max_output_size": True},
)


# ------------------------------------------------------------------------------------------------ writing

# indices i32 [..., depth], updates; duplicates add up
define(
    "SCATTER_ND",
    lambda inputs, attrs: (tuple(attrs["shape"]), inputs[1].dtype),
    computed(TOTALS, REALS, None, Bits.SAME, None, indices=(0,), trap=_targets),
    types="f32 i8 u8 i32 i64 bool",
    typed=(1,),
    max_rank=8,
    operands=(0, 1, "shape"),
    options=("ScatterNdOptions", {}),
    tensorflow="ScatterNd",
)


def _window_axes(op: Op) -> list[int]:
    _, index, updates = op.inputs
    return list(range(index.rank - 1, updates.rank))  # type: ignore[union-attr]


def _indexed_axes(op: Op) -> list[int]:
    return list(range(int(op.inputs[1].shape[-1])))  # type: ignore[arg-type, union-attr]


# x, i64 index vectors [..., depth], updates; ``body`` (old, new -> result, scalars) is the graph of ``reduction``: "mul",
# "max", "min" or "none"
define(
    "STABLEHLO_SCATTER",
    lambda inputs, attrs: (inputs[0].shape, inputs[0].dtype),
    computed(DOTS, REALS, None, Bits.BODY, None, indices=(1,)),
    types="f32 i8 u8 i16 i32 i64 u32 bool",
    typed=(0, 2),
    max_rank=8,
    options=(
        "StablehloScatterOptions",
        {
            "updateWindowDims": _window_axes,
            "insertedWindowDims": _indexed_axes,
            "scatterDimsToOperandDims": _indexed_axes,
            "indexVectorDim": lambda op: op.inputs[1].rank - 1,
            "updateComputationSubgraphIndex": "body",
            "indicesAreSorted": False,
            "uniqueIndices": False,
        },
    ),
)


def _one_hot(inputs: Sequence[Value], attrs: Attrs) -> Result:
    index, on = inputs[0], inputs[1]
    axis = attrs["axis"]
    return (*index.shape[:axis], attrs["depth"], *index.shape[axis:]), on.dtype


# indices, on and off values (scalars); an index outside [0, depth) gives all-off
define(
    "ONE_HOT",
    _one_hot,
    PICKER.but(interval=intervals.later, indices=(0,)),
    types="f32 i8 u8 i32 i64 bool",
    typed=(1, 2),
    max_rank=7,
    operands=(0, "depth", 1, 2),
    options=("OneHotOptions", {"axis": "axis"}),
    tensorflow="OneHot",
    tf_attrs={"axis": "axis"},
)
