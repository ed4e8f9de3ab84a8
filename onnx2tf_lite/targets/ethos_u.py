"""Arm's Ethos-U.

The rows are those of Vela's own report (``vela --supported-ops-report``, version 5.2; the page SUPPORTED_OPS), in
which what the report leaves open was measured with Vela on files of one operator.  What the unit does not take runs in
TFLM on the processor beside it; some things end the compiler instead.  ``tests/targets`` measures it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from .facts import (
    FIRST_FREE,
    SAME,
    SAME_SCALES,
    axes,
    axis,
    constant,
    no_activation,
    numbers,
    per_tensor,
    rank,
    strides,
    window,
    window_strides,
)
from .node import Node
from .table import Device, Fact, Kernel, rows

INTS = "q8 qu8 q16"
WIDE = f"{INTS} i8 i16 i32"  # moved
PAIRS = "q8,q8 qu8,qu8 q16,q16"
FILTERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
REQUANTISED = " ".join(f"{a}>{b}" for a in INTS.split() for b in INTS.split())
COMPARED = "q8,q8>b qu8,qu8>b q16,q16>b i32,i32>b b,b>b"
LINEAR = "q8,q8 qu8,qu8 q16,q8 qu8,q8"

# ------------------------------------------------------------------------------------------------ facts

SHAPES = replace(FIRST_FREE, fatal=True)
NO_BOOL = Fact(
    "no tensor of bool outside of loops and branches, which Vela leaves alone",
    lambda n: n.subgraph > 0 or all(x.type != "b" for x in n.operands),
    "compute with numbers: a comparison is a difference and a clip",
    fatal=True,
)
NO_SCALAR = Fact("tensors with axes", lambda n: all(x.shape or x.constant for x in n.operands))
BIAS = constant(2, "bias")
PARAMETERS = constant(1, "parameters")
AXES = constant(1, "axes (Vela crashes on others)", fatal=True)
BATCH_OF_1 = Fact("a batch of 1", lambda n: _nhwc(n)[0] == 1, "use -b 1")
STRIDES = Fact(
    "strides of at most 3, or no padding and no dilation",
    lambda n: max(window_strides(n)) <= 3 or (n.option("padding") != SAME and _dilation(n) == 1),
)
POOL = Fact(
    "a window of at most 8 x 8 where it is padded, 256 high otherwise",
    lambda n: (
        max(window(n)) <= 8 if n.option("padding") == SAME else window(n)[0] <= 256 and math.prod(window(n)) <= 1 << 16
    ),
)
HIGH = Fact("a window of at most 256 rows", lambda n: window(n)[0] <= 256 and math.prod(window(n)) <= 1 << 16)
DEPTH = axis(lambda n, a: a == len(n.at(0).shape) - 1, "the last axis")
SHALLOW = numbers(1, 127, "a depth", lambda n: n.at(0).shape[-1])
DYNAMIC = Fact("constant weights behind int16", lambda n: n.at(1).constant or n.at(0).type == "q8")
EVEN_SCALING = Fact(
    "a factor of 2, 4 or 8 (of 2 with half-pixel centres), the same for height and width",
    lambda n: _scaling(n) in ((2,) if n.option("halfPixelCenters") else (2, 4, 8)),
)
NEAREST_SCALING = Fact("a factor of 2, 4 or 8, the same for height and width", lambda n: _scaling(n) in (2, 4, 8))
POWER_SCALING = Fact("a factor that is a power of two", lambda n: _scaling(n) in [1 << i for i in range(1, 11)])
SLICED = Fact("strides of height and width only, forwards", lambda n: _sliced(n))
GROWN = Fact("a result of stride times the operand (padded), or that and kernel less stride", lambda n: _grown(n))
DOUBLED = Fact("strides of 1 x 1 or 2 x 2", lambda n: window_strides(n) in ((1, 1), (2, 2)))
LONGEST = 4096  # axis that is averaged
MEAN = Fact(
    "axes of height and width; of channels only where one of the three extents is 1",
    lambda n: averages(n.at(0).shape, axes(n)),
    "convert with --target, which merges axes that follow each other",
)
REDUCED = Fact(f"axes of at most {LONGEST:,}", lambda n: all(n.at(0).shape[a] <= LONGEST for a in axes(n)))
SOFTMAX = Fact("fewer than 65,536 rows", lambda n: math.prod(_nhwc(n)[1:3]) < 1 << 16)


def _nhwc(node: Node) -> tuple[int, ...]:
    """The shape of the data, as Vela reads fewer axes: leading ones of 1."""
    shape = next((x.shape for x in node.inputs if x is not None and x.type != "i32"), node.outputs[0].shape)
    return (1,) * (4 - len(shape)) + shape


def _dilation(node: Node) -> int:
    return int(max(node.option("dilationHFactor", 1), node.option("dilationWFactor", 1)))


def _scaling(node: Node) -> float:
    """By how much a picture grows; 2 where it is a repetition or a copy, which is possible; 0 where unevenly."""
    (_, h, w, _), (_, high, wide, _) = _nhwc(node), node.outputs[0].shape
    if (h, w) in ((1, 1), (high, wide)):
        return 2
    less = 1 if node.option("alignCorners") else 0
    factors = {(b - less) / (a - less) for a, b in ((h, high), (w, wide)) if a != less and (a, b) != (1, 1)}
    return factors.pop() if len(factors) == 1 else 0


def _sliced(node: Node) -> bool:
    step, shape = node.constant(3), node.at(0).shape
    if step is None or np.any(step < 1):
        return False
    wide = [1] * (4 - len(step)) + [int(s) for s in step]
    return len(shape) <= 4 and wide[0] == 1 and wide[-1] == 1


def _grown(node: Node) -> bool:
    (_, h, w, _), (_, high, wide, _) = node.at(2).shape, node.outputs[0].shape
    kernel, stride = window(node), window_strides(node)
    more = (0, 0) if node.option("padding") == SAME else [max(k - s, 0) for k, s in zip(kernel, stride, strict=True)]
    return [high, wide] == [n * s + m for n, s, m in zip((h, w), stride, more, strict=True)]


def averages(shape: Sequence[int], over: Iterable[int]) -> bool:
    """Does the unit average these axes of one element of a batch?  ``shape`` has at most four extents."""
    lead = 4 - len(shape)
    whole, reduced = [1] * lead + [*shape], {a + lead for a in over}
    return lead >= 0 and 0 not in reduced and (3 not in reduced or 1 in whole[1:])


# ------------------------------------------------------------------------------------------------ rows

#: Of U55 and U65.
ROWS = rows(
    Kernel("CONV_2D", LINEAR, (BIAS, STRIDES, constant(1, "filter", fatal=True))),
    Kernel("DEPTHWISE_CONV_2D", LINEAR, (BIAS, strides(3), constant(1, "filter", fatal=True))),
    Kernel("TRANSPOSE_CONV", "i32,q8,q8>q8 i32,q8,q16>q16", (constant(3, "bias"), GROWN, DOUBLED)),
    Kernel("FULLY_CONNECTED", LINEAR, (BIAS, DYNAMIC)),
    Kernel("BATCH_MATMUL", "q8,q8"),
    Kernel("AVERAGE_POOL_2D", INTS, (POOL, STRIDES)),
    Kernel("MAX_POOL_2D", INTS, (HIGH,)),
    Kernel("ADD|SUB|MUL", f"{PAIRS} i32,i32", (no_activation("Vela"),)),
    Kernel("MAXIMUM|MINIMUM", PAIRS, (SAME_SCALES,)),
    Kernel("SQUARED_DIFFERENCE", PAIRS),
    Kernel("ABS|EXP|LEAKY_RELU|LOGISTIC|TANH|RELU|RELU6|RELU_0_TO_1|RELU_N1_TO_1", INTS),
    Kernel("NEG", f"{INTS} i32"),
    Kernel("LOG|RSQRT", "q8 q16"),
    Kernel("ELU", "q8"),
    Kernel("GELU", "q8 qu8"),
    Kernel("HARD_SWISH", "q8 qu8", fatal=True),
    Kernel("PRELU", PAIRS),
    Kernel("SOFTMAX", INTS, (SOFTMAX,)),
    Kernel("MEAN", INTS, (rank(4), BATCH_OF_1, PARAMETERS, MEAN, REDUCED)),
    Kernel("SUM", f"{INTS} i32", (AXES,)),
    Kernel("REDUCE_MAX|REDUCE_MIN", INTS, (AXES,)),
    Kernel("ARG_MAX", "q8>i32 q8>i64 qu8>i32", (DEPTH, SHALLOW), fatal=True),
    Kernel("CONCATENATION|PACK|SPLIT_V|UNPACK|TILE", INTS),
    Kernel("SPLIT", "i32,q8>q8 i32,qu8>qu8 i32,q16>q16"),
    Kernel("EXPAND_DIMS|SQUEEZE|RESHAPE|MIRROR_PAD", WIDE),
    Kernel("TRANSPOSE", f"{INTS} i8 i16", (PARAMETERS,)),
    Kernel("PAD|PADV2", INTS, (PARAMETERS,)),
    Kernel("SLICE", INTS, (PARAMETERS,)),
    Kernel("STRIDED_SLICE", INTS, (PARAMETERS, SLICED)),
    Kernel("QUANTIZE", REQUANTISED),
    Kernel("RESIZE_BILINEAR", INTS, (EVEN_SCALING,)),
    Kernel("RESIZE_NEAREST_NEIGHBOR", INTS, (NEAREST_SCALING,)),
    Kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", INTS),
)

#: Those of U85 that differ, or are more.
MORE = rows(
    Kernel("CONV_2D|DEPTHWISE_CONV_2D", LINEAR, (BIAS,)),
    Kernel("TRANSPOSE_CONV", "i32,q8,q8>q8 i32,q8,q16>q16", (constant(3, "bias"), GROWN)),
    Kernel("FULLY_CONNECTED", LINEAR, (BIAS,)),
    Kernel("BATCH_MATMUL", "q8,q8 q16,q16"),
    Kernel("AVERAGE_POOL_2D", INTS, (POOL,)),
    Kernel("MAX_POOL_2D", INTS, (HIGH,)),
    Kernel("ADD|SUB|MUL|DIV", f"{PAIRS} i32,i32"),
    Kernel("SQUARED_DIFFERENCE", PAIRS, crashes="i32"),
    Kernel("MAXIMUM|MINIMUM", f"{PAIRS} i32,i32", (SAME_SCALES,), crashes="i64"),
    Kernel("EQUAL|NOT_EQUAL|LESS|LESS_EQUAL|GREATER|GREATER_EQUAL", COMPARED, crashes="i64"),
    Kernel("LOGICAL_AND|LOGICAL_OR|LOGICAL_NOT", "b"),
    Kernel("SELECT|SELECT_V2", "b,q8>q8 b,q16>q16 b,i32>i32 b,b>b"),
    Kernel("ABS|LEAKY_RELU", f"{INTS} i32 b"),
    Kernel("REDUCE_MAX|REDUCE_MIN", f"{INTS} i32 b", (AXES,)),
    Kernel("QUANTIZE", REQUANTISED, crashes="i32"),
    Kernel("REDUCE_ALL|REDUCE_ANY", "b", (AXES,)),
    Kernel("ARG_MAX", "q8>i32 q8>i64 qu8>i32", fatal=True),
    Kernel("CAST", "q8>i32 q16>i32 q8>i64 q16>i64 q8>b q16>b i32>i32 i32>b b>i32"),
    Kernel("CONCATENATION|PACK|SPLIT_V|UNPACK|TILE|EXPAND_DIMS|SQUEEZE|RESHAPE|MIRROR_PAD", f"{WIDE} i64 b"),
    Kernel("SPLIT", " ".join(f"i32,{a}>{a}" for a in f"{WIDE} i64 b".split())),
    Kernel("TRANSPOSE|PAD|PADV2|SLICE", f"{WIDE} i64 b", (PARAMETERS,)),
    Kernel("STRIDED_SLICE", f"{WIDE} i64 b", (PARAMETERS, SLICED)),
    Kernel("REVERSE_V2", f"{WIDE} i64 b"),
    Kernel(
        "GATHER",
        f"{WIDE} i64 b",
        (Fact("an axis behind the batch axes", lambda n: n.option("axis") == n.option("batchDims")),),
    ),
    Kernel("RESIZE_BILINEAR", INTS, (POWER_SCALING,)),
    Kernel("RESIZE_NEAREST_NEIGHBOR", INTS, ()),
)


def _device(name: str, title: str, rows: dict[str, Kernel], *facts: Fact) -> Device:
    everywhere = (SHAPES, NO_SCALAR, per_tensor(*FILTERS), *facts)
    remedies = {
        "SQUARE": f"--target {name} writes MUL",
        "HARD_SWISH": "quantise it to int8",
        "DIV": "multiply by the reciprocal",
        "GATHER": "use Ethos-U85, or read with SLICE",
        "DEPTH_TO_SPACE": f"--target {name} writes RESHAPE and TRANSPOSE",
        "WHILE": f"--target {name} writes counted loops out",
        "QUANTIZE": "write the file with integer inputs",
        "DEQUANTIZE": "write the file with integer outputs",
    }
    return Device(
        name, title, rows, "Vela 5.2, SUPPORTED_OPS", everywhere, tool="vela", fallback="micro", remedies=remedies
    )


TABLES = {
    "ethos-u55": _device("ethos-u55", "Arm Ethos-U55", ROWS, NO_BOOL),
    "ethos-u65": _device("ethos-u65", "Arm Ethos-U65", ROWS, NO_BOOL),
    "ethos-u85": _device("ethos-u85", "Arm Ethos-U85", ROWS | MORE),
}
