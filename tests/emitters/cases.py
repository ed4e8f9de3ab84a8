"""One-operation programs for every kind: what to build, from which inputs.

An input is ``dtype[extents]low:high``; an extent N is a batch, symbolic in the dynamic variant.  The range is optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Quant, Value, building
from onnx2tf_lite.legalize import dynamic

BATCH = 3
SPEC = re.compile(r"([a-z]+\d*)\[(.*?)\](?:(.+):(.+))?")
DTYPES = {"f": "float", "i": "int", "u": "uint"}
Case = tuple[str, Callable[..., Any]]


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(name if name == "bool" else DTYPES[name[0]] + name[1:])


def feed(spec: str, seed: int) -> np.ndarray:
    """Values of one input: floats in -3..3 and integers in 0..4 unless the specification says otherwise."""
    name, extents, low, high = SPEC.fullmatch(spec).groups()
    shape = [BATCH if d == "N" else int(d) for d in extents.split(",") if d]
    dtype, rng = numpy_dtype(name), np.random.default_rng(seed)
    if dtype.kind == "f":
        return np.asarray(rng.uniform(float(low or -3), float(high or 3), shape), dtype)
    return np.asarray(rng.integers(int(low or 0), int(high or (2 if dtype.kind == "b" else 5)), shape), dtype)


def program(case: Case, dynamic_batch: bool) -> tuple[Graph, dict[str, np.ndarray]]:
    """The finished graph of a case and its feeds."""
    specs, function = case
    graph, feeds = Graph(), {}
    for i, spec in enumerate(specs.split()):
        name, extents, _, _ = SPEC.fullmatch(spec).groups()
        extent = dims.symbol("N") if dynamic_batch else BATCH
        shape = tuple(extent if d == "N" else int(d) for d in extents.split(",") if d)
        graph.add_input(f"in{i}", shape, numpy_dtype(name))
        feeds[f"in{i}"] = feed(spec, seed=i)
    with building(graph):
        results = function(*graph.inputs)
        graph.outputs = [results] if isinstance(results, Value) else list(results)
    graph.output_names = [f"out{i}" for i in range(len(graph.outputs))]
    return dynamic.materialise(graph), feeds


def weights(*shape: int, seed: int = 9) -> Value:
    return b.lift(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def kind(name: str, *constants: Any, **attrs: Any) -> Callable[..., list[Value]]:
    """The operation on its inputs, followed by constant operands."""
    return lambda *xs: b.emit_all(name, [*xs, *(None if c is None else b.lift(c) for c in constants)], **attrs)


def window(strides: Any, padding: str, dilations: Any = (), **attrs: Any) -> dict[str, Any]:
    dilations = tuple(dilations) or (1,) * len(strides)
    return {"strides": strides, "padding": padding, "dilations": dilations, "activation": None, **attrs}


def conv(name: str, shape: Any, bias: int, *args: Any, **attrs: Any) -> Callable[..., list[Value]]:
    return kind(name, weights(*shape), weights(bias) if bias else None, **window(*args, **attrs))


def transposed(name: str, shape: Any, bias: int, extents: Any, padding: str) -> Callable[..., Value]:
    constants, attrs = [weights(*shape), weights(bias) if bias else None], window((2,) * (len(shape) - 2), padding)
    return lambda x: b.emit(name, x, *constants, output_shape=(x.shape[0], *extents), **attrs)


def quant(dtype: Any, scale: Any, zero: Any, axis: int | None = None) -> Quant:
    return Quant(np.atleast_1d(np.float32(scale)), np.atleast_1d(np.int64(zero)), np.dtype(dtype), axis)


PER_AXIS = quant(np.int8, [0.02, 0.03, 0.05, 0.07], [0, 3, -5, 0], axis=2)


# ------------------------------------------------------------------------------------------------ control flow


def body(name: str, shapes: Sequence[Any], dtypes: Sequence[Any], function: Callable[..., Any]) -> Graph:
    graph = Graph(name)
    for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        graph.add_input(f"{name}/in{i}", shape, dtype)
    with building(graph):
        results = function(*graph.inputs)
        graph.outputs = [results] if isinstance(results, Value) else list(results)
    return graph


def branch(condition: Value, x: Value) -> list[Value]:
    big = weights(4, 4)
    one, other = (body(n, [x.shape], [x.dtype], f) for n, f in [
        ("then", lambda v: b.fully_connected(v, big)), ("otherwise", lambda v: b.relu(v))])  # fmt: skip
    return b.emit_all("IF", [condition, x], then=one, otherwise=other, results=[(x.shape, x.dtype)])


def loop(count: Value, x: Value) -> list[Value]:
    """x through a layer ``count`` times."""
    state = [(), x.shape], [np.int32, x.dtype]
    big = weights(4, 4) * 0.5
    condition = body("condition", *state, lambda i, v: b.greater(i, np.int32(0)))
    step = body("body", *state, lambda i, v: [i - np.int32(1), b.tanh(b.fully_connected(v, big))])
    results = [((), count.dtype), (x.shape, x.dtype)]
    return b.emit_all("WHILE", [count, x], condition=condition, body=step, results=results)


def growing(x: Value) -> list[Value]:
    """A state whose extent grows: x joined with itself, three times."""
    shape = (dims.symbol("rows"), 4)
    state = [(), shape], [np.int32, x.dtype]
    condition = body("condition", *state, lambda i, v: b.less(i, np.int32(3)))
    step = body("body", *state, lambda i, v: [i + np.int32(1), b.concat([v, v * 2.0], 0)])
    results = [((), np.dtype(np.int32)), (shape, x.dtype)]
    return b.emit_all("WHILE", [b.lift(np.int32(0)), x], condition=condition, body=step, results=results)[1:]


def scatter(reduction: str, combine: str | None) -> Callable[..., list[Value]]:
    combination = body("combine", [(), ()], [np.float32] * 2, lambda *xs: b.emit(combine, *xs) if combine else xs[1])
    return kind("STABLEHLO_SCATTER", reduction=reduction, body=combination)


def spectrum(x: Value) -> list[Value]:
    numbers = b.emit("RFFT2D", x, lengths=(1, 8))
    return [b.emit(part, numbers) for part in ("REAL", "IMAG")]


def suppression(corner: Value, size: Value, scores: Value) -> list[Value]:
    boxes = b.concat([corner, corner + size], 1)
    return b.emit_all(
        "NON_MAX_SUPPRESSION_V4", [boxes, scores, *map(b.lift, (np.float32(0.3), np.float32(0.2)))], count=9
    )


# ------------------------------------------------------------------------------------------------ the table

CASES: dict[str, Case] = {}


def same(names: str, spec: str, suffix: str = "", **attrs: Any) -> None:
    """Cases of kinds that take the same operands."""
    CASES.update({n + suffix: (spec, kind(n, **attrs)) for n in names.split()})


same("ABS NEG SIN COS SQUARE SIGN RELU RELU6 RELU_N1_TO_1 TANH LOGISTIC", "f32[N,3,4]")
same("HARD_SWISH ELU FLOOR CEIL ROUND EXP SOFTMAX LOG_SOFTMAX SHAPE", "f32[N,3,4]")
same("LOG SQRT RSQRT", "f32[N,3,4]0.1:9")
same("LOGICAL_NOT", "bool[N,4]")
same("SQUARED_DIFFERENCE MAXIMUM MINIMUM EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL", "f32[N,1,4] f32[3,1]")
same("POW FLOOR_DIV FLOOR_MOD", "f32[N,1,4]0.5:3 f32[3,1]0.5:3")
same("ATAN2 STABLEHLO_ADD STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_MINIMUM", "f32[N,4] f32[N,4]")
same("LOGICAL_AND LOGICAL_OR", "bool[N,1,4] bool[3,1]")
same("BITWISE_XOR RIGHT_SHIFT", "i32[N,1,4]-9:9 i32[3,1]0:4")
same("STABLEHLO_AND", "i32[N,4]-99:99 i32[N,4]-99:99")
same("PRELU", "f32[N,3,4] f32[1,1,4]")
same("SELECT_V2", "bool[N,1,1] f32[3,4] f32[N,3,4]")
same("WHERE", "bool[N,4]")
same("WHERE", "f32[N,4]", "-f32")
same("UNIQUE", "i32[20]")
same("ADD SUB MUL DIV", "f32[N,1,4]1:3 f32[3,1]1:3", activation=None)
for _activation in ("RELU", "RELU6", "RELU_N1_TO_1"):
    same("ADD SUB", "f32[N,1,4] f32[3,1]", f"-{_activation}", activation=_activation)
for _dtype in ("i32", "i64"):
    _spec = f"{_dtype}[N,1,4]-9:9 {_dtype}[3,1]1:9"
    same("ADD SUB MUL", _spec, f"-{_dtype}", activation=None)
    same("MAXIMUM MINIMUM FLOOR_MOD EQUAL LESS", _spec, f"-{_dtype}")
    same("SUM MEAN REDUCE_MAX REDUCE_MIN REDUCE_PROD", f"{_dtype}[N,3,4]-9:9", f"-{_dtype}", axes=(1,), keepdims=False)
    same("CUMSUM", f"{_dtype}[N,3,4]", f"-{_dtype}", axis=2, exclusive=False, reverse=False)
same("DIV", "i32[N,1,4]-9:9 i32[3,1]1:5", "-i32", activation=None)
same("FLOOR_DIV", "i32[N,1,4]-9:9 i32[3,1]1:5", "-i32")
for _axes, _keep in [((1, 2), True), ((0, 2), False)]:
    same("MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD", "f32[N,3,4]", f"-{_axes}", axes=_axes, keepdims=_keep)
    same("REDUCE_ANY REDUCE_ALL", "bool[N,3,4]", f"-{_axes}", axes=_axes, keepdims=_keep)
for _some, _keep in [((1,), True), ((2, 3), False), ((1, 3), True)]:
    same("MEAN SUM REDUCE_MIN", "f32[N,3,4,5]", f"-{_some}", axes=_some, keepdims=_keep)
for _keep in (True, False):
    same("MEAN_AT SUM_AT REDUCE_MAX_AT REDUCE_MIN_AT REDUCE_PROD_AT", "f32[N,3,4] i32[1]1:2", f"-{_keep:d}",
         shape=(dims.symbol("kept"), 1, 4) if _keep else (dims.symbol("kept"), 4), keepdims=_keep)  # fmt: skip
    same("REDUCE_ANY_AT REDUCE_ALL_AT", "bool[N,3,4] i32[1]1:2", f"-{_keep:d}",
         shape=(dims.symbol("kept"), 1, 4) if _keep else (dims.symbol("kept"), 4), keepdims=_keep)  # fmt: skip
for _index in (np.int32, np.int64):
    same("ARG_MAX ARG_MIN", "f32[N,3,4]", f"-{np.dtype(_index)}", axis=1, to=np.dtype(_index))
for _from, _to in [("f32", "i32"), ("f32", "i64"), ("i32", "f32"), ("i64", "i32"), ("bool", "f32"), ("f32", "bool"),
                   ("u8", "i32"), ("i32", "i8"), ("i64", "f32"), ("f32", "u8")]:  # fmt: skip
    same("CAST", f"{_from}[N,4]" + "0:9" * (_to == "u8"), f"-{_from}-{_to}", to=numpy_dtype(_to))
same("BITCAST", "f32[N,4]", to=np.dtype(np.int32))
for _exclusive, _reverse in [(False, False), (True, False), (False, True), (True, True)]:
    same("CUMSUM", "f32[N,3,4]", f"-{_exclusive:d}{_reverse:d}", axis=1, exclusive=_exclusive, reverse=_reverse)

CASES |= {
    "MUL-along-axes": ("f32[N,3,1,4]", lambda x: x * weights(3, 1, 4)),
    "LEAKY_RELU": ("f32[N,4]", kind("LEAKY_RELU", alpha=0.1)),
    "GELU-erf": ("f32[N,4]", kind("GELU", approximate=False)),
    "GELU-tanh": ("f32[N,4]", kind("GELU", approximate=True)),
    "TOPK_V2": ("f32[N,9]", kind("TOPK_V2", k=4)),
    "TOPK_V2-ties": ("i32[N,9]0:3", kind("TOPK_V2", k=5)),
    # movement
    "TRANSPOSE": ("f32[N,3,4,5]", lambda x: b.transpose(x, (0, 3, 1, 2))),
    "TRANSPOSE-bool": ("bool[N,3,4]", lambda x: b.transpose(x, (2, 0, 1))),
    "RESHAPE": ("f32[N,3,4]", lambda x: b.reshape(x, (x.shape[0], 12))),
    "RESHAPE-two-unknown": ("f32[N,3,4] f32[N]", lambda x, y: b.reshape(x, (x.shape[0] * 2, 2, 3))),
    "CONCATENATION": ("f32[N,3] f32[N,4]", lambda x, y: b.concat([x, y], 1)),
    "CONCATENATION-i64": ("i64[N,3] i64[N,4]", lambda x, y: b.concat([x, y], -1)),
    "PACK": ("f32[N,3] f32[N,3]", kind("PACK", axis=1)),
    "SPLIT": ("f32[N,6]", lambda x: b.split(x, (2, 2, 2), 1)),
    "SPLIT_V": ("f32[N,6]", lambda x: b.split(x, (1, 3, 2), 1)),
    "SLICE": ("f32[N,5,6]", lambda x: b.slice_(x, (0, 1, 2), (x.shape[0], 3, 4))),
    "SLICE-batch": ("f32[N,5]", lambda x: b.narrow(x, 0, 1, x.shape[0] - 1)),
    "STRIDED_SLICE": ("f32[N,5,6]", lambda x: b.strided_slice(x, (0, 0, 1), (x.shape[0], 5, 6), (1, 2, 3))),
    "STRIDED_SLICE-reversed": ("f32[4,5,6]", lambda x: b.strided_slice(x, (3, 4, 5), (-1, 0, -1), (-1, -2, -2))),
    "STRIDED_SLICE-reversed-batch": (
        "f32[N,5]", lambda x: b.strided_slice(x, (x.shape[0] - 1, 4), (-1, 0), (-1, -2))),
    "STRIDED_SLICE-computed-end": ("f32[N,6]", lambda x: b.strided_slice(x, (0, 5), (x.shape[0] - 1, -1), (2, -2))),
    "STRIDED_SLICE_AT": (
        "f32[N,6] i32[2]0:1 i32[2]3:6 i32[2]1:3",
        kind("STRIDED_SLICE_AT", shape=(dims.symbol("rows"), dims.symbol("columns")))),
    "PAD": ("f32[N,3,4]", lambda x: b.pad(x, [(0, 0), (1, 2), (3, 0)])),
    "PAD-rank-2": ("f32[N,3]", lambda x: b.pad(x, [(0, 0), (1, 2)])),
    "PAD-bool": ("bool[N,3]", lambda x: b.pad(x, [(0, 1), (1, 2)], False)),
    "PADV2": ("f32[N,3,4]", lambda x: b.pad(x, [(0, 0), (1, 2), (3, 0)], 1.5)),
    "PADV2-i64": ("i64[N,3]", lambda x: b.pad(x, [(0, 0), (1, 2)], 7)),
    "MIRROR_PAD-reflect": ("f32[N,3,4]", lambda x: b.mirror_pad(x, [(0, 0), (1, 2), (3, 0)])),
    "MIRROR_PAD-symmetric": ("f32[N,3,4]", lambda x: b.mirror_pad(x, [(0, 0), (1, 2), (3, 0)], True)),
    "TILE": ("f32[N,3]", lambda x: b.tile(x, (2, 3))),
    "TILE-computed": ("f32[N,3] f32[N]", lambda x, y: b.tile(x, (1, x.shape[0]))),
    "BROADCAST_TO": ("f32[N,1,4]", lambda x: b.broadcast_to(x, (x.shape[0], 3, 4))),
    "BROADCAST_TO-many axes": ("f32[2,1,2,1,2,1,3,1]", lambda x: b.broadcast_to(x, (2, 4, 2, 3, 2, 2, 3, 2))),
    "BROADCAST_TO-bool": ("bool[N,1]", lambda x: b.broadcast_to(x, (2, x.shape[0], 4))),
    "REVERSE_V2": ("f32[N,3,4]", lambda x: b.reverse(x, (1, 2))),
    "REVERSE_SEQUENCE": ("f32[N,5,2] i32[N]1:6", kind("REVERSE_SEQUENCE", seq_dim=1, batch_dim=0)),
    "FILL": ("f32[] f32[N,3]", lambda v, x: b.fill(x.shape, v)),
    "RANGE": ("i32[] i32[]5:9 i32[]2:3", lambda *x: b.emit("RANGE", *x, count=dims.symbol("count"))),
    "RANGE-f32": ("f32[]0:1 f32[]5:9 f32[]0.4:0.6", lambda *x: b.emit("RANGE", *x, count=dims.symbol("count"))),
    "DEPTH_TO_SPACE": ("f32[N,2,3,8]", kind("DEPTH_TO_SPACE", block=2)),
    "SPACE_TO_DEPTH": ("f32[N,4,6,2]", kind("SPACE_TO_DEPTH", block=2)),
    "DYNAMIC_UPDATE_SLICE": ("f32[N,5,4] f32[1,2,4] i32[3]0:3", kind("DYNAMIC_UPDATE_SLICE")),
    "DYNAMIC_UPDATE_SLICE-row": ("f32[N,5,4] f32[1,5,4] i32[3]1:2", kind("DYNAMIC_UPDATE_SLICE")),
    "DYNAMIC_UPDATE_SLICE-row-clamped": ("f32[N,5,4] f32[1,5,4] i32[3]4:9", kind("DYNAMIC_UPDATE_SLICE")),
    "DYNAMIC_UPDATE_SLICE-clamped": ("f32[N,5,4] f32[1,2,4] i32[3]4:9", kind("DYNAMIC_UPDATE_SLICE")),
    # indexing
    "GATHER": ("f32[N,5,4] i32[2,3]", lambda x, i: b.gather(x, i, 1)),
    "GATHER-rows-u8": ("u8[N,3]0:5", lambda i: b.gather(weights(5, 4), b.cast(i, np.int32))),
    "GATHER-scalar-i64": ("i64[N,5,4] i64[]", lambda x, i: b.gather(x, i, 1)),
    "GATHER-batched": ("f32[N,5,4] i32[N,3]", lambda x, i: b.gather(x, i, 1, batch_dims=1)),
    "GATHER_ND": ("f32[3,5,4] i32[N,2]0:3", kind("GATHER_ND")),
    "SCATTER_ND": ("i32[N,2]0:3 f32[N,4]", kind("SCATTER_ND", shape=(3, 5, 4))),
    "SCATTER_ND-bool": ("i32[4,1]0:3 bool[4,4]1:2", kind("SCATTER_ND", shape=(3, 4))),
    "STABLEHLO_SCATTER-mul": ("f32[N,3,4] i64[5,2]0:3 f32[5,4]", scatter("mul", "STABLEHLO_MULTIPLY")),
    "STABLEHLO_SCATTER-max": ("f32[N,3,4] i64[5,2]0:3 f32[5,4]", scatter("max", "STABLEHLO_MAXIMUM")),
    "STABLEHLO_SCATTER-min": ("f32[N,3] i64[5,2]0:3 f32[5]", scatter("min", "STABLEHLO_MINIMUM")),
    "STABLEHLO_SCATTER-none": ("f32[N,3] i64[5,2]0:2 f32[5]", scatter("none", None)),
    "ONE_HOT": ("i32[N,3]-1:6", lambda i: b.one_hot(i, 5, np.float32(2), np.float32(-1))),
    "ONE_HOT-axis": ("i64[N,3]", lambda i: b.one_hot(i, 5, np.int32(2), np.int32(0), axis=1)),
    "NON_MAX_SUPPRESSION_V4": ("f32[12,2]0:1 f32[12,2]0.3:0.6 f32[12]0:1", suppression),
    # windows
    "CONV_2D": ("f32[N,8,9,4]", conv("CONV_2D", (6, 3, 2, 4), 6, (2, 1), "SAME")),
    "CONV_2D-valid-dilated": ("f32[N,8,9,4]", conv("CONV_2D", (6, 3, 2, 4), 6, (1, 1), "VALID", (2, 3))),
    "CONV_2D-grouped-relu6": (
        "f32[N,8,9,4]", conv("CONV_2D", (6, 3, 3, 2), 6, (2, 2), "SAME", groups=2, activation="RELU6")),
    "CONV_2D-no-bias": ("f32[N,8,9,4]", conv("CONV_2D", (6, 1, 1, 4), 0, (1, 1), "VALID")),
    "CONV_2D-computed-weights": ("f32[N,8,9,4] f32[6,3,2,4]", kind("CONV_2D", weights(6), **window((1, 1), "VALID"))),
    "DEPTHWISE_CONV_2D": (
        "f32[N,8,9,4]", conv("DEPTHWISE_CONV_2D", (1, 3, 3, 8), 8, (2, 2), "SAME", multiplier=2)),
    "DEPTHWISE_CONV_2D-unequal": (
        "f32[N,8,9,4]", conv("DEPTHWISE_CONV_2D", (1, 3, 3, 8), 8, (2, 1), "SAME", multiplier=2)),
    "DEPTHWISE_CONV_2D-dilated": ("f32[N,8,9,4]", conv(
        "DEPTHWISE_CONV_2D", (1, 3, 3, 4), 4, (1, 1), "VALID", (2, 1), multiplier=1, dilated=True, activation="RELU")),
    "TRANSPOSE_CONV": ("f32[N,4,5,3]", transposed("TRANSPOSE_CONV", (6, 3, 3, 3), 6, (9, 11, 6), "VALID")),
    "TRANSPOSE_CONV-same": ("f32[N,4,5,3]", transposed("TRANSPOSE_CONV", (6, 3, 3, 3), 0, (7, 10, 6), "SAME")),
    "CONV_3D": ("f32[N,4,5,6,2]", conv("CONV_3D", (2, 3, 3, 2, 5), 5, (1, 2, 1), "SAME")),
    "CONV_3D_TRANSPOSE": (
        "f32[N,3,4,3,2]", transposed("CONV_3D_TRANSPOSE", (3, 3, 3, 5, 2), 0, (7, 9, 7, 5), "VALID")),
    "MAX_POOL_2D": ("f32[N,8,9,4]", kind("MAX_POOL_2D", **window((2, 1), "SAME", kernel=(3, 2)))),
    "MAX_POOL_2D-valid": ("f32[N,8,9,4]", kind("MAX_POOL_2D", **window((2, 2), "VALID", kernel=(3, 3)))),
    "AVERAGE_POOL_2D": ("f32[N,8,9,4]", kind("AVERAGE_POOL_2D", **window((2, 2), "SAME", kernel=(3, 3)))),
    "LOCAL_RESPONSE_NORMALIZATION": (
        "f32[N,4,5,8]", kind("LOCAL_RESPONSE_NORMALIZATION", radius=2, bias=1.5, alpha=0.3, beta=0.75)),
    # matrix products
    "FULLY_CONNECTED": ("f32[N,4]", kind("FULLY_CONNECTED", weights(6, 4), weights(6), activation="RELU")),
    "FULLY_CONNECTED-3d": ("f32[N,3,4]", kind("FULLY_CONNECTED", weights(6, 4), None, activation=None)),
    "FULLY_CONNECTED-two-unknown": ("f32[N,1,3,4]", lambda x: b.fully_connected(
        b.broadcast_to(x, (x.shape[0], x.shape[0], 3, 4)), weights(6, 4), weights(6))),
    "FULLY_CONNECTED-1d": ("f32[4]", kind("FULLY_CONNECTED", weights(6, 4), weights(6), activation=None)),
    "BATCH_MATMUL": ("f32[N,3,4] f32[N,4,5]", lambda x, y: b.matmul(x, y)),
    "BATCH_MATMUL-adj": ("f32[N,2,4,3] f32[2,5,4]", lambda x, y: b.matmul(x, y, adj_x=True, adj_y=True)),
    "RFFT2D": ("f32[N,1,8]", spectrum),
    # quantisation
    "QUANTIZE-i8": ("f32[N,3,4]", lambda x: b.quantize(x, quant(np.int8, 0.031, -5))),
    "QUANTIZE-u8": ("f32[N,3,4]", lambda x: b.quantize(x, quant(np.uint8, 0.031, 99))),
    "QUANTIZE-i16": ("f32[N,3,4]", lambda x: b.quantize(x, quant(np.int16, 0.0031, 0))),
    "DEQUANTIZE-i8": ("i8[N,3,4]-99:99", lambda x: b.dequantize(x, quant(np.int8, 0.031, -5))),
    "DEQUANTIZE-axis": ("i8[N,3,4]-99:99", lambda x: b.dequantize(x, PER_AXIS)),
    # control flow
    "IDENTITY": ("f32[N,3,4]", lambda x: b.emit("IDENTITY", x, shape=x.shape)),
    "IF": ("bool[] f32[N,4]", branch),
    "WHILE": ("i32[]3:4 f32[N,4]", loop),
    "WHILE-no-steps": ("i32[]0:1 f32[N,4]", loop),
    "WHILE-growing": ("f32[N,4]", growing),
}  # fmt: skip
for _flags in ((False, False), (True, False), (False, True)):
    for _name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        for _size in ((7, 5), (2, 9)):
            CASES[f"{_name}-{'x'.join(map(str, _size))}-{_flags[0]:d}{_flags[1]:d}"] = (
                "f32[N,4,6,3]",
                kind(_name, size=_size, align_corners=_flags[0], half_pixel_centers=_flags[1]),
            )
