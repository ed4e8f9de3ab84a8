"""Operations as functions of TensorFlow's public interface, for which no layer of Keras exists.

The functional API makes a layer of each (``TFOpLambda``) that loads wherever TensorFlow and Keras are.  It keeps array
arguments in the architecture, without their dtype and out of reach of an optimiser; so an operation that reads more
than one constant number goes the way of ``operation``.
"""

from __future__ import annotations

import numpy as np

from ...ir.graph import Op, Value
from ..saved_model.ops import TELLS, grown
from .steps import Form, FunctionCall, Step, operand


def _plain(value: object) -> object:
    """An argument that JSON keeps: numbers and lists; a run-time tensor as it is."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if isinstance(value, Value | bool | str | None) else int(value)  # type: ignore[call-overload]


def _operands(op: Op) -> list[object]:
    """Operands and attributes in the order in which the raw operator takes them."""
    order = op.kind.operands or range(len(op.inputs))
    return [_plain(op.attrs[i]) if isinstance(i, str) else op.inputs[i] for i in order]


def _named(name: str, **renamed: str) -> Form:
    """The function takes the operands of the raw operator; ``renamed``: its other parameters, by attribute."""
    return lambda op: FunctionCall(name, _operands(op), {key: _plain(op.attrs[attr]) for key, attr in renamed.items()})


def _reduced(name: str) -> Form:
    return lambda op: FunctionCall(
        name, [operand(op), _plain(op.attrs["axes"])], {"keepdims": bool(op.attrs["keepdims"])}
    )


def _arg(name: str) -> Form:
    return lambda op: FunctionCall(name, [operand(op), int(op.attrs["axis"])], {"output_type": op.attrs["to"].name})


def _clip(op: Op) -> Step:
    low, high = op.kind.limits
    return FunctionCall("clip_by_value", [operand(op), low, high])


def _broadcast_to(op: Op) -> Step | None:
    return FunctionCall("broadcast_to", _operands(op)) if len(grown(op)) <= TELLS else None


def _fully_connected(op: Op) -> Step | None:
    x, bias = operand(op), op.inputs[2] if len(op.inputs) > 2 else None
    if x.rank < 2:
        return None
    product = FunctionCall("matmul", [x, operand(op, 1)], {"transpose_b": True})
    return product if bias is None else FunctionCall("math.add", [product, bias])


def _strided_slice(op: Op) -> Step:
    bounds = [_plain(op.attrs[name]) for name in ("begin", "end", "strides")]
    return FunctionCall("strided_slice", [operand(op), *bounds], {"end_mask": op.kind.tf_attrs["end_mask"](op)})


def _resize(name: str) -> Form:
    flags = ("align_corners", "half_pixel_centers")
    return lambda op: FunctionCall(
        f"compat.v1.image.{name}", [operand(op), _plain(op.attrs["size"])], {n: bool(op.attrs[n]) for n in flags}
    )


#: Functions that take what the operator takes, in the same order.
_SAME = """
ABS=math.abs NEG=math.negative EXP=math.exp LOG=math.log SQRT=math.sqrt RSQRT=math.rsqrt
SIN=math.sin COS=math.cos SQUARE=math.square SIGN=math.sign FLOOR=math.floor CEIL=math.ceil
ROUND=math.round TANH=math.tanh LOGISTIC=math.sigmoid RELU=nn.relu RELU6=nn.relu6
LOGICAL_NOT=math.logical_not ADD=math.add SUB=math.subtract MUL=math.multiply MAXIMUM=math.maximum
MINIMUM=math.minimum POW=math.pow FLOOR_DIV=math.floordiv FLOOR_MOD=math.floormod
LOGICAL_AND=math.logical_and LOGICAL_OR=math.logical_or ATAN2=math.atan2
BITWISE_XOR=bitwise.bitwise_xor RIGHT_SHIFT=bitwise.right_shift STABLEHLO_AND=bitwise.bitwise_and
STABLEHLO_ADD=math.add STABLEHLO_MULTIPLY=math.multiply STABLEHLO_MAXIMUM=math.maximum
STABLEHLO_MINIMUM=math.minimum EQUAL=math.equal NOT_EQUAL=math.not_equal LESS=math.less
LESS_EQUAL=math.less_equal GREATER=math.greater GREATER_EQUAL=math.greater_equal SELECT_V2=where
SOFTMAX=nn.softmax LOG_SOFTMAX=nn.log_softmax TRANSPOSE=transpose RESHAPE=reshape SLICE=slice
PAD=pad TILE=tile REVERSE_V2=reverse SHAPE=shape FILL=fill REAL=math.real
IMAG=math.imag SQUARED_DIFFERENCE=math.squared_difference
"""
SAME = dict(pair.split("=") for pair in _SAME.split())

CALLS: dict[str, Form] = {
    **{kind: _named(name) for kind, name in SAME.items()},
    "DIV": lambda op: FunctionCall("math.divide" if op.outputs[0].dtype.kind == "f" else "truncatediv", op.inputs),
    "RELU_N1_TO_1": _clip,
    "GELU": lambda op: FunctionCall("nn.gelu", op.inputs, {"approximate": bool(op.attrs["approximate"])}),
    "LEAKY_RELU": lambda op: FunctionCall("nn.leaky_relu", op.inputs, {"alpha": float(op.attrs["alpha"])}),
    "MEAN": _reduced("math.reduce_mean"),
    "SUM": _reduced("math.reduce_sum"),
    "REDUCE_MAX": _reduced("math.reduce_max"),
    "REDUCE_MIN": _reduced("math.reduce_min"),
    "REDUCE_PROD": _reduced("math.reduce_prod"),
    "REDUCE_ANY": _reduced("math.reduce_any"),
    "REDUCE_ALL": _reduced("math.reduce_all"),
    "ARG_MAX": _arg("math.argmax"),
    "ARG_MIN": _arg("math.argmin"),
    "CUMSUM": _named("math.cumsum", exclusive="exclusive", reverse="reverse"),
    "CAST": lambda op: FunctionCall("cast", [operand(op), op.attrs["to"].name]),
    "CONCATENATION": lambda op: FunctionCall("concat", [list(op.inputs), int(op.attrs["axis"])]),
    "PACK": lambda op: FunctionCall("stack", [list(op.inputs)], {"axis": int(op.attrs["axis"])}),
    "SPLIT": lambda op: FunctionCall("split", [operand(op), len(op.outputs), int(op.attrs["axis"])]),
    "SPLIT_V": lambda op: FunctionCall("split", [operand(op), _plain(op.attrs["sizes"]), int(op.attrs["axis"])]),
    "GATHER": _named("gather", axis="axis", batch_dims="batch_dims"),
    "STRIDED_SLICE": _strided_slice,
    "MIRROR_PAD": lambda op: FunctionCall("pad", _operands(op), {"mode": op.kind.tf_attrs["mode"](op)}),
    "BROADCAST_TO": _broadcast_to,
    "PADV2": lambda op: FunctionCall(
        "pad", [operand(op), _plain(op.attrs["pads"])], {"constant_values": operand(op, 1)}
    ),
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": lambda op: FunctionCall(
        "matmul", op.inputs, {"transpose_a": op.attrs["adj_x"], "transpose_b": op.attrs["adj_y"]}
    ),
    "RESIZE_BILINEAR": _resize("resize_bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("resize_nearest_neighbor"),
    "DEPTH_TO_SPACE": _named("nn.depth_to_space", block_size="block"),
    "SPACE_TO_DEPTH": _named("nn.space_to_depth", block_size="block"),
    "REVERSE_SEQUENCE": _named("reverse_sequence", seq_axis="seq_dim", batch_axis="batch_dim"),
}


def call(op: Op) -> Step | None:
    """The function that computes what ``op`` does; None where there is none, or it would hide constants."""
    form = CALLS.get(op.kind.name)
    constants = [v for v in op.uses() if v.data is not None]
    if form is None or not all(map(_is_number, constants)) or len(constants) == len(op.uses()):
        return None
    return form(op)


def _is_number(value: Value) -> bool:
    """A constant that stays what it is as a number of Python."""
    return value.data is not None and value.data.size == 1 and value.dtype in (np.float32, np.int32, np.bool_)
