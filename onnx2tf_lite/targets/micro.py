"""TensorFlow Lite for Microcontrollers: the reference kernels, of which optimised ones (CMSIS-NN, Xtensa) are a part.

Which operators there are says ``micro_mutable_op_resolver.h`` of tensorflow/tflite-micro; which types and ranks a
kernel takes was measured with the interpreter of the package ``tflite-micro`` (0.dev2026) on files of one operator and
says ``tensorflow/lite/micro/kernels/<operator>.cc``.  ``tests/targets`` measures it again.
"""

from __future__ import annotations

from .facts import FIRST_FREE, constant, no_activation, rank
from .table import Device, Fact, Kernel, rows

FLOAT = "f32"
INT8 = "f32 q8"
REAL = "f32 q8 q16"
MOVED = "f32 q8 q16 i8 i16 i32 b"
ANY = f"{MOVED} i64 u8 qu8 u32"
NUMBERS = " ".join(f"{a},{a}" for a in ("f32", "q8", "q16", "i32"))
LINEAR = "f32,f32 q8,q8 q8,q4 q16,q8"
COMPARED = " ".join(f"{a},{a}>b" for a in ("f32", "q8", "i32", "i64"))
CASTS = " ".join(
    f"{a}>{b}"
    for a in ("f32", "q8", "q16", "i8", "i16", "i32", "u32", "b")
    for b in ("f32", "i8", "q8", "i16", "q16", "i32", "b")
)

AXES = constant(1, "axes")
UNTIL_5 = rank(5)

