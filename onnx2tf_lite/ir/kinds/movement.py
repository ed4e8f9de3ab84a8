"""Operators that move, repeat, cut or join elements and compute nothing.

Attributes that are shapes (``shape``, ``begin``, ``size``, ``pads``, ``multiples``) hold dims and may be symbolic; the
stage ``legalize.dynamic`` turns symbolic ones into run-time tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dims, intervals
from ..dims import Dim, Shape
from ..graph import Attrs, Op, Value
from ..kind import Evaluate, Infer, Result, define
from ..orders import AS_WRITTEN, CHANNELS_LAST, AnyOrder, Layout, Renamed
from ..traits import MOVER, PICKER, Elements, Int8, Traits
from .reduction import AT_RUN_TIME
from .run_time import clamped_begin, clamped_end, one_unknown, to_the_end
from .shapes import broadcast, like, same

I32 = np.dtype(np.int32)


def scalar(op: Op) -> str:
    """A kernel that takes no scalar."""
    assert op.inputs[0] is not None
    return "" if op.inputs[0].rank else "the kernel is wrong for scalars"


def _apart(op: Op) -> str:
    axes = sorted(op.attrs["axes"])
    return "" if axes == list(range(axes[0], axes[-1] + 1)) else f"axes {axes} are not neighbours"


def _activated(op: Op) -> str:
    return f"the kernel ignores the activation {op.attrs['activation']}" if op.attrs.get("activation") else ""


def rearranged(
    name: str, infer: Infer, function: Evaluate, traits: Traits, layout: Layout, types: str, **rest: Any
) -> None:
    """Define an operator that does the same to numbers and to dims."""
    define(
        name, infer, traits, layout=layout, types=types, evaluate=function, symbolic=function, **{"max_rank": 8, **rest}
    )


# ------------------------------------------------------------------------------------------------ views


def _reshape(inputs: Sequence[Value], attrs: Attrs) -> Result:
    shape: Shape = tuple(attrs["shape"])
    want, have = dims.product(shape), inputs[0].size
    if isinstance(want, int) and isinstance(have, int) and want != have:
        raise ValueError(f"[{dims.show(inputs[0].shape)}] has {have} elements, [{dims.show(shape)}] has {want}")
    return like(inputs, shape)


rearranged(
    "TRANSPOSE",
    lambda inputs, attrs: like(inputs, [inputs[0].shape[a] for a in attrs["perm"]]),
    lambda attrs, x: np.transpose(x, attrs["perm"]),
    MOVER.but(trap=scalar),
    Renamed(permutes=True),
    types="",
    operands=(0, "perm"),
    options=("TransposeOptions", {}),
    versions="2:i8|u8 3:bool 4:rank>4 5:i16 6:rank>5 8:rank>6",
    tensorflow="Transpose",
)
rearranged(
    "RESHAPE",
    _reshape,
    lambda attrs, x: np.reshape(x, attrs["shape"]),
    MOVER,
    Renamed(),
    types="",
    operands=(0, "shape"),
    run_time={"shape": one_unknown},
    options=("ReshapeOptions", {}),
    tensorflow="Reshape",
)
# a graph output that is an input or a constant: a RESHAPE to its own shape
define(
    "IDENTITY",
    same,
    MOVER.but(int8=None),
    layout=AnyOrder(per_axis=("shape",)),
    types="",
    max_rank=6,
    operator="RESHAPE",
    operands=(0, "shape"),
    run_time={"shape": one_unknown},
    options=("ReshapeOptions", {}),
)


# ------------------------------------------------------------------------------------------------ joining and cutting


def _concatenation(inputs: Sequence[Value], attrs: Attrs) -> Result:
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
    return like(inputs, shape)


def _pack(inputs: Sequence[Value], attrs: Attrs) -> Result:
    axis = attrs["axis"]
    return like(inputs, (*inputs[0].shape[:axis], len(inputs), *inputs[0].shape[axis:]))


rearranged(
    "CONCATENATION",
    _concatenation,
    lambda attrs, *xs: np.concatenate(xs, attrs["axis"]),
    PICKER.but(interval=intervals.hull, int8=Int8.JOINS, trap=_activated),
    AnyOrder(axis=("axis",)),
    types="f32 i8 u8 i16 i32 u32 i64 bool",
    typed=None,
    max_rank=6,
    options=("ConcatenationOptions", {"axis": "axis"}),
    versions="2:i8 3:i16 4:u32",
    slides=True,
)
rearranged(
    "PACK",
    _pack,
    lambda attrs, *xs: np.stack(xs, attrs["axis"]),
    PICKER.but(interval=intervals.hull),
    AS_WRITTEN,
    types="f32 i8 u8 i16 i32 u32 i64",
    typed=None,
    max_rank=6,
    options=("PackOptions", {"axis": "axis", "valuesCount": lambda op: len(op.inputs)}),
    versions="2:i8 3:i16 4:u32",
)


def _split(inputs: Sequence[Value], attrs: Attrs) -> list[Result]:
    axis, shape = attrs["axis"], inputs[0].shape
    return [like(inputs, (*shape[:axis], size, *shape[axis + 1 :])) for size in attrs["sizes"]]


def _parts(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    return np.split(x, np.cumsum(attrs["sizes"])[:-1].astype(int), attrs["axis"])


_SPLIT = MOVER.but(interval=intervals.every, int8=None)
_COUNT = {"num_split": lambda op: len(op.outputs)}
rearranged(
    "SPLIT",
    _split,
    _parts,
    _SPLIT,
    AnyOrder(axis=("axis",)),
    types="f32 i8 u8 i16 i32 i64",
    max_rank=6,
    operands=("axis", 0),
    options=("SplitOptions", {"numSplits": lambda op: len(op.outputs)}),
    versions="2:i8 3:i32 4:i16",
    tensorflow="Split",
    tf_attrs=_COUNT,
)
rearranged(
    "SPLIT_V",
    _split,
    _parts,
    _SPLIT,
    AnyOrder(axis=("axis",)),
    types="f32 i8 u8 i16 i32 i64",
    operands=(0, "sizes", "axis"),
    run_time={"sizes": one_unknown},
    options=("SplitVOptions", {"numSplits": lambda op: len(op.outputs)}),
    versions="2:i8",
    tensorflow="SplitV",
    tf_attrs=_COUNT,
)


def _window(attrs: Attrs) -> tuple[slice, ...]:
    return tuple(slice(b, b + s) for b, s in zip(attrs["begin"], attrs["size"], strict=True))


def _stride_size(begin: Dim, end: Dim, stride: int) -> Dim:
    return dims.ceildiv(end - begin, stride) if stride > 0 else dims.ceildiv(begin - end, -stride)


def _strided(attrs: Attrs) -> tuple[slice, ...]:
    return tuple(
        slice(b, None if s < 0 and e < 0 else e, s)
        for b, e, s in zip(attrs["begin"], attrs["end"], attrs["strides"], strict=True)
    )


def end_mask(attrs: Attrs) -> int:
    """Bits of the axes whose reversed slice runs through element 0; a run-time ``end`` says so itself."""
    if isinstance(attrs["end"], Value):
        return 0
    axes = zip(attrs["end"], attrs["strides"], strict=True)
    return sum(1 << i for i, (end, stride) in enumerate(axes) if stride < 0 and isinstance(end, int) and end < 0)


def _strided_shape(inputs: Sequence[Value], attrs: Attrs) -> Result:
    bounds = zip(attrs["begin"], attrs["end"], attrs["strides"], strict=True)
    return like(inputs, [_stride_size(*bound) for bound in bounds])


rearranged(
    "SLICE",
    lambda inputs, attrs: like(inputs, attrs["size"]),
    lambda attrs, x: x[_window(attrs)],
    MOVER,
    AnyOrder(per_axis=("begin", "size")),
    types="",
    operands=(0, "begin", "size"),
    run_time={"size": to_the_end},
    options=("SliceOptions", {}),
    versions="2:i8 4:i16 5:rank>4 6:u32",
    tensorflow="Slice",
)
# ``end`` -1 with a negative stride means "up to and including element 0": the emitter sets TFLite's end mask for it.
_STRIDED_VERSIONS = "2:i8|u8 3:bool 4:rank>4 7:u32"
rearranged(
    "STRIDED_SLICE",
    _strided_shape,
    lambda attrs, x: x[_strided(attrs)],
    MOVER,
    AnyOrder(per_axis=("begin", "end", "strides")),
    types="",
    operands=(0, "begin", "end", "strides"),
    run_time={"begin": clamped_begin, "end": clamped_end},
    options=("StridedSliceOptions", {"endMask": lambda op: end_mask(op.attrs)}),
    versions=_STRIDED_VERSIONS,
    tensorflow="StridedSlice",
    tf_attrs={"end_mask": lambda op: end_mask(op.attrs)},
)
# x, begin, end and strides as i32 vectors that only run time knows; bounds as numpy takes them, the kernel clips them
define(
    f"STRIDED_SLICE{AT_RUN_TIME}",
    lambda inputs, attrs: like(inputs, attrs["shape"]),
    MOVER.but(int8=None, indices=(1, 2, 3)),
    types="",
    max_rank=8,
    operator="STRIDED_SLICE",
    options=("StridedSliceOptions", {}),
    versions=_STRIDED_VERSIONS,
    tensorflow="StridedSlice",
)
define(
    "DYNAMIC_UPDATE_SLICE",
    same,
    PICKER.but(interval=lambda op, x, update, start: intervals.hull(op, x, update), indices=(2,)),
    types="",
    max_rank=8,
    options=("DynamicUpdateSliceOptions", {}),
)


# ------------------------------------------------------------------------------------------------ padding


def _padded(inputs: Sequence[Value], attrs: Attrs) -> Result:
    return like(inputs, [d + low + high for d, (low, high) in zip(inputs[0].shape, attrs["pads"], strict=True)])


_PADDED = "f32 i8 u8 i16 i32 i64 bool"
define(
    "PAD",
    _padded,
    PICKER.but(elements=Elements.PADDED, interval=intervals.zero_or, int8=Int8.MOVES),
    layout=AnyOrder(per_axis=("pads",)),
    types=_PADDED,
    max_rank=5,
    operands=(0, "pads"),
    options=("PadOptions", {}),
    versions="2:i8|u8 3:i16 4:rank>4 5:bool",
    tensorflow="Pad",
    slides=True,
    evaluate=lambda attrs, x: np.pad(x, attrs["pads"]),
)
define(
    "PADV2",
    _padded,
    PICKER.but(interval=intervals.hull, int8=Int8.PADS),
    layout=AnyOrder(per_axis=("pads",), fixed=(1,)),
    types=_PADDED,
    typed=(0, 1),
    max_rank=5,
    operands=(0, "pads", 1),
    options=("PadV2Options", {}),
    versions="2:i8|u8 3:i16 4:rank>4",
    tensorflow="PadV2",
    slides=True,
    evaluate=lambda attrs, x, fill: np.pad(x, attrs["pads"], constant_values=fill.item()),
)
define(
    "MIRROR_PAD",
    _padded,
    MOVER,
    layout=AnyOrder(per_axis=("pads",)),
    types="",
    max_rank=8,
    operands=(0, "pads"),
    options=("MirrorPadOptions", {"mode": lambda op: int(op.attrs["symmetric"])}),
    versions="2:i8|u8 3:i16",
    tensorflow="MirrorPad",
    tf_attrs={"mode": lambda op: "SYMMETRIC" if op.attrs["symmetric"] else "REFLECT"},
    evaluate=lambda attrs, x: np.pad(x, attrs["pads"], "symmetric" if attrs["symmetric"] else "reflect"),
)


# ------------------------------------------------------------------------------------------------ repeating and turning


def _broadcast_to(inputs: Sequence[Value], attrs: Attrs) -> Result:
    broadcast(inputs[0].shape, tuple(attrs["shape"]))
    return like(inputs, attrs["shape"])


rearranged(
    "TILE",
    lambda inputs, attrs: like(inputs, [d * m for d, m in zip(inputs[0].shape, attrs["multiples"], strict=True)]),
    lambda attrs, x: np.tile(x, attrs["multiples"]),
    MOVER,
    AnyOrder(per_axis=("multiples",)),
    types="",
    operands=(0, "multiples"),
    options=("TileOptions", {}),
    versions="3:i8",
    tensorflow="Tile",
)
# The builder gives the operand the rank of the result, so that the rule sees one order for both.
rearranged(
    "BROADCAST_TO",
    _broadcast_to,
    lambda attrs, x: np.broadcast_to(x, attrs["shape"]),
    MOVER,
    AnyOrder(per_axis=("shape",)),
    types="",
    operands=(0, "shape"),
    options=("BroadcastToOptions", {}),
    versions="2: 3:i8|i16",
)
rearranged(
    "REVERSE_V2",
    same,
    lambda attrs, x: np.flip(x, attrs["axes"]),
    MOVER.but(trap=_apart),
    AnyOrder(axis=("axes",)),
    types="f32 i8 u8 i16 i32 i64 bool",
    operands=(0, "axes"),
    options=("ReverseV2Options", {}),
    versions="2:bool 3:i8",
    tensorflow="ReverseV2",
)
define(
    "REVERSE_SEQUENCE",
    same,
    MOVER.but(int8=None, indices=(1,)),
    layout=AnyOrder(axis=("seq_dim", "batch_dim"), fixed=(1,)),
    types="f32 u8 i16 i32 i64",
    max_rank=8,
    options=("ReverseSequenceOptions", {"seqDim": "seq_dim", "batchDim": "batch_dim"}),
    tensorflow="ReverseSequence",
    tf_attrs={"seq_dim": "seq_dim", "batch_dim": "batch_dim"},
)


# ------------------------------------------------------------------------------------------------ blocks of pixels


def _blocks(inputs: Sequence[Value], attrs: Attrs) -> Result:
    n, h, w, c = inputs[0].shape
    b = attrs["block"]
    return like(inputs, (n, h * b, w * b, dims.floordiv(c, b * b)))


def _unblocks(inputs: Sequence[Value], attrs: Attrs) -> Result:
    n, h, w, c = inputs[0].shape
    b = attrs["block"]
    return like(inputs, (n, dims.floordiv(h, b), dims.floordiv(w, b), c * b * b))


def blocks(name: str, infer: Infer) -> None:
    """Define a conversion between channels and blocks of pixels."""
    camel = name.title().replace("_", "")
    define(
        name,
        infer,
        MOVER.but(int16=False),
        layout=CHANNELS_LAST,
        types="f32 i8 u8 i32 i64",
        max_rank=4,
        options=(f"{camel}Options", {"blockSize": "block"}),
        versions="2:i8",
        tensorflow=camel,
        tf_attrs={"block_size": "block"},
    )


blocks("DEPTH_TO_SPACE", _blocks)
blocks("SPACE_TO_DEPTH", _unblocks)
