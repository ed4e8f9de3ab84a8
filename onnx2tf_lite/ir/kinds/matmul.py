"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import dims, intervals
from ..graph import Attrs, Value
from ..kind import Result, define
from ..orders import FullyConnected, MatMul
from ..traits import DOTS, REALS, Bits, Int8, Weights, computed
from .convolution import hybrid, linear
from .shapes import broadcast


def _fully_connected(inputs: Sequence[Value], attrs: Attrs) -> Result:
    *lead, k = inputs[0].shape
    out, depth = inputs[1].shape
    if isinstance(k, int) and isinstance(depth, int) and k != depth:
        raise ValueError(f"last axis {k} does not fit weights [{out},{depth}]")
    return (*lead, out), inputs[0].dtype


# x[...,I], weights[O,I], optional bias[O]; leading axes are kept (keep_num_dims).
define(
    "FULLY_CONNECTED",
    _fully_connected,
    linear(Weights(outputs=0, inputs=1)),
    layout=FullyConnected(),
    types="f32",
    typed=(0, 1),
    max_rank=6,
    options=(
        "FullyConnectedOptions",
        {"fusedActivationFunction": "activation", "keepNumDims": lambda op: op.outputs[0].rank != 2},
    ),
    versions="4:qi8 5:rank>2 7:qi16 12:@hybrid",
    features={"hybrid": hybrid},
    evaluate=lambda attrs, x, w, b=0: x @ w.T + b,
)


def _batch_matmul(inputs: Sequence[Value], attrs: Attrs) -> Result:
    (*a, m, k), (*b, k2, n) = inputs[0].shape, inputs[1].shape
    m, k = (k, m) if attrs["adj_x"] else (m, k)
    k2, n = (n, k2) if attrs["adj_y"] else (k2, n)
    if isinstance(k, int) and isinstance(k2, int) and k != k2:
        raise ValueError(f"[{dims.show(inputs[0].shape)}] and [{dims.show(inputs[1].shape)}] do not multiply")
    return (*broadcast(tuple(a), tuple(b)), m, n), inputs[0].dtype


def _evaluate(attrs: Attrs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = np.swapaxes(x, -1, -2) if attrs["adj_x"] else x
    return np.asarray(np.matmul(x, np.swapaxes(y, -1, -2) if attrs["adj_y"] else y))


define(
    "BATCH_MATMUL",
    _batch_matmul,
    computed(DOTS, REALS, intervals.dot, Bits.WRONG, Int8.RESCALES, int16=True, exact_in_float=True),
    layout=MatMul(),
    types="f32",
    typed=(0, 1),
    max_rank=5,
    options=("BatchMatMulOptions", {"adjX": "adj_x", "adjY": "adj_y"}),
    versions="2:qi8 3:qi16",
    tensorflow="BatchMatMulV2",
    tf_attrs={"adj_x": "adj_x", "adj_y": "adj_y"},
    evaluate=_evaluate,
)
