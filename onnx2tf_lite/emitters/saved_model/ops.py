"""TensorFlow's form of every IR operator that is not one raw op with the same operands (those are in ``ir.kinds``).

A counterpart is a function ``(f, op)`` that appends nodes to the function ``f`` and returns the result or results.
TensorFlow's CPU kernels are narrower than TFLite's: no depthwise convolution with dilation or unequal strides (a
grouped Conv2D does it), no dilated or grouped 3-D convolution (`legalize.dilation`; no handler makes one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt
from typing import Any

import numpy as np

from ...errors import ConversionError, Problem
from ...ir.dims import Expr
from ...ir.graph import Graph, Op, Quant, Value, short
from ...ir.kinds import KINDS
from .function import Function
from .nodes import Ref, datatype

Counterpart = Callable[[Function, Op], "Ref | list[Ref]"]
TELLS = 2  # axes that a broadcast can always let grow at once


def emit(f: Function, op: Op) -> list[Ref]:
    """The nodes of one operation; its results.  Raises ConversionError where TensorFlow has no form of it."""
    _refuse_integer_kernels(op)
    counterpart = COUNTERPARTS.get(op.kind.name)
    if counterpart is not None:
        found = counterpart(f, op)
        results = [found] if isinstance(found, Ref) else found
    elif op.kind.tensorflow:
        results = _same_operands(f, op, op.kind.tensorflow)
    else:
        raise _no_form(op, f"{op.kind.name} has no TensorFlow form")
    activation = op.attrs.get("activation")
    return [_activated(f, results[0], activation), *results[1:]] if activation else results


def _refuse_integer_kernels(op: Op) -> None:
    """TensorFlow would compute with the stored integers as if they were numbers."""
    for value in [op.inputs[i] for i in op.kind.typed_ports(op)] if op.kind.types else []:
        if value is not None and short(value.dtype) not in op.kind.types.split():
            raise _no_form(op, f"{op.kind.name} of {value} has no TensorFlow form")


def _no_form(op: Op, what: str) -> ConversionError:
    return ConversionError(Problem(str(op.origin or op), what, "write the .tflite file only"))


def _same_operands(f: Function, op: Op, name: str) -> list[Ref]:
    """A raw op that takes what the TFLite operator takes; ``tf_attrs`` names attributes, functions or constants."""
    order = op.kind.operands or range(len(op.inputs))
    operands = [f.attribute(op, i) if isinstance(i, str) else f(op.inputs[i]) for i in order]
    attrs = {n: s(op) if callable(s) else op.attrs[s] if isinstance(s, str) else s for n, s in op.kind.tf_attrs.items()}
    return f.add_all(name, operands, [v.dtype for v in op.outputs], **attrs)


def _activated(f: Function, x: Ref, name: str) -> Ref:
    clamp = KINDS[name]
    if clamp.tensorflow is not None:
        return f.add(clamp.tensorflow, x)
    return f.add("ClipByValue", x, *(f.const(limit, np.float32) for limit in clamp.limits))


# ------------------------------------------------------------------------------------------------ elementwise


def _hard_swish(f: Function, op: Op) -> Ref:
    x = f(op.inputs[0])
    gate = f.add("Relu6", f.add("AddV2", x, f.const(3, np.float32)))
    return f.add("Mul", f.add("Mul", x, gate), f.const(1 / 6, np.float32))


def _gelu(f: Function, op: Op) -> Ref:
    """x * Phi(x); Phi by the error function, or by tanh(sqrt(2/pi) (x + 0.044715 x^3))."""
    x = f(op.inputs[0])
    if op.attrs["approximate"]:
        cube = f.add("Mul", f.add("Mul", f.add("Square", x), x), f.const(0.044715, np.float32))
        s = f.add("Tanh", f.add("Mul", f.add("AddV2", x, cube), f.const(sqrt(2 / pi), np.float32)))
    else:
        s = f.add("Erf", f.add("Mul", x, f.const(sqrt(0.5), np.float32)))
    half = f.add("Mul", x, f.const(0.5, np.float32))
    return f.add("Mul", half, f.add("AddV2", s, f.const(1, np.float32)))


def _prelu(f: Function, op: Op) -> Ref:
    x, slope = map(f, op.inputs)
    return f.add("AddV2", f.add("Relu", x), f.add("Mul", slope, f.add("Minimum", x, f.const(0, np.float32))))


def _div(f: Function, op: Op) -> Ref:
    """Integers divide toward zero."""
    return f.add("RealDiv" if op.outputs[0].dtype.kind == "f" else "TruncateDiv", *map(f, op.inputs))


def _parameters(op: Op) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point as float32, in the shape that broadcasts along their axis."""
    quant: Quant = op.attrs["quant"]
    shape = () if quant.axis is None else [-1 if i == quant.axis else 1 for i in range(op.outputs[0].rank)]
    return quant.scale.astype(np.float32).reshape(shape), quant.zero_point.astype(np.float32).reshape(shape)