ROWS = rows(
    Kernel("CONV_2D|DEPTHWISE_CONV_2D", LINEAR),
    Kernel("TRANSPOSE_CONV", "i32,f32,f32>f32 i32,q8,q8>q8 i32,q8,q16>q16"),
    Kernel("FULLY_CONNECTED", LINEAR),
    Kernel("BATCH_MATMUL", "f32,f32 q8,q8 q16,q16", (rank(5),)),
    Kernel("AVERAGE_POOL_2D|MAX_POOL_2D", REAL),
    Kernel("L2_POOL_2D", FLOAT),
    Kernel("ADD|MUL", NUMBERS, (no_activation("TFLM"),)),
    Kernel("SUB", NUMBERS),
    Kernel("DIV", "f32,f32 q8,q8 i32,i32"),
    Kernel("MAXIMUM|MINIMUM", f"{NUMBERS} i64,i64"),
    Kernel("SQUARED_DIFFERENCE", "f32,f32 q8,q8 i32,i32"),
    Kernel("FLOOR_DIV|FLOOR_MOD", "f32,f32"),
    Kernel("ADD_N", INT8),
    Kernel("EQUAL|NOT_EQUAL", f"{COMPARED} b,b>b"),
    Kernel("LESS|LESS_EQUAL|GREATER_EQUAL", COMPARED),
    Kernel("GREATER", f"{COMPARED} q16,q16>b"),  # the only one of them
    Kernel("LOGICAL_AND|LOGICAL_OR|LOGICAL_NOT", "b"),
    Kernel("ABS", f"{REAL} i16"),
    Kernel("RSQRT", REAL),
    Kernel("NEG|SIN|COS|SQUARE|SQRT|LOG|EXP|FLOOR|CEIL|ROUND", FLOAT),
    Kernel("RELU|RELU6|LEAKY_RELU", REAL),
    Kernel("TANH|LOGISTIC|SOFTMAX", "f32 q8 q16 q8>q16"),
    Kernel("LOG_SOFTMAX|ELU|HARD_SWISH|L2_NORMALIZATION", INT8),
    Kernel("PRELU", "f32,f32 q8,q8"),
    Kernel("SELECT_V2", "b,f32,f32>f32 b,q8,q8>q8 b,i8,i8>i8 b,q16,q16>q16 b,i16,i16>i16"),
    Kernel("MEAN|SUM", REAL, (AXES,)),
    Kernel("REDUCE_MAX|REDUCE_MIN", INT8, (AXES,)),
    Kernel("REDUCE_ALL", "b", (AXES,)),
    Kernel("CUMSUM", INT8),
    Kernel("ARG_MAX|ARG_MIN", "f32>i32 q8>i32 i8>i32 qu8>i32"),
    Kernel("CAST", CASTS),
    Kernel("QUANTIZE", "f32>q8 f32>q16 q8>q8 q8>q16 q8>i32 q16>q8 q16>q16 q16>i32 i32>q8 i32>q16 qu8>q8 q8>qu8"),
    Kernel(
        "DEQUANTIZE",
        "q8>f32 q16>f32 qu8>f32",
        (Fact("one scale for the tensor", lambda n: not any(x.per_axis for x in n.operands)),),
    ),
    Kernel("RESHAPE|EXPAND_DIMS|SQUEEZE|SHAPE|CONCATENATION|REVERSE_V2|ZEROS_LIKE", ""),
    Kernel("BROADCAST_TO", ANY, (constant(1, "shape"), UNTIL_5)),
    Kernel("PACK", f"{MOVED} i64"),
    Kernel("UNPACK", "f32 q8 i8 i32"),
    Kernel("SPLIT", " ".join(f"i32,{a}>{a}" for a in MOVED.split()), (constant(0, "axis"),)),
    Kernel("SPLIT_V", MOVED, (constant(2, "axis"),)),
    Kernel("SLICE", MOVED, (UNTIL_5,)),
    Kernel("STRIDED_SLICE", MOVED, (rank(4), constant(1, "begin"), constant(2, "end"), constant(3, "strides"))),
    Kernel("TRANSPOSE", "f32 q8 q16 i8 i16", (UNTIL_5, constant(1, "order of axes"))),
    Kernel("PAD|PADV2", "f32 q8 q16 i8 i16 i32", (constant(1, "amounts"), UNTIL_5)),
    Kernel("MIRROR_PAD", "f32 q8 i8", (UNTIL_5,)),
    Kernel("FILL", "i32,f32>f32 i32,q8>q8 i32,i8>i8 i32,i32>i32", (constant(0, "shape"),)),
    Kernel("GATHER", "f32,i32 q8,i32 i8,i32"),
    Kernel("GATHER_ND", "f32,i32 q8,i32 i8,i32"),
    Kernel("DYNAMIC_UPDATE_SLICE", "f32 q8 q16 i8 i16 i32"),
    Kernel("EMBEDDING_LOOKUP", "i32,f32>f32 i32,q8>f32"),
    Kernel("DEPTH_TO_SPACE|SPACE_TO_DEPTH", "f32 q8 i8"),
    Kernel("SPACE_TO_BATCH_ND|BATCH_TO_SPACE_ND", "f32 q8", (rank(4),)),
    Kernel("RESIZE_BILINEAR", INT8, (constant(1, "size"),)),
    Kernel("RESIZE_NEAREST_NEIGHBOR", f"{REAL} i8 i16", (constant(1, "size"),)),
    Kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", REAL),
    Kernel("SVDF", INT8),
    Kernel("IF|WHILE|CALL_ONCE|VAR_HANDLE|READ_VARIABLE|ASSIGN_VARIABLE", ""),
)

_COMPOSE = "--target micro writes it as operators that exist"

TABLES = {
    "micro": Device(
        "micro",
        "TensorFlow Lite for Microcontrollers",
        ROWS,
        "kernels of tensorflow/tflite-micro",
        facts=(FIRST_FREE,),
        tool="tflm",
        accelerator=False,
        remedies={
            "GELU": _COMPOSE,
            "TILE": _COMPOSE,
            "RELU_N1_TO_1": _COMPOSE,
            "TOPK_V2": "end the model before it (-onimc) and sort in the program",
            "NON_MAX_SUPPRESSION_V4": "end the model before it (-onimc), or use TFLite_Detection_PostProcess",
            "LOCAL_RESPONSE_NORMALIZATION": "replace it by a batch normalisation and train again",
        },
    )
}
