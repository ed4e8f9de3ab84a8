"""A processor with LiteRT: XNNPACK takes what is in the table, LiteRT's own kernels run the rest.

Measured with ai-edge-litert 2.3 on files of one operator (docs/kernels.md); ``tests/targets`` measures it again.
"""

from __future__ import annotations

from .facts import FIRST_FREE, constant
from .table import Device, Kernel, rows

FLOAT = "f32"
INT8 = "f32 q8 qu8"
PAIRS = "f32,f32 q8,q8 qu8,qu8"

ROWS = rows(
    Kernel("CONV_2D|DEPTHWISE_CONV_2D", f"{PAIRS} f32,q8", (constant(1, "filter"), constant(2, "bias"))),
    Kernel("TRANSPOSE_CONV", "i32,f32,f32>f32 i32,q8,q8>q8 i32,qu8,qu8>qu8", (constant(1, "filter"),)),
    Kernel("FULLY_CONNECTED", f"{PAIRS} f32,q8 f32,q4", (constant(1, "weights"),)),
    Kernel("BATCH_MATMUL", "f32,f32 f32,q8"),
    Kernel("ADD|SUB|MUL", PAIRS),
    Kernel("DIV|MAXIMUM|MINIMUM|SQUARED_DIFFERENCE", "f32,f32"),
    Kernel("ABS|NEG|SIN|COS|SQUARE|SQRT|RSQRT|EXP|LOG|FLOOR|CEIL|ROUND", FLOAT),
    Kernel("RELU|RELU6|RELU_N1_TO_1|HARD_SWISH|GELU|SOFTMAX|AVERAGE_POOL_2D", FLOAT),
    Kernel("TANH|LOGISTIC|ELU|LEAKY_RELU|MAX_POOL_2D|RESIZE_BILINEAR|DEPTH_TO_SPACE|SPACE_TO_DEPTH", INT8),
    Kernel("MEAN|SUM|REDUCE_MAX|REDUCE_MIN", INT8, (constant(1, "axes"),)),
    Kernel("CONCATENATION|PAD|RESHAPE|SLICE|TRANSPOSE", INT8),
    Kernel("SPLIT", "i32,f32>f32 i32,q8>q8 i32,qu8>qu8"),
    Kernel("QUANTIZE", "f32>q8 f32>qu8 q8>q8 qu8>qu8"),
    Kernel("DEQUANTIZE", "q8>f32 qu8>f32 f16>f32"),
)

TABLES = {
    "cpu": Device(
        "cpu",
        "a processor with LiteRT and XNNPACK",
        ROWS,
        "measured with ai-edge-litert",
        facts=(FIRST_FREE,),
        tool="xnnpack",
        fallback="litert",
        accelerator=False,
    )
}
