"""What a node computes: multiply-accumulates, and floating point operations, from the shapes of its tensors.

A multiply-accumulate counts as two operations.  Of all other operators each element of the result counts as one, of
reductions and pools each element that is read; operators that only move or describe data count as none.

Newer onnxsim has ``model_info`` with the same multiply-accumulates (a test compares them), but takes an open extent
for 1 without a word, knows no recurrent layers, no Einsum and no operations besides these, and has no
figures by operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onnx import NodeProto, helper

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

#: Move, describe, select or reinterpret data.
_FREE = (
    "Cast CastLike Compress Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Expand EyeLike",
    "Flatten Gather GatherElements GatherND Identity If Loop Optional OptionalGetElement OptionalHasElement Pad",
    "Range Reshape ReverseSequence Scan ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty",
    "SequenceInsert Shape Size Slice SpaceToDepth Split SplitToSequence Squeeze Tile Transpose Trilu Unsqueeze",
    "Where",
)
FREE = frozenset(name for line in _FREE for name in line.split())
_READING = ("Reduce", "Global", "ArgM", "CumSum", "TopK", "NonZero", "Unique")


def count(node: NodeProto, shapes: Shapes) -> tuple[int, int] | None:
    """(multiply-accumulates, operations) of one run, None where a shape that decides is unknown or dynamic."""
    try:
        if node.op_type in MACS:
            macs = MACS[node.op_type](node, shapes)
            return macs, 2 * macs
        if node.domain or node.op_type in FREE:
            return 0, 0
        if node.op_type.startswith(_READING):
            return 0, math.prod(shapes[node.input[0]])
        elements = sum(math.prod(shapes[name]) for name in node.output if name)
        return 0, elements * math.prod(_attribute(node, "kernel_shape", [1]))
    except KeyError:
        return None


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _conv(weight: int) -> Callable[[NodeProto, Shapes], int]:
    """Conv: each result sums W[M, C/group, *kernel] over all but its first axis."""
    return lambda node, s: math.prod(s[node.output[0]]) * math.prod(s[node.input[weight]][1:])


def _matmul(node: NodeProto, s: Shapes) -> int:
    """a[..., K] times b[..., K, N]."""
    return math.prod(s[node.output[0]]) * s[node.input[0]][-1]


def _gemm(node: NodeProto, s: Shapes) -> int:
    return math.prod(s[node.output[0]]) * s[node.input[0]][0 if _attribute(node, "transA", 0) else 1]


def _recurrent(node: NodeProto, s: Shapes) -> int:
    """x[T,B,I] (or [B,T,I]), W[D,gates*H,I], R[D,gates*H,H]: both products at each step of each sequence."""
    return math.prod(s[node.input[0]][:2]) * sum(math.prod(s[name]) for name in node.input[1:3])


def _attention(node: NodeProto, s: Shapes) -> int:
    """q[B,H,L,E] or [B,L,H*E], k with S keys: L times S products over E and over the width of v."""
    q, k, y = s[node.input[0]], s[node.input[1]], s[node.output[0]]
    keys = k[-2] if len(k) == 4 else k[1]
    return keys * (math.prod(q) + math.prod(y))


def _einsum(node: NodeProto, s: Shapes) -> int:
    """The product of the extents of all letters, for each operand after the first."""
    terms = _attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    extents: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        shape = s[name]
        free = len(shape) - len(term.replace("...", ""))
        term = term.replace("...", "".join(chr(0x100 + i) for i in range(free)))
        for letter, extent in zip(term, shape, strict=True):
            extents[letter] = max(extent, extents.get(letter, 1))
    return math.prod(extents.values()) * max(len(terms) - 1, 0)


MACS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    **dict.fromkeys(("Conv", "ConvInteger", "DeformConv"), _conv(1)),
    "QLinearConv": _conv(3),
    "ConvTranspose": lambda node, s: math.prod(s[node.input[0]]) * math.prod(s[node.input[1]][1:]),
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), _matmul),
    "Gemm": _gemm,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Attention": _attention,
    "Einsum": _einsum,
}
