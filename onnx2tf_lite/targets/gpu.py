"""LiteRT's GPU delegate.

The operators, their operand counts, axes and options are those of ``tensorflow/lite/tools/versioning/
gpu_compatibility.cc``, which the delegate asks before it takes an operator.  It computes in floating point: 8-bit
tensors are expanded, integers are taken as indices only.  Tensors lie in batch, height, width and channels: four axes.
No tool for it exists without the device, and TensorFlow's analyser, which asks fewer questions, finds no fault at all.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from .facts import FIRST_FREE, computed, constant, rank
from .node import Node
from .table import Device, Fact, Kernel, rows

FLOAT = "f32 f16 q8 qu8"
PAIRS = " ".join(f"{a},{b}" for a in ("f32", "f16", "q8", "qu8") for b in ("f32", "f16", "q8", "qu8"))
COMPARED = "f32,f32>b f16,f16>b"
AXES = constant(1, "axes")
REFLECT = Fact("padding by reflection", lambda n: n.option("mode") == schema.MirrorPadMode.REFLECT)


def _broadcasts(node: Node) -> bool:
    """One operand that is not smaller than the other along any axis; where ranks differ, one that broadcasts."""
    a, b = (x.shape for x in node.inputs[:2] if x is not None)
    if len(a) != len(b):
        return True
    pairs = list(zip(a, b, strict=True))
    return all(i >= j for i, j in pairs) or all(i <= j for i, j in pairs)


def _fills(node: Node) -> bool:
    """Alternatives as large as the result, or single numbers."""
    whole = node.outputs[0].shape
    return all(x is not None and (x.shape == whole or x.shape in ((), (1,))) for x in node.inputs[1:3])


ROWS = rows(
    Kernel("CONV_2D|DEPTHWISE_CONV_2D|FULLY_CONNECTED", f"{PAIRS} f32,q4"),
    Kernel("TRANSPOSE_CONV", " ".join(f"i32,{p}>{p.split(',')[1]}" for p in PAIRS.split())),
    Kernel("BATCH_MATMUL", PAIRS),
    Kernel("AVERAGE_POOL_2D|MAX_POOL_2D", FLOAT),
    Kernel("ADD|SUB|DIV|MAXIMUM|MINIMUM|POW|SQUARED_DIFFERENCE|FLOOR_DIV|FLOOR_MOD|ATAN2", PAIRS),
    Kernel(
        "MUL",
        PAIRS,
        (
            Fact(
                "an operand that is not smaller than the other along any axis",
                _broadcasts,
                "write the outer product as a convolution or FULLY_CONNECTED",
            ),
        ),
    ),
    Kernel("EQUAL|NOT_EQUAL|LESS|LESS_EQUAL|GREATER|GREATER_EQUAL", COMPARED),
    Kernel("LOGICAL_AND", "b,b>b"),
    Kernel(
        "ABS|CEIL|COS|ELU|EXP|FLOOR|GELU|LOG|LOGISTIC|NEG|RSQRT|SIGN|SIN|SQRT|SQUARE|TANH",
        FLOAT,
        (computed(0, "operands"),),
    ),
    Kernel("RELU|RELU6|RELU_N1_TO_1|LEAKY_RELU|PRELU|HARD_SWISH", FLOAT),
    Kernel("SOFTMAX", FLOAT, (Fact("a beta of 1", lambda n: n.option("beta", 1.0) == 1.0),)),
    Kernel("MEAN|SUM|REDUCE_MAX|REDUCE_MIN|REDUCE_PROD", FLOAT, (AXES,)),
    Kernel("CUMSUM", "f32 f16", (constant(1, "axis"),)),
    Kernel("CAST", "b>f32 b>f16 f32>b f16>b f32>f32 f32>i32 i32>f32 i32>i32"),
    Kernel("CONCATENATION|PACK|RESHAPE|SPLIT_V|TILE|TRANSPOSE", FLOAT),
    Kernel("SPLIT", "i32,f32>f32 i32,f16>f16 i32,q8>q8 i32,qu8>qu8"),
    Kernel("SLICE", FLOAT, (rank(3, 4),)),
    Kernel(
        "STRIDED_SLICE",
        FLOAT,
        (
            rank(3, 4),
            Fact(
                "no ellipsis, new or dropped axes",
                lambda n: not any(n.option(f"{name}Mask") for name in ("ellipsis", "newAxis", "shrinkAxis")),
            ),
        ),
    ),
    Kernel("PAD|PADV2", FLOAT, (rank(3, 4), constant(1, "amounts"))),
    Kernel("MIRROR_PAD", FLOAT, (rank(3, 4), constant(1, "amounts"), REFLECT)),
    Kernel(
        "GATHER",
        "f32,i32 f16,i32 q8,i32",
        (Fact("indices on one axis", lambda n: (x := n.input(1)) is not None and len(x.shape) == 1),),
    ),
    Kernel("EMBEDDING_LOOKUP", "i32,q8>f32 i32,q4>f32 i32,f32>f32"),
    Kernel("ONE_HOT", "i32,i32,f32,f32>f32", (constant(2, "values"), constant(3, "values"))),
    Kernel(
        "SELECT|SELECT_V2",
        "b,f32,f32>f32 f32,f32,f32>f32 b,f16,f16>f16",
        (Fact("alternatives of the shape of the result, or single numbers", _fills, "expand them"),),
    ),
    Kernel(
        "DYNAMIC_UPDATE_SLICE",
        "f32,f32,i32 f16,f16,i32",
        (Fact("a batch of 1", lambda n: len(n.outputs[0].shape) != 4 or n.outputs[0].shape[0] == 1),),
    ),
    Kernel(
        "DEPTH_TO_SPACE|SPACE_TO_DEPTH", FLOAT, (Fact("blocks larger than 1", lambda n: n.option("blockSize") > 1),)
    ),
    Kernel("RESIZE_BILINEAR|RESIZE_NEAREST_NEIGHBOR", FLOAT),
    Kernel("QUANTIZE", "f32>q8 f32>qu8 q8>q8"),
    Kernel("DEQUANTIZE", "q8>f32 qu8>f32 f16>f32"),
    Kernel("LSTM", FLOAT),
)

TABLES = {
    "gpu": Device(
        "gpu",
        "LiteRT's GPU delegate",
        ROWS,
        "gpu_compatibility.cc of tensorflow/tensorflow",
        facts=(FIRST_FREE, rank(4, remedy="--target gpu merges axes where it can")),
        fallback="litert",
        remedies={
            "ARG_MAX": "end the model before it (-onimc), or --target gpu, which writes it by a maximum",
            "WHILE": "write counted loops out (-eru)",
            "IF": "end the model before it (-onimc)",
            "GATHER_ND": "read with GATHER along one axis",
            "TOPK_V2": "end the model before it (-onimc) and sort in the program",
        },
    )
}
