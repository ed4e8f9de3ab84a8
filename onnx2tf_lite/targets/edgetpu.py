"""The Edge TPU of Coral.

The operators and their limits are those of the table "supported operations" of coral.ai/docs/edgetpu/models-intro and
of the list that Axis publishes for the same unit in ARTPEC-7 (developer.axis.com, "supported ops"); the limits of all
tensors stand on the same pages.  Its compiler is no Python package: by table only.
"""

from __future__ import annotations

import numpy as np

from .facts import EQUAL_DILATION, NO_ACTIVATION, STATIC, axes, axis, constant
from .node import Node
from .table import Device, Fact, Kernel, rows

INT8 = "q8 qu8"
PAIRS = "q8,q8 qu8,qu8"
NOT_BATCH = axis(lambda _, a: a != 0, "axes other than the batch")
SOFTMAX_MOST = 16000  # elements


def _three(node: Node) -> bool:
    """Only the last three axes are larger than 1."""
    return all(d == 1 for x in node.operands if not x.constant for d in x.shape[:-3])


def _one_large(shape: tuple[int, ...]) -> bool:
    return all(d == 1 for d in shape[:-1])


THREE_AXES = Fact(
    "tensors of which only the last three axes are larger than 1", _three, "use a batch of 1 (-b 1)", axes=3, units=True
)

ROWS = rows(
    Kernel("CONV_2D|DEPTHWISE_CONV_2D", PAIRS, (EQUAL_DILATION, constant(1, "filter"))),
    Kernel("TRANSPOSE_CONV", "i32,q8,q8>q8 i32,qu8,qu8>qu8"),
    Kernel(
        "FULLY_CONNECTED",
        PAIRS,
        (constant(1, "weights"), Fact("a result on one axis", lambda n: _one_large(n.outputs[0].shape))),
    ),
    Kernel("AVERAGE_POOL_2D|MAX_POOL_2D", INT8, (NO_ACTIVATION,)),
    Kernel(
        "CONCATENATION",
        INT8,
        (
            NO_ACTIVATION,
            Fact(
                "parts that are computed (or a single one of zeros)",
                lambda n: not any(x is not None and x.constant for x in n.inputs),
            ),
        ),
    ),
    Kernel("ADD|SUB|MUL|MAXIMUM|MINIMUM|SQUARED_DIFFERENCE", PAIRS),
    Kernel("EXPAND_DIMS|SQUEEZE|RESHAPE|TRANSPOSE|SLICE", INT8),
    Kernel("L2_NORMALIZATION|LOGISTIC|TANH|RELU|RELU6|RELU_N1_TO_1|RSQRT", INT8),
    Kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", INT8),
    Kernel(
        "PRELU",
        PAIRS,
        (Fact("a slope for each channel", lambda n: (x := n.input(1)) is not None and _one_large(x.shape)),),
    ),
    Kernel(
        "MEAN",
        INT8,
        (
            NOT_BATCH,
            Fact(
                "a number of channels that 4 divides where they are reduced",
                lambda n: (x := n.input(0)) is None or len(x.shape) - 1 not in axes(n) or x.shape[-1] % 4 == 0,
            ),
        ),
    ),
    Kernel("SUM|REDUCE_MAX|REDUCE_MIN", INT8, (NOT_BATCH,)),
    Kernel("PACK", INT8, (Fact("an axis other than the batch", lambda n: n.option("axis") != 0),)),
    Kernel("PAD", INT8, (Fact("no padding of the batch", lambda n: (p := n.constant(1)) is None or not np.any(p[0])),)),
    Kernel("QUANTIZE", "q8>q8 q8>qu8 qu8>q8 qu8>qu8"),
    Kernel("RESIZE_BILINEAR|RESIZE_NEAREST_NEIGHBOR", INT8),
    Kernel(
        "SOFTMAX",
        INT8,
        (
            Fact(
                f"one axis of at most {SOFTMAX_MOST:,} elements",
                lambda n: _one_large(n.outputs[0].shape) and n.outputs[0].shape[-1] <= SOFTMAX_MOST,
            ),
        ),
    ),
    Kernel("SPACE_TO_DEPTH", INT8),
    Kernel("SPLIT", "i32,q8>q8 i32,qu8>qu8", (axis(lambda _, a: a != 0, "an axis other than the batch", 0),)),
    Kernel(
        "STRIDED_SLICE",
        INT8,
        (
            Fact("strides of 1", lambda n: (s := n.constant(3)) is not None and bool(np.all(s == 1))),
            Fact("no ellipsis and no new axes", lambda n: not (n.option("ellipsisMask") or n.option("newAxisMask"))),
        ),
    ),
)


TABLES = {
    "edgetpu": Device(
        "edgetpu",
        "Coral's Edge TPU",
        ROWS,
        "coral.ai/docs/edgetpu/models-intro",
        facts=(STATIC, THREE_AXES),
        fallback="litert",
        one_part=True,
        remedies={
            "HARD_SWISH": "train with ReLU6",
            "LEAKY_RELU": "train with ReLU, or PReLU",
            "BATCH_MATMUL": "only a product with constants has a form there, FULLY_CONNECTED",
            "DEQUANTIZE": "write the file with integer outputs",
            "ARG_MAX": "end the model before it (-onimc)",
            "WHILE": "--target edgetpu writes counted loops out",
        },
    )
}
