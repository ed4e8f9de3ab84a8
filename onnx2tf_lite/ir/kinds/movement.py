"""Operators that move, repeat, cut, join or create elements and compute nothing.

Attributes that are shapes (``shape``, ``begin``, ``size``, ``pads``, ``multiples``) hold dims and may be symbolic; the
stage ``legalize.dynamic`` turns symbolic ones into run-time tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import dims
from ..dims import Dim, Shape
from ..graph import Value
from ..kind import Result, define
from ..orders import VIEW, AnyOrder, Fill, Rule
from .elementwise import broadcast
from .reduction import AT_RUN_TIME

ANY = ""
I32 = np.dtype(np.int32)


def _like(inputs: Sequence[Value], shape: Sequence[Dim]) -> Result:
    return tuple(shape), inputs[0].dtype


def _reshape(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    shape: Shape = tuple(attrs["shape"])
    want, have = dims.product(shape), inputs[0].size
    if isinstance(want, int) and isinstance(have, int) and want != have:
        raise ValueError(f"[{dims.show(inputs[0].shape)}] has {have} elements, [{dims.show(shape)}] has {want}")
    return _like(inputs, shape)


define("TRANSPOSE", lambda inputs, attrs: _like(inputs, [inputs[0].shape[a] for a in attrs["perm"]]), layout=VIEW,
       operands=(0, "perm"), options=("TransposeOptions", {}), tensorflow="Transpose",
       versions="2:i8|u8 3:bool 4:rank>4 5:i16 6:rank>5 8:rank>6", max_rank=8,
       evaluate=lambda attrs, x: np.transpose(x, attrs["perm"]),
       symbolic=lambda attrs, x: np.transpose(x, attrs["perm"]))  # fmt: skip
define("RESHAPE", _reshape, layout=VIEW, operands=(0, "shape"), options=("ReshapeOptions", {}), tensorflow="Reshape",
       evaluate=lambda attrs, x: np.reshape(x, attrs["shape"]), max_rank=8,
       symbolic=lambda attrs, x: np.reshape(x, attrs["shape"]))  # fmt: skip


def _concatenation(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    axis = attrs["axis"]
    if any(v.rank != inputs[0].rank or v.dtype != inputs[0].dtype for v in inputs):
        raise ValueError(f"operands differ in rank or dtype: {', '.join(map(str, inputs))}")
    shape = list(inputs[0].shape)
    for other in inputs[1:]:
        for i, d in enumerate(other.shape):
            if i != axis and isinstance(d, int) and isinstance(shape[i], int) and d != shape[i]:
                raise ValueError(f"operands differ outside axis {axis}: {', '.join(map(str, inputs))}")
            shape[i] = d if i != axis and isinstance(d, int) else shape[i]
    shape[axis] = sum((v.shape[axis] for v in inputs[1:]), start=inputs[0].shape[axis])
    return _like(inputs, shape)


define("CONCATENATION", _concatenation, layout=AnyOrder(axis=("axis",)), max_rank=6,
       types="f32 i8 u8 i16 i32 u32 i64 bool", typed=None, options=("ConcatenationOptions", {"axis": "axis"}),
       versions="2:i8 3:i16 4:u32", evaluate=lambda attrs, *xs: np.concatenate(xs, attrs["axis"]),
       symbolic=lambda attrs, *xs: np.concatenate(xs, attrs["axis"]))  # fmt: skip


def _split(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> list[Result]:
    axis, shape = attrs["axis"], inputs[0].shape
    return [_like(inputs, (*shape[:axis], size, *shape[axis + 1 :])) for size in attrs["sizes"]]


def _evaluate_split(attrs: Mapping[str, Any], x: np.ndarray) -> list[np.ndarray]:
    return np.split(x, np.cumsum(attrs["sizes"])[:-1].astype(int), attrs["axis"])


define("SPLIT", _split, layout=AnyOrder(axis=("axis",)), types="f32 i8 u8 i16 i32 i64", operands=("axis", 0),
       options=("SplitOptions", {"numSplits": lambda op: len(op.outputs)}), versions="2:i8 3:i32 4:i16", evaluate=_evaluate_split,
       symbolic=_evaluate_split, tensorflow="Split", tf_attrs={"num_split": lambda op: len(op.outputs)})  # fmt: skip
define("SPLIT_V", _split, layout=AnyOrder(axis=("axis",)), types="f32 i8 u8 i16 i32 i64", operands=(0, "sizes", "axis"),
       options=("SplitVOptions", {"numSplits": lambda op: len(op.outputs)}), versions="2:i8", evaluate=_evaluate_split,
       symbolic=_evaluate_split, tensorflow="SplitV", max_rank=8,
       tf_attrs={"num_split": lambda op: len(op.outputs)})  # fmt: skip


def _window(attrs: Mapping[str, Any]) -> tuple[slice, ...]:
    return tuple(slice(b, b + s) for b, s in zip(attrs["begin"], attrs["size"], strict=True))


define("SLICE", lambda inputs, attrs: _like(inputs, attrs["size"]), layout=AnyOrder(per_axis=("begin", "size")),
       operands=(0, "begin", "size"), options=("SliceOptions", {}), tensorflow="Slice",
       versions="2:i8 4:i16 5:rank>4 6:u32", max_rank=8,
       evaluate=lambda attrs, x: x[_window(attrs)], symbolic=lambda attrs, x: x[_window(attrs)])  # fmt: skip


def _stride_size(begin: Dim, end: Dim, stride: int) -> Dim:
    return dims.ceildiv(end - begin, stride) if stride > 0 else dims.ceildiv(begin - end, -stride)


def _strided(attrs: Mapping[str, Any]) -> tuple[slice, ...]:
    return tuple(
        slice(b, None if s < 0 and e < 0 else e, s)
        for b, e, s in zip(attrs["begin"], attrs["end"], attrs["strides"], strict=True)
    )


# ``end`` -1 with a negative stride means "up to and including element 0": the emitter sets TFLite's end mask for it.
define("STRIDED_SLICE",
       lambda inputs, attrs: _like(inputs, [_stride_size(*t) for t in zip(attrs["begin"], attrs["end"], attrs["strides"], strict=True)]),
       layout=AnyOrder(per_axis=("begin", "end", "strides")), operands=(0, "begin", "end", "strides"),
       options=("StridedSliceOptions", {"endMask": lambda op: end_mask(op.attrs)}), tensorflow="StridedSlice",
       tf_attrs={"end_mask": lambda op: end_mask(op.attrs)}, versions="2:i8|u8 3:bool 4:rank>4 7:u32",
       evaluate=lambda attrs, x: x[_strided(attrs)],
       symbolic=lambda attrs, x: x[_strided(attrs)], max_rank=8)  # fmt: skip
# x, begin, end and strides as i32 vectors that only run time knows; bounds as numpy takes them, the kernel clips them
define(f"STRIDED_SLICE{AT_RUN_TIME}", lambda inputs, attrs: _like(inputs, attrs["shape"]), max_rank=8,
       options=("StridedSliceOptions", {}), tensorflow="StridedSlice", versions="2:i8|u8 3:bool 4:rank>4 7:u32")  # fmt: skip


def end_mask(attrs: Mapping[str, Any]) -> int:
    """Bits of the axes whose reversed slice runs through element 0; a run-time ``end`` says so itself."""
    if isinstance(attrs["end"], Value):
        return 0
    axes = zip(attrs["end"], attrs["strides"], strict=True)
    return sum(1 << i for i, (end, stride) in enumerate(axes) if stride < 0 and isinstance(end, int) and end < 0)


def _padded(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return _like(inputs, [d + low + high for d, (low, high) in zip(inputs[0].shape, attrs["pads"], strict=True)])


define("PAD", _padded, layout=AnyOrder(per_axis=("pads",)), operands=(0, "pads"), options=("PadOptions", {}),
       types="f32 i8 u8 i16 i32 i64 bool", versions="2:i8|u8 3:i16 4:rank>4 5:bool", max_rank=5, tensorflow="Pad",
       evaluate=lambda attrs, x: np.pad(x, attrs["pads"]))  # fmt: skip
define("PADV2", _padded, layout=AnyOrder(per_axis=("pads",), fixed=(1,)), operands=(0, "pads", 1), max_rank=5,
       options=("PadV2Options", {}), types="f32 i8 u8 i16 i32 i64 bool", typed=(0, 1), tensorflow="PadV2",
       versions="2:i8|u8 3:i16 4:rank>4",
       evaluate=lambda attrs, x, fill: np.pad(x, attrs["pads"], constant_values=fill.item()))  # fmt: skip
define("MIRROR_PAD", _padded, layout=AnyOrder(per_axis=("pads",)), operands=(0, "pads"), max_rank=8,
       options=("MirrorPadOptions", {"mode": lambda op: int(op.attrs["symmetric"])}), tensorflow="MirrorPad",
       tf_attrs={"mode": lambda op: "SYMMETRIC" if op.attrs["symmetric"] else "REFLECT"}, versions="2:i8|u8 3:i16",
       evaluate=lambda attrs, x: np.pad(x, attrs["pads"], "symmetric" if attrs["symmetric"] else "reflect"))  # fmt: skip

define("TILE", lambda inputs, attrs: _like(inputs, [d * m for d, m in zip(inputs[0].shape, attrs["multiples"], strict=True)]),
       layout=AnyOrder(per_axis=("multiples",)), operands=(0, "multiples"), options=("TileOptions", {}), max_rank=8,
       versions="3:i8", tensorflow="Tile", evaluate=lambda attrs, x: np.tile(x, attrs["multiples"]),
       symbolic=lambda attrs, x: np.tile(x, attrs["multiples"]))  # fmt: skip


def _broadcast_to(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    broadcast(inputs[0].shape, tuple(attrs["shape"]))
    return _like(inputs, attrs["shape"])


# The builder gives the operand the rank of the result, so that the rule sees one order for both.
define("BROADCAST_TO", _broadcast_to, layout=AnyOrder(per_axis=("shape",)), operands=(0, "shape"), max_rank=8,
       versions="2: 3:i8|i16", options=("BroadcastToOptions", {}), tensorflow="BroadcastTo",
       evaluate=lambda attrs, x: np.broadcast_to(x, attrs["shape"]),
       symbolic=lambda attrs, x: np.broadcast_to(x, attrs["shape"]))  # fmt: skip
define("REVERSE_V2", lambda inputs, attrs: _like(inputs, inputs[0].shape), layout=AnyOrder(axis=("axes",)),
       operands=(0, "axes"), options=("ReverseV2Options", {}), types="f32 i8 u8 i16 i32 i64 bool", tensorflow="ReverseV2",
       versions="2:bool 3:i8", evaluate=lambda attrs, x: np.flip(x, attrs["axes"]),
       symbolic=lambda attrs, x: np.flip(x, attrs["axes"]), max_rank=8)  # fmt: skip
define("REVERSE_SEQUENCE", lambda inputs, attrs: _like(inputs, inputs[0].shape), max_rank=8,
       layout=AnyOrder(axis=("seq_dim", "batch_dim"), fixed=(1,)), types="f32 u8 i16 i32 i64", tensorflow="ReverseSequence",
       options=("ReverseSequenceOptions", {"seqDim": "seq_dim", "batchDim": "batch_dim"}),
       tf_attrs={"seq_dim": "seq_dim", "batch_dim": "batch_dim"})  # fmt: skip

define("FILL", lambda inputs, attrs: _like(inputs, attrs["shape"]), layout=Fill(), operands=("shape", 0), tensorflow="Fill",
       options=("FillOptions", {}), versions="2:bool 3:i8|i16", max_rank=8,
       evaluate=lambda attrs, x: np.full(attrs["shape"], x),
       symbolic=lambda attrs, x: np.full(attrs["shape"], x))  # fmt: skip
define(
    "DIMS",
    lambda inputs, attrs: ((len(attrs["dims"]),), I32),
    evaluate=lambda attrs: np.array(attrs["dims"], np.int32),
)  # replaced by real operators in legalize.dynamic
define("SHAPE", lambda inputs, attrs: ((inputs[0].rank,), I32), options=("ShapeOptions", {"outType": np.dtype(np.int32)}),
       tensorflow="Shape", max_rank=8)  # fmt: skip


def _range(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    return (attrs["count"],), inputs[0].dtype


# start, limit and delta are scalars; ``count`` is the number of elements that follows from them.
define("RANGE", _range, types="f32 i32 i64", typed=(0, 1, 2), options=("RangeOptions", {}), versions="2:i64",
       tensorflow="Range", evaluate=lambda attrs, a, b, d: np.arange(a, b, d, dtype=a.dtype))  # fmt: skip


def _pack(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    axis = attrs["axis"]
    return _like(inputs, (*inputs[0].shape[:axis], len(inputs), *inputs[0].shape[axis:]))


define("PACK", _pack, types="f32 i8 u8 i16 i32 u32 i64", typed=None, max_rank=6,
       options=("PackOptions", {"axis": "axis", "valuesCount": lambda op: len(op.inputs)}), versions="2:i8 3:i16 4:u32",
       evaluate=lambda attrs, *xs: np.stack(xs, attrs["axis"]),
       symbolic=lambda attrs, *xs: np.stack(xs, attrs["axis"]))  # fmt: skip


def _blocks(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    n, h, w, c = inputs[0].shape
    b = attrs["block"]
    return _like(inputs, (n, h * b, w * b, dims.floordiv(c, b * b)))


def _unblocks(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Result:
    n, h, w, c = inputs[0].shape
    b = attrs["block"]
    return _like(inputs, (n, dims.floordiv(h, b), dims.floordiv(w, b), c * b * b))


_CHANNELS_LAST = Rule(channels_last=True)
define("DEPTH_TO_SPACE", _blocks, layout=_CHANNELS_LAST, types="f32 i8 u8 i32 i64", max_rank=4, tensorflow="DepthToSpace",
       options=("DepthToSpaceOptions", {"blockSize": "block"}), tf_attrs={"block_size": "block"}, versions="2:i8")  # fmt: skip
define("SPACE_TO_DEPTH", _unblocks, layout=_CHANNELS_LAST, types="f32 i8 u8 i32 i64", max_rank=4, tensorflow="SpaceToDepth",
       options=("SpaceToDepthOptions", {"blockSize": "block"}), tf_attrs={"block_size": "block"}, versions="2:i8")  # fmt: skip
define("DYNAMIC_UPDATE_SLICE", lambda inputs, attrs: _like(inputs, inputs[0].shape), max_rank=8,
       options=("DynamicUpdateSliceOptions", {}))  # fmt: skip
define(
    "IDENTITY",
    lambda inputs, attrs: _like(inputs, inputs[0].shape),
    layout=AnyOrder(per_axis=("shape",)),
    operands=(0, "shape"),
    options=("ReshapeOptions", {}),
)  # a graph output that is an input or a constant: emitted as a RESHAPE to its own shape