def _quantize(f: Function, op: Op) -> Ref:
    scale, zero = _parameters(op)
    stored = op.attrs["quant"].dtype
    info = np.iinfo(stored)
    x = f.add("AddV2", f.add("Round", f.add("RealDiv", f(op.inputs[0]), f.const(scale))), f.const(zero))
    x = f.add("ClipByValue", x, f.const(info.min, np.float32), f.const(info.max, np.float32))
    return f.add("Cast", x, DstT=stored)


def _dequantize(f: Function, op: Op) -> Ref:
    scale, zero = _parameters(op)
    x = f.add("Cast", f(op.inputs[0]), DstT=np.dtype(np.float32))
    return f.add("Mul", f.add("Sub", x, f.const(zero)), f.const(scale))


# ------------------------------------------------------------------------------------------------ windows


def _biased(f: Function, y: Ref, op: Op, kind: str = "BiasAdd") -> Ref:
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    return y if bias is None else f.add(kind, y, f(bias))


def _window(values: Sequence[int]) -> list[int]:
    """Spatial values with those of batch and channels."""
    return [1, *map(int, values), 1]


def _dilations(op: Op) -> tuple[int, ...]:
    return tuple(op.attrs.get("dilations") or (1,) * len(op.attrs["strides"]))


def _steps(op: Op) -> dict[str, Any]:
    return {"strides": _window(op.attrs["strides"]), "padding": op.attrs["padding"]}


def _conv(f: Function, op: Op, weights: Ref, depth: int) -> Ref:
    """Weights [KH,KW,depth,O]; TensorFlow reads the number of groups off the shapes.

    Its optimiser fuses BiasAdd into a kernel that does not know groups; a plain sum stays.
    """
    assert op.inputs[0] is not None
    y = f.add("Conv2D", f(op.inputs[0]), weights, **_steps(op), dilations=_window(_dilations(op)))
    return _biased(f, y, op, "BiasAdd" if op.inputs[0].shape[-1] == depth else "AddV2")


def _conv_2d(f: Function, op: Op) -> Ref:
    assert op.inputs[1] is not None
    return _conv(f, op, f.arranged(op.inputs[1], perm=(1, 2, 3, 0)), int(op.inputs[1].shape[3]))  # type: ignore[arg-type]


