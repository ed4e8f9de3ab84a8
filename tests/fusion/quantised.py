"""Layers between QuantizeLinear and DequantizeLinear, and how far a file may be from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.fusion import fuse, qdq
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Quant, Value, constant, copy_graph

from .programs import F32

X = (1, 8, 8, 4)
I8, U8, I16, I32 = (np.dtype(n) for n in ("int8", "uint8", "int16", "int32"))


def quant(scale: Any, zero: Any = 0, dtype: np.dtype = I8, axis: int | None = None) -> Quant:
    scale = np.atleast_1d(np.asarray(scale, F32))
    return Quant(scale, np.broadcast_to(np.asarray(zero, dtype), scale.shape), dtype, axis)


IN, OUT = quant(0.0517, 10), quant(0.1137, -5)
UIN, UOUT = quant(0.0517, 138, U8), quant(0.1137, 123, U8)
HALF = quant(1 / 256, -128)


def through(x: Value, q: Quant = IN) -> Value:
    """Real numbers that have been stored with ``q``."""
    return b.dequantize(b.quantize(x, q), q)


def stored(shape: tuple[int, ...], q: Quant, low: int = -127, high: int = 127, seed: int = 3) -> Value:
    """A constant as DequantizeLinear of an initializer gives it."""
    integers = np.random.default_rng(seed).integers(low, high + 1, shape).astype(q.dtype)
    return b.dequantize(constant(integers), q)


def bias(size: int, scale: Any) -> Value:
    return stored((size,), quant(np.broadcast_to(np.asarray(scale, F32), size), 0, I32, 0), -2000, 2000)


WINDOW = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID", "activation": None}
SW = np.linspace(0.005, 0.02, 6, dtype=F32)


def conv(x: Value, w: Value | None = None, c: Value | None = None, groups: int | None = None, scales: Any = 0.01,
         out: int = 6, padding: str = "VALID") -> Value:  # fmt: skip
    channels = int(x.shape[-1]) // (groups or 1)  # type: ignore[arg-type]
    w = w or stored((out, 3, 3, channels), quant(scales, 0, I8, 0 if np.ndim(scales) else None))
    c = c or bias(out, IN.scale * np.asarray(scales, F32))
    return b.emit("CONV_2D", x, w, c, groups=groups, **WINDOW | {"padding": padding})


def one_beyond() -> Value:
    """Weights of which one is 140 steps."""
    steps = np.random.default_rng(3).integers(-100, 101, (6, 3, 3, 4))
    steps[2, 1, 1, 3] = 140
    return b.dequantize(constant((steps + 100).astype(U8)), quant(0.01, 100, U8))


DW = np.linspace(0.01, 0.03, 8, dtype=F32)


def depthwise(x: Value, w: Value | None = None, scales: Any = DW) -> Value:
    w, c = w or stored((1, 3, 3, 8), quant(scales, 0, I8, 3)), bias(8, IN.scale * np.asarray(scales, F32))
    return b.emit("DEPTHWISE_CONV_2D", x, w, c, multiplier=2, dilated=False, **WINDOW | {"padding": "SAME"})


def transposed(x: Value, w: Value | None = None) -> Value:
    w, c = w or stored((3, 2, 2, 4), quant(0.02)), bias(3, IN.scale * F32(0.02))
    shape = {"strides": (2, 2), "padding": "VALID", "output_shape": (1, 16, 16, 3)}
    return b.emit("TRANSPOSE_CONV", x, w, c, activation=None, **shape)


def dense(x: Value) -> Value:
    return b.fully_connected(x, stored((5, 4), quant(0.02)), bias(5, IN.scale * F32(0.02)))


def layer(function: Callable[..., Any], out: Quant = OUT, q: Quant = IN) -> Callable[[Value], Value]:
    """``function`` between stored integers, real numbers outside."""
    return lambda x: through(function(through(x, q)), out)


def case(name: str, function: Callable[..., Any], expected: str, *inputs: Any) -> Any:
    return pytest.param(function, inputs or (X,), f"QUANTIZE {expected} DEQUANTIZE", id=name)


def join(axis: int, *out: Quant) -> Callable[[Value], Value]:
    return lambda x: b.concat([through(x, q) for q in out], axis)


def residual(x: Value) -> Value:
    return through(b.add(through(conv(x, out=4, padding="SAME"), OUT), x), OUT)


def moved(x: Value) -> Value:
    return b.transpose(b.reshape(b.slice_(x, (0, 1, 0, 0), (1, 4, 8, 4)), (32, 4)), (1, 0))


def resized(kind: str) -> Callable[[Value], Value]:
    return lambda x: b.emit(f"RESIZE_{kind}", x, size=(16, 16), align_corners=False, half_pixel_centers=True)


ROUGH = {"RELU": 0.35, "LEAKY_RELU": 0.35, "MEAN": 0.5, "RESIZE_BILINEAR": 0.1}


def flips(expected: str) -> float:
    """Share of the elements that may be a step off."""
    kernels = expected.split()[1:]
    requantised = "QUANTIZE" in kernels and not {"ADD", "SUB", "MUL"} & {*kernels}
    return max([0.35 if requantised else 0.05, *(ROUGH.get(k, 0) for k in kernels)])


def prepared(graph: Graph) -> tuple[Graph, Graph]:
    """The fused program with float kernels, and with integer kernels."""
    fuse(graph)
    integer = copy_graph(graph)
    qdq(integer)
    return graph, integer


def assert_within(step: float, got: np.ndarray, want: np.ndarray, steps: float, share: float, what: str) -> None:
    """At most ``steps`` off anywhere, and off at all at no more than ``share`` of the elements."""
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64)) / step
    assert got.shape == want.shape and difference.max() <= steps + 1e-3, f"{what}: {difference.max()} steps"
    assert (difference > 0.5).mean() <= share, f"{what}: {100 * (difference > 0.5).mean()} % differ"
