"""Operations that a layer of Keras computes, with the layer.

A form looks at the operation and at its shapes, and gives None where the layer would compute something else: that
operation becomes a function of TensorFlow (``calls``).  Keras never moves the first axis of a tensor, so neither does
a layer here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import dims
from ...ir.dims import Dim, Expr
from ...ir.graph import Op, Value
from ...ir.kinds import KINDS
from .cropping import reshaped, sliced, split
from .reductions import largest, mean, smallest, total
from .steps import Form, KerasLayer, Node, Step, operand

ACTIVATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "RELU": ("ReLU", {}),
    "RELU6": ("ReLU", {"max_value": 6.0}),
    "TANH": ("Activation", {"activation": "tanh"}),
    "LOGISTIC": ("Activation", {"activation": "sigmoid"}),
    "EXP": ("Activation", {"activation": "exponential"}),
    "ELU": ("ELU", {"alpha": 1.0}),
}


def extent(dim: Dim) -> int | None:
    """An extent as Keras has it: None where it is only known at run time."""
    return None if isinstance(dim, Expr) else int(dim)


def _steps(op: Op) -> dict[str, object]:
    return {"strides": tuple(map(int, op.attrs["strides"])), "padding": op.attrs["padding"].lower()}


def _dilations(op: Op) -> tuple[int, ...]:
    return tuple(map(int, op.attrs.get("dilations") or (1,) * len(op.attrs["strides"])))


def _constants(op: Op) -> list[np.ndarray] | None:
    """Weights and, where there is one, bias; None where they are computed."""
    values = [v for v in op.inputs[1:] if v is not None]
    return None if any(v.data is None for v in values) else [v.data for v in values if v.data is not None]


# ------------------------------------------------------------------------------------------------ linear operators


def _convolution(name: str, op: Op, kernel: np.ndarray, window: Sequence[int], **config: object) -> Step | None:
    """``kernel`` as Keras has it, of these extents of its window."""
    strides, dilations = op.attrs["strides"], _dilations(op)
    constants = _constants(op)
    if constants is None or (max(strides) > 1 and max(dilations) > 1) or not isinstance(operand(op).shape[-1], int):
        return None
    form = {"kernel_size": tuple(map(int, window)), "dilation_rate": dilations, "use_bias": len(constants) > 1}
    return KerasLayer(name, [operand(op)], {**form, **_steps(op), **config}, [kernel, *constants[1:]])


def _conv_2d(op: Op) -> Step | None:
    weights = operand(op, 1).data
    if weights is None:
        return None
    out, *window, depth = weights.shape
    groups = int(operand(op).shape[-1]) // depth  # type: ignore[arg-type]
    kernel = np.moveaxis(weights, 0, -1)
    return _convolution(f"Conv{len(window)}D", op, kernel, window, filters=out, groups=groups)


def _depthwise(op: Op) -> Step | None:
    """Unequal strides exist in no kernel of TensorFlow for depthwise convolutions: a grouped one does it."""
    weights = operand(op, 1).data
    if weights is None:
        return None
    _, *window, out = weights.shape
    multiplier = op.attrs["multiplier"]
    if len(set(op.attrs["strides"])) > 1:
        kernel = weights.reshape(*window, 1, out)
        return _convolution("Conv2D", op, kernel, window, filters=out, groups=out // multiplier)
    kernel = weights.reshape(*window, out // multiplier, multiplier)
    return _convolution(f"DepthwiseConv{len(window)}D", op, kernel, window, depth_multiplier=multiplier)


def _conv_3d(op: Op) -> Step | None:
    weights = operand(op, 1).data
    if weights is None or set(_dilations(op)) != {1}:
        return None
    return _convolution("Conv3D", op, weights, weights.shape[:3], filters=weights.shape[4])


def _transposed(name: str, op: Op, kernel: np.ndarray) -> Step | None:
    """Keras derives the extents of the result from the padding: only where those are the ones."""
    *window, out, _ = kernel.shape
    x, y, strides = operand(op), op.outputs[0], op.attrs["strides"]
    beyond = [max(k - s, 0) if op.attrs["padding"] == "VALID" else 0 for k, s in zip(window, strides, strict=True)]
    usual = [d * s + b for d, s, b in zip(x.shape[1:-1], strides, beyond, strict=True)]
    if tuple(usual) != y.shape[1:-1] or x.shape[0] != y.shape[0]:
        return None
    return _convolution(name, op, kernel, window, filters=out)


def _transpose_conv(op: Op) -> Step | None:
    weights = operand(op, 1).data
    name = f"Conv{operand(op).rank - 2}DTranspose"
    return None if weights is None else _transposed(name, op, np.moveaxis(weights, 0, -2))


def _conv_3d_transpose(op: Op) -> Step | None:
    weights = operand(op, 1).data
    return None if weights is None or set(_dilations(op)) != {1} else _transposed("Conv3DTranspose", op, weights)


def _dense(op: Op) -> Step | None:
    constants, x = _constants(op), operand(op)
    if constants is None or x.rank < 2 or not isinstance(x.shape[-1], int):
        return None
    kernel, *bias = constants
    return KerasLayer("Dense", [x], {"units": len(kernel), "use_bias": bool(bias)}, [kernel.T, *bias])


def _dot(op: Op) -> Step | None:
    """Products of matrices of a batch: axes of extent 1 behind the first one are left out meanwhile."""
    pair, y = [operand(op), operand(op, 1)], op.outputs[0]
    if any(v.rank != y.rank or v.rank < 3 or set(v.shape[1:-2]) - {1} or v.shape[0] != y.shape[0] for v in pair):
        return None
    flat = [reshaped(v, v.shape, (v.shape[0], *v.shape[-2:])) for v in pair]
    if any(v.data is not None for v in pair) or None in flat:
        return None
    axes = (1 if op.attrs["adj_x"] else 2, 2 if op.attrs["adj_y"] else 1)
    product = KerasLayer("Dot", [v for v in flat if v is not None], {"axes": axes})
    return reshaped(product, (y.shape[0], *y.shape[-2:]), y.shape)  # type: ignore[return-value]


def _embedding(op: Op) -> Step | None:
    table, index = operand(op), operand(op, 1)
    rows = table.data is not None and table.rank == 2 and table.dtype == np.float32 and index.data is None
    if not rows or op.attrs["axis"] or op.attrs["batch_dims"] or not index.rank or table.data is None:
        return None
    count, width = table.data.shape
    cast = index.made_by("CAST")
    if cast is not None and operand(cast).dtype.kind in "iu" and operand(cast).dtype.itemsize < 4:
        index = operand(cast)  # the layer casts by itself
    return KerasLayer("Embedding", [index], {"input_dim": count, "output_dim": width}, [table.data])


# ------------------------------------------------------------------------------------------------ windows and images


def _pool(name: str) -> Form:
    return lambda op: KerasLayer(name, [operand(op)], {"pool_size": tuple(map(int, op.attrs["kernel"])), **_steps(op)})


def _resize(method: str) -> Form:
    def form(op: Op) -> Step | None:
        x, y = operand(op), op.outputs[0]
        factors = [dims.exact_div(b, a) for a, b in zip(x.shape[1:3], y.shape[1:3], strict=True)]
        whole = all(isinstance(f, int) and f > 0 for f in factors)
        centred = op.attrs["half_pixel_centers"]
        if whole and tuple(x.shape[1:3]) == (1, 1):  # one pixel, spread
            return KerasLayer("UpSampling2D", [x], {"size": tuple(factors)})
        if op.attrs["align_corners"] or not (centred or (method == "nearest" and whole)):
            return None  # whole factors: floor((i + 0.5) / f) = floor(i / f)
        if whole:
            return KerasLayer("UpSampling2D", [x], {"size": tuple(factors), "interpolation": method})
        height, width = (extent(d) for d in y.shape[1:3])
        if height is None or width is None:
            return None
        return KerasLayer("Resizing", [x], {"height": height, "width": width, "interpolation": method})

    return form


def _zero_padding(op: Op) -> Step | None:
    """An axis behind the last one is added where that one is padded."""
    x, y, pads = operand(op), op.outputs[0], op.attrs["pads"]
    if isinstance(pads, Value) or any(pads[0]):
        return None
    more = [1] if any(pads[-1]) or x.rank == 2 else []
    borders = tuple((int(low), int(high)) for low, high in (*pads[1:], *((0, 0) for _ in more)))[
        : x.rank - 2 + len(more)
    ]
    whole = reshaped(x, x.shape, (*x.shape, *more))
    if not 1 <= len(borders) <= 3 or whole is None:
        return None
    config = {"padding": borders if len(borders) > 1 else borders[0]}
    padded = KerasLayer(f"ZeroPadding{len(borders)}D", [whole], config)
    return reshaped(padded, (*y.shape, *more), y.shape)  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------ elementwise


def activation(name: str, x: Node) -> Step | None:
    """The layer of an activation, where there is one."""
    if name not in ACTIVATIONS:
        return None
    layer, config = ACTIVATIONS[name]
    return KerasLayer(layer, [x], config)


def _activation(op: Op) -> Step | None:
    return activation(op.kind.name, operand(op))


def _prelu(op: Op) -> Step | None:
    x, slope = operand(op), operand(op, 1)
    if slope.data is None or x.rank < 2:
        return None
    alpha = slope.data.reshape((1,) * (x.rank - slope.rank) + slope.data.shape)
    shared = [i for i, d in enumerate(alpha.shape) if d == 1 and i]
    if alpha.shape[0] != 1 or any(isinstance(d, Expr) for i, d in enumerate(x.shape) if i and i not in shared):
        return None
    return KerasLayer("PReLU", [x], {"shared_axes": shared}, [alpha[0]])


def _hard_swish(op: Op) -> Step:
    x = operand(op)
    gate = KerasLayer("ReLU", [KerasLayer("Rescaling", [x], {"scale": 1.0, "offset": 3.0})], {"max_value": 6.0})
    return KerasLayer("Multiply", [x, KerasLayer("Rescaling", [gate], {"scale": 1 / 6})])


def _merge(name: str) -> Form:
    """Keras aligns shapes of unequal rank from the left, numpy from the right."""

    def form(op: Op) -> Step | None:
        x, y = operand(op), operand(op, 1)
        apart = x.data is not None or y.data is not None
        if apart or x.rank != y.rank or not x.rank or x.shape[0] != y.shape[0] or x.dtype != np.float32:
            return None
        return KerasLayer(name, [x, y])

    return form


def _arithmetic(name: str, left: str, right: str) -> Form:
    """Two tensors, or a tensor and one number: ``left`` where that comes first; what it sets of scale * x + offset."""
    merge = _merge(name)

    def form(op: Op) -> Step | None:
        for number, x, sets in ((operand(op), operand(op, 1), left), (operand(op, 1), operand(op), right)):
            if number.data is None or number.data.size != 1 or number.rank > x.rank or x.dtype != np.float32:
                continue
            value = float(number.data.reshape(())[()])
            config = {"scale": 1.0, "offset": 0.0}
            for field in sets.split():
                config[field.strip("-")] = {"scale": value, "offset": value, "-scale": -1.0, "-offset": -value}[field]
            return KerasLayer("Rescaling", [x], config)
        return merge(op)

    return form


def _product(op: Op) -> Step | None:
    """Two tensors, a tensor and a number, a tensor and a constant along some of its axes."""
    return _scaled(op) or _arithmetic("Multiply", "scale", "scale")(op)


def _scaled(op: Op) -> Step | None:
    for x, c in ((operand(op), operand(op, 1)), (operand(op, 1), operand(op))):
        if (
            c.data is None
            or x.data is not None
            or c.size == 1
            or x.dtype != np.float32
            or x.shape != op.outputs[0].shape
        ):
            continue
        factor = c.data.reshape((1,) * (x.rank - c.rank) + c.data.shape)
        if factor.shape[0] != 1:
            continue
        axes = "".join(chr(ord("a") + i) for i in range(x.rank))
        used = "".join(a for a, d in zip(axes, factor.shape, strict=True) if d != 1)
        config = {"equation": f"{axes},{used}->{axes}", "output_shape": tuple(map(extent, x.shape[1:]))}
        return KerasLayer("EinsumDense", [x], config, [factor.squeeze()])
    return None


# ------------------------------------------------------------------------------------------------ movement


def _reshape(op: Op) -> Step | None:
    x, y = operand(op), op.outputs[0]
    if x.shape == y.shape and x.data is None:
        return x  # type: ignore[return-value]
    if not (x.rank and y.rank) or x.shape[0] != y.shape[0] or 0 in y.shape:
        return None
    target = [-1 if isinstance(d, Expr) else int(d) for d in y.shape[1:]]
    return KerasLayer("Reshape", [x], {"target_shape": tuple(target)}) if target.count(-1) < 2 else None


def _permute(op: Op) -> Step | None:
    perm = [int(axis) for axis in op.attrs["perm"]]
    return KerasLayer("Permute", [operand(op)], {"dims": tuple(perm[1:])}) if perm[0] == 0 and len(perm) > 1 else None


def _depth_to_space(op: Op) -> Step | None:
    """[n,h,w,b*b*c] as [n,h*b,w*b,c]; only one of the extents may be known at run time only."""
    x, y, block = operand(op), op.outputs[0], int(op.attrs["block"])
    (n, h, w, _), c = x.shape, y.shape[-1]
    apart = reshaped(x, x.shape, (n, h, w, block, block, c))
    if apart is None:
        return None
    moved = KerasLayer("Permute", [apart], {"dims": (1, 3, 2, 4, 5)})
    return reshaped(moved, (n, h, block, w, block, c), y.shape)  # type: ignore[return-value]


def _concatenate(op: Op) -> Step | None:
    parts = [operand(op, i) for i in range(len(op.inputs))]
    if len(parts) < 2 or any(v.data is not None for v in parts) or not op.attrs["axis"]:
        return None
    return KerasLayer("Concatenate", parts, {"axis": int(op.attrs["axis"])})


LAYERS: dict[str, Form] = {
    **dict.fromkeys(ACTIVATIONS, _activation),
    "ADD": _arithmetic("Add", "offset", "offset"),
    "SUB": _arithmetic("Subtract", "-scale offset", "-offset"),
    "MUL": _product,
    "MAXIMUM": _merge("Maximum"),
    "MINIMUM": _merge("Minimum"),
    "HARD_SWISH": _hard_swish,
    "GELU": lambda op: (
        None if op.attrs["approximate"] else KerasLayer("Activation", [operand(op)], {"activation": "gelu"})
    ),
    "LEAKY_RELU": lambda op: KerasLayer("LeakyReLU", [operand(op)], {"alpha": float(op.attrs["alpha"])}),
    "PRELU": _prelu,
    "SOFTMAX": lambda op: KerasLayer("Softmax", [operand(op)]) if operand(op).rank > 1 else None,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _conv_3d,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _dot,
    "SQUARE": lambda op: KerasLayer("Multiply", [operand(op)] * 2) if operand(op).rank > 1 else None,
    "GATHER": _embedding,
    "MAX_POOL_2D": _pool("MaxPooling2D"),
    "AVERAGE_POOL_2D": _pool("AveragePooling2D"),
    "MEAN": mean,
    "SUM": total,
    "REDUCE_MAX": largest,
    "REDUCE_MIN": smallest,
    "RESIZE_BILINEAR": _resize("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "PAD": _zero_padding,
    "SLICE": sliced,
    "SPLIT": split,
    "SPLIT_V": split,
    "RESHAPE": _reshape,
    "TRANSPOSE": _permute,
    "CONCATENATION": _concatenate,
    "DEPTH_TO_SPACE": _depth_to_space,
    "IDENTITY": lambda op: (
        KerasLayer("Activation", [operand(op)], {"activation": "linear"}) if operand(op).data is None else None
    ),
}

assert set(LAYERS) <= set(KINDS)
