"""The law of every layout rule (docs/layout.md, 8.5): permuted operands of a rewritten op give its permuted result."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.ir import kinds
from onnx2tf_lite.ir.graph import Graph, Op, Quant, Value, building, constant
from onnx2tf_lite.ir.kind import KINDS
from onnx2tf_lite.ir.orders import every_port, natural
from onnx2tf_lite.ir.orders import tensor as tensor_at

from .interpreter import MEANING, run_op

RNG = np.random.default_rng(7)
X = RNG.uniform(0.5, 2.0, size=(2, 3, 4, 5)).astype(np.float32)
Y = RNG.uniform(0.5, 2.0, size=(2, 3, 4, 5)).astype(np.float32)
ROW = RNG.uniform(0.5, 2.0, size=(1, 3, 1, 1)).astype(np.float32)
I32 = RNG.integers(1, 9, size=(2, 3, 4, 5)).astype(np.int32)
MASK = RNG.integers(0, 2, size=(2, 3, 4, 5)).astype(bool)
PER_AXIS = Quant(np.array([0.1, 0.2, 0.3], np.float32), np.array([0, 1, 2]), np.dtype(np.int8), axis=1)

ATTRS: dict[str, dict[str, Any]] = {
    "LEAKY_RELU": {"alpha": 0.1},
    "GELU": {"approximate": False},
    "CAST": {"to": np.dtype(np.int32)},
    "ARG_MAX": {"axis": 1, "to": np.dtype(np.int32)},
    "ARG_MIN": {"axis": 2, "to": np.dtype(np.int32)},
    "CUMSUM": {"axis": 2, "exclusive": True, "reverse": True},
    "TOPK_V2": {"k": 2},
    "CONCATENATION": {"axis": 2},
    "SPLIT": {"axis": 2, "sizes": (2, 2)},
    "SPLIT_V": {"axis": 3, "sizes": (1, 4)},
    "SLICE": {"begin": (0, 1, 2, 1), "size": (2, 2, 1, 3)},
    "STRIDED_SLICE": {"begin": (0, 2, 3, 0), "end": (2, -1, 0, 5), "strides": (1, -1, -2, 2)},
    "PAD": {"pads": ((0, 1), (2, 0), (0, 0), (1, 3))},
    "PADV2": {"pads": ((0, 1), (2, 0), (0, 0), (1, 3))},
    "MIRROR_PAD": {"pads": ((0, 1), (2, 0), (0, 0), (1, 3)), "symmetric": False},
    "TILE": {"multiples": (1, 2, 1, 3)},
    "REVERSE_V2": {"axes": (1, 2)},
    "REVERSE_SEQUENCE": {"seq_dim": 3, "batch_dim": 1},
    "BATCH_MATMUL": {"adj_x": False, "adj_y": True},
    "FULLY_CONNECTED": {"activation": None},
    "QUANTIZE": {"quant": PER_AXIS},
    "DEQUANTIZE": {"quant": PER_AXIS},
    "IDENTITY": {"shape": X.shape},
    "FILL": {"shape": X.shape},
}
INPUTS: dict[str, list[Any]] = {
    "LOGICAL_NOT": [MASK],
    "LOGICAL_AND": [MASK, MASK[:, ::-1]],
    "LOGICAL_OR": [MASK, MASK[:, ::-1]],
    "REDUCE_ANY": [MASK],
    "REDUCE_ALL": [MASK],
    "BITWISE_XOR": [I32, I32[::-1]],
    "RIGHT_SHIFT": [I32, I32[::-1] % 4],
    "SELECT_V2": [MASK, X, ROW],
    "PRELU": [X - 1, ROW],
    "PADV2": [X, np.float32(7)],
    "REVERSE_SEQUENCE": [X, np.array([5, 2, 3], np.int32)],
    "FULLY_CONNECTED": [X, RNG.normal(size=(6, 5)).astype(np.float32), np.arange(6, dtype=np.float32)],
    "DEQUANTIZE": [I32.astype(np.int8)],
    "CONCATENATION": [X, Y, X],
    "BATCH_MATMUL": [X, Y],
    "FILL": [np.float32(3)],
    "STABLEHLO_AND": [I32, I32[::-1].copy()],
}
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")


def cases() -> list[Any]:
    """(kind, inputs, attrs) for every kind with a rule that moves, and candidates with other ranks or options."""
    found: list[tuple[str, str, list[Any], dict[str, Any]]] = []
    for name, kind in KINDS.items():
        if kind.layout.anchored or kind.is_view or name == "GATHER" or name == "BROADCAST_TO":
            continue
        arity = 2 if kind.typed is None or len(kind.typed) > 1 else 1
        inputs = INPUTS.get(name, [X, ROW][:arity])
        if name in REDUCTIONS:
            for axes in ((1,), (0, 3), (1, 2, 3)):
                for keepdims in (False, True):
                    attrs = {"axes": axes, "keepdims": keepdims}
                    found.append((name, f"{axes}{'-keepdims' * keepdims}", inputs, attrs))
        else:
            found.append((name, "", inputs, ATTRS.get(name, {})))
    for axis in range(4):
        for index in (np.array([1, 0]), np.array(1), np.array([[0, 1, 1], [1, 0, 0]])):
            inputs = [X, index.astype(np.int32)]
            found.append(("GATHER", f"axis{axis}-index{index.ndim}d", inputs, {"axis": axis, "batch_dims": 0}))
    found.append(("BROADCAST_TO", "", [ROW], {"shape": X.shape}))
    found.append(("BATCH_MATMUL", "adjoint-x", [X, Y], {"adj_x": True, "adj_y": False}))
    found.append(("BATCH_MATMUL", "broadcast", [X, Y[:1].transpose(0, 1, 3, 2)], {"adj_x": False, "adj_y": False}))
    return [pytest.param(n, i, a, id=f"{n}-{v}" if v else n) for n, v, i, a in found]


def make(name: str, inputs: list[Any], attrs: dict[str, Any]) -> Op:
    """One operation on run-time operands."""
    values = [Value(f"v{i}", a.shape, a.dtype) for i, a in enumerate(map(np.asarray, inputs))]
    if name == "FULLY_CONNECTED":
        values[1:] = [constant(a) for a in inputs[1:]]
    kind = KINDS[name]
    with building(Graph()):
        results = kind.results(values, attrs)
    op = Op(kind, list(values), [], dict(attrs))
    op.outputs = [Value(f"r{i}", s, d, producer=op) for i, (s, d) in enumerate(results)]
    return op


@pytest.mark.parametrize(("name", "inputs", "attrs"), cases())
def test_equivariance(name: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    arrays = [np.asarray(a) for a in inputs]
    expected = run_op(make(name, inputs, attrs), arrays)
    rng = random.Random(name)
    taken = 0
    for _ in range(40):
        op = make(name, inputs, attrs)
        port = rng.choice(every_port(op))
        tensor = tensor_at(op, port)
        assert tensor is not None
        order = tuple(rng.sample(range(tensor.rank), tensor.rank))
        orders = op.kind.layout.orders(op, port, order)
        if orders is None or tensor.is_constant:
            continue
        assert orders[port] == order, "a rule may not answer with another order than it was asked for"
        assert sorted(orders) == sorted(every_port(op))
        taken += order != natural(tensor.rank)
        op.attrs = op.kind.layout.attrs(op, orders)
        got = run_op(op, [a.transpose(orders[i]) for i, a in enumerate(arrays)])
        for j, (g, e) in enumerate(zip(got, expected, strict=True)):
            np.testing.assert_allclose(g, e.transpose(orders[~j]), rtol=1e-5, atol=1e-5, err_msg=f"{order} at {port}")
    assert taken or max(a.ndim for a in arrays) < 2, "the rule never moved anything"


def test_every_moving_rule_has_its_law() -> None:
    covered = {p.values[0] for p in cases()}
    moving = {n for n, k in kinds.KINDS.items() if not k.layout.anchored and not k.is_view}
    assert moving == covered
    assert all(KINDS[n].evaluate or n in MEANING for n in covered)