def _depthwise(f: Function, op: Op) -> Ref:
    """[1,KH,KW,C*m]: output channel c*m+i belongs to channel c, in a depthwise and in a grouped convolution alike."""
    weights = op.inputs[1]
    assert weights is not None
    _, h, w, channels = (int(d) for d in weights.shape)  # type: ignore[arg-type]
    if set(_dilations(op)) != {1} or len(set(op.attrs["strides"])) != 1:
        return _conv(f, op, f.arranged(weights, shape=(h, w, 1, channels)), 1)
    multiplier = op.attrs["multiplier"]
    kernel = f.arranged(weights, shape=(h, w, channels // multiplier, multiplier))
    y = f.add("DepthwiseConv2dNative", f(op.inputs[0]), kernel, **_steps(op))
    return _biased(f, y, op)


def _transpose_conv(f: Function, op: Op) -> Ref:
    """[O,KH,KW,C] as the weights [KH,KW,O,C] of the convolution whose gradient this is."""
    assert op.inputs[1] is not None
    shape, weights = f.attribute(op, "output_shape"), f.arranged(op.inputs[1], perm=(1, 2, 0, 3))
    y = f.add("Conv2DBackpropInput", shape, weights, f(op.inputs[0]), **_steps(op))
    return _biased(f, y, op)


def _kernel_3d(f: Function, op: Op) -> Ref:
    if set(_dilations(op)) != {1}:
        raise _no_form(op, "a dilated 3-D convolution has no TensorFlow form")
    return f(op.inputs[1])


def _conv_3d(f: Function, op: Op) -> Ref:
    y = f.add("Conv3D", f(op.inputs[0]), _kernel_3d(f, op), **_steps(op))
    return _biased(f, y, op)


def _conv_3d_transpose(f: Function, op: Op) -> Ref:
    shape = f.attribute(op, "output_shape")
    y = f.add("Conv3DBackpropInputV2", shape, _kernel_3d(f, op), f(op.inputs[0]), **_steps(op))
    return _biased(f, y, op)


def _pool(name: str) -> Counterpart:
    def pool(f: Function, op: Op) -> Ref:
        return f.add(name, f(op.inputs[0]), ksize=_window(op.attrs["kernel"]), **_steps(op))

    return pool


# ------------------------------------------------------------------------------------------------ matrix products


def _fully_connected(f: Function, op: Op) -> Ref:
    """x[...,I] weights[O,I]: one product of matrices where the leading extents can be restored, else a batched one."""
    x, weights = op.inputs[0], op.inputs[1]
    assert x is not None and weights is not None
    shape = [-1 if isinstance(d, Expr) else int(d) for d in op.outputs[0].shape]
    if x.rank > 2 and (shape.count(-1) > 1 or 0 in shape):
        return _biased(f, f.add("BatchMatMulV2", f(x), f(weights), adj_y=True), op)
    depth = weights.shape[1]
    rows = f(x) if x.rank == 2 else f.add("Reshape", f(x), f.const([-1, depth], np.int32))
    y = _biased(f, f.add("MatMul", rows, f(weights), transpose_b=True), op)
    return y if x.rank == 2 else f.add("Reshape", y, f.const(shape, np.int32))


# ------------------------------------------------------------------------------------------------ movement


def _concatenation(f: Function, op: Op) -> Ref:
    return f.add("ConcatV2", [f(v) for v in op.inputs], f.const(op.attrs["axis"], np.int32))


def _pack(f: Function, op: Op) -> Ref:
    return f.add("Pack", [f(v) for v in op.inputs], axis=op.attrs["axis"])


def _gather(f: Function, op: Op) -> Ref:
    data, index = map(f, op.inputs)
    return f.add("GatherV2", data, index, f.const(op.attrs["axis"], np.int32), batch_dims=op.attrs["batch_dims"])


def _dynamic_update_slice(f: Function, op: Op) -> Ref:
    """``update`` written into x at ``start``, which is moved so that it fits (StableHLO).

    One row is scattered, which ``tf.lite.TFLiteConverter`` has a form for.
    """
    x, update, start = op.inputs
    assert x is not None and update is not None and start is not None
    dtype = start.dtype
    size, extent = _shape(f, update, dtype), _shape(f, x, dtype)
    at = f.add("Minimum", f.add("Maximum", f(start), f.const(0, dtype)), f.add("Sub", extent, size))
    if update.shape == (1, *x.shape[1:]):
        row = f.add("Slice", at, f.const([0], np.int32), f.const([1], np.int32))
        return f.add("TensorScatterUpdate", f(x), f.add("Reshape", row, f.const([1, 1], np.int32)), f(update))
    ones = f.const(np.ones(x.rank, dtype))
    return f.add("TensorStridedSliceUpdate", f(x), at, f.add("AddV2", at, size), ones, f(update))


def _shape(f: Function, value: Value, dtype: np.dtype) -> Ref:
    if any(isinstance(d, Expr) for d in value.shape):
        return f.add("Shape", f(value), out_type=dtype)
    return f.const(np.array(value.shape, dtype))


def grown(op: Op) -> list[int]:
    """The axes that a broadcast makes longer, of a shape that is known."""
    x, shape = op.inputs[0], op.attrs["shape"]
    assert x is not None
    return [] if isinstance(shape, Value) else [axis for axis, d in enumerate(x.shape) if d != shape[axis]]


def _broadcast_to(f: Function, op: Op) -> Ref:
    """A few axes at a time: TensorFlow's kernel takes five runs of axes that grow, and that do not, at most."""
    x, axes = op.inputs[0], grown(op)
    assert x is not None
    result, made = f(x), list(x.shape)
    for first in range(0, len(axes) - TELLS, TELLS):
        for axis in axes[first : first + TELLS]:
            made[axis] = op.attrs["shape"][axis]
        result = f.add("BroadcastTo", result, f.const(made, np.int32))
    return f.add("BroadcastTo", result, f.attribute(op, "shape"))


# ------------------------------------------------------------------------------------------------ indexing


def _scatter(f: Function, op: Op) -> Ref:
    """x combined with updates at index vectors [..., depth]; one that is hit twice keeps the last."""
    x, index, updates = op.inputs
    assert x is not None and index is not None
    reduction = op.attrs["reduction"]
    if reduction != "mul":
        name = {"max": "TensorScatterMax", "min": "TensorScatterMin", "none": "TensorScatterUpdate"}[reduction]
        return f.add(name, *map(f, op.inputs))
    depth = int(index.shape[-1])  # type: ignore[arg-type]
    shape = _shape(f, x, index.dtype)
    indexed = f.add("Slice", shape, f.const([0], index.dtype), f.const([depth], index.dtype))
    first, last = f.const(0, np.int32), f.const(-1, np.int32)
    strides = f.add("Cumprod", indexed, first, exclusive=True, reverse=True)
    flat = f.add("Sum", f.add("Mul", f(index), strides), last)
    factors = f.add("UnsortedSegmentProd", f(updates), flat, f.add("Prod", indexed, first))
    return f.add("Mul", f(x), f.add("Reshape", factors, shape))


# ------------------------------------------------------------------------------------------------ control flow


def _if(f: Function, op: Op) -> list[Ref]:
    then, otherwise = (_body(f, op.attrs[n]) for n in ("then", "otherwise"))
    captured = list(then.captured | otherwise.captured)
    operands = [*map(f, op.inputs[1:]), *map(f.capture, captured)]
    kind = "If" if then.stateful or otherwise.stateful else "StatelessIf"
    types: dict[str, Any] = {
        "Tout": [datatype(v.dtype) for v in op.outputs],
        "output_shapes": [v.shape for v in op.outputs],
    }
    bodies: dict[str, Any] = {"then_branch": then.seal(captured), "else_branch": otherwise.seal(captured)}
    return f.add_all(kind, [f(op.inputs[0]), operands], **types, **bodies)


def _while(f: Function, op: Op) -> list[Ref]:
    """Variables that the bodies read are state that does not change."""
    condition, body = (_body(f, op.attrs[n]) for n in ("condition", "body"))
    captured = list(condition.captured | body.captured)
    operands = [*map(f, op.inputs), *map(f.capture, captured)]
    shapes = [v.shape for v in op.outputs] + [f.library.variables[n].shape for n in captured]
    kind = "While" if condition.stateful or body.stateful else "StatelessWhile"
    bodies: dict[str, Any] = {"cond": condition.seal(captured), "body": body.seal(captured, returned=True)}
    return f.add_all(kind, [operands], output_shapes=shapes, **bodies)[: len(op.outputs)]


def _body(f: Function, graph: Graph) -> Function:
    return Function(f.library, graph).build(emit)


COUNTERPARTS: dict[str, Counterpart] = {
    "RELU_N1_TO_1": lambda f, op: _activated(f, f(op.inputs[0]), "RELU_N1_TO_1"),
    "HARD_SWISH": _hard_swish,
    "GELU": _gelu,
    "PRELU": _prelu,
    "DIV": _div,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "MAX_POOL_2D": _pool("MaxPool"),
    "AVERAGE_POOL_2D": _pool("AvgPool"),
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "BROADCAST_TO": _broadcast_to,
    "GATHER": _gather,
    "IDENTITY": lambda f, op: f.add("Identity", f(op.inputs[0])),
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
    "STABLEHLO_SCATTER": _scatter,
    "IF": _if,
    "WHILE": _while,
}
