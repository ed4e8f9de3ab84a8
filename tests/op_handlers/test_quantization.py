"""Quantize, Dequantize and integer products: exact against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, node_model, normal, whole

F32 = np.float32
X = normal(2, 3, 8, scale=4)


def parameters(dtype: str, count: int = 0) -> list[Any]:
    """Scale and zero point of ``count`` channels (0: per tensor)."""
    info, shape = np.iinfo(dtype), (count,) if count else ()
    scale = np.random.default_rng(1).uniform(0.02, 0.2, shape).astype(F32)
    middle = 0 if info.bits > 8 else (int(info.min) + int(info.max)) // 2
    return [scale, np.full(shape, middle, dtype)]


@pytest.mark.parametrize("const", [(1, 2), ()], ids=["const", "run_time"])
@pytest.mark.parametrize("count", [0, 3], ids=["tensor", "axis"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_quantize(dtype: str, count: int, const: tuple[int, ...]) -> None:
    check_node("QuantizeLinear", [X, *parameters(dtype, count)], const=const, axis=1, opset=21)


@pytest.mark.parametrize("const", [(1, 2), (), (0, 1, 2)], ids=["const", "run_time", "weights"])
@pytest.mark.parametrize("count", [0, 3], ids=["tensor", "axis"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
def test_dequantize(dtype: str, count: int, const: tuple[int, ...]) -> None:
    low = 0 if dtype[0] == "u" else -100
    x = whole(2, 3, 8, low=low, high=100, dtype=dtype)
    check_node("DequantizeLinear", [x, *parameters(dtype, count)], const=const, axis=1, opset=21)


@pytest.mark.parametrize("name", ["QuantizeLinear", "DequantizeLinear"])
def test_blocks(name: str) -> None:
    scale = np.random.default_rng(1).uniform(0.02, 0.2, (2, 3, 2)).astype(F32)
    x = X if name == "QuantizeLinear" else whole(2, 3, 8, dtype=np.int8)
    check_node(name, [x, scale, np.full((2, 3, 2), 5, np.int8)], const=(1, 2), axis=2, block_size=4, opset=21)


def test_large_constants_stay_constants_and_keep_their_parameters() -> None:
    from tests.harness import compile_model

    x = whole(1000, 1500, low=-100, high=100, dtype=np.int8)
    graph = compile_model(
        node_model("DequantizeLinear", [x, *parameters("int8", 1500)], const=(0, 1, 2)), without=["fuse"]
    )
    (op,) = [op for op in graph.ops if op.kind.name not in ("RESHAPE",)]
    assert op.inputs[0].data is not None and op.inputs[0].quant is not None and op.inputs[0].quant.axis == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("x", [X, np.abs(X) + 1, -np.abs(X) - 1], ids=["both", "positive", "negative"])
def test_dynamic_quantize(x: np.ndarray) -> None:
    check_node("DynamicQuantizeLinear", [x], outputs=3)


@pytest.mark.parametrize("const", [(1, 2, 3), ()], ids=["const", "run_time"])
@pytest.mark.parametrize("depth", [16, 2000])
def test_matmul_integer_is_exact(depth: int, const: tuple[int, ...]) -> None:
    x = whole(4, depth, low=0, high=256, dtype=np.uint8)
    y = whole(depth, 5, low=0, high=256, dtype=np.uint8, seed=1)
    check_node("MatMulInteger", [x, y, np.uint8(7), np.uint8(200)], const=const)


def test_qlinear_matmul() -> None:
    x, y = whole(4, 16, low=0, high=256, dtype=np.uint8), whole(16, 5, low=0, high=256, dtype=np.uint8, seed=1)
    inputs = [x, F32(0.02), np.uint8(120), y, F32(0.03), np.uint8(131), F32(0.05), np.uint8(128)]
    check_node("QLinearMatMul", inputs, const=(1, 2, 4, 5, 6, 7))


def test_qlinear_conv() -> None:
    x, w = whole(1, 3, 8, 8, low=0, high=256, dtype=np.uint8), whole(4, 3, 3, 3, dtype=np.int8, seed=1)
    inputs = [x, F32(0.02), np.uint8(120), w, np.full(4, 0.03, F32), np.zeros(4, np.int8), F32(0.05), np.uint8(128),
              whole(4, low=-500, high=500, dtype=np.int32)]  # fmt: skip
    check_node("QLinearConv", inputs, const=(1, 2, 3, 4, 5, 6, 7, 8), pads=[1, 1, 1, 1], branch="float")
