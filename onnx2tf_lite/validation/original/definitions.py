"""Operators outside the standard in ONNX's own words, by their published definitions.

A definition is the text of nodes; the names in it are those of a node's operands and results, or its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx
from onnx import NodeProto, TensorProto, helper

from .nodes import attribute, changed

Shapes = dict[str, list[int | None]]


def spelled(text: str, ends: Mapping[str, str], stem: str) -> list[NodeProto]:
    """The nodes of a ``text`` whose names are ``ends``, or new ones that begin with ``stem``."""
    nodes = list(onnx.parser.parse_graph(f"g () => () {{ {text} }}").node)
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [ends.get(n, f"{stem}/{n}") if n else "" for n in names]
    return nodes


def _first(node: NodeProto) -> str:
    return next(str(n) for n in node.output if n)


# ------------------------------------------------------------------------------------------------ DynamicQuantizeLSTM

REAL = """
    spread = Constant<value_ints = [0, 1, -1]>()
    factor = Reshape(scale, spread)  middle = Reshape(zero, spread)
    whole = Cast<to = 1>(stored)  around = Cast<to = 1>(middle)
    away = Sub(whole, around)  columns = Mul(away, factor)
    real = Transpose<perm = [0, 2, 1]>(columns)
"""


def _lstm(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    """LSTM of the real numbers that its weights [D,I,4*H] stand for."""
    inputs, steps = list(node.input), []
    for place, scale in ((1, 8), (2, 10)):
        stem = f"{_first(node)}/{place}"
        ends = {"stored": inputs[place], "scale": inputs[scale], "zero": inputs[scale + 1]}
        steps += spelled(REAL, ends, stem)
        inputs[place] = f"{stem}/real"
    plain = changed(node, set())
    plain.op_type, plain.domain = "LSTM", ""
    del plain.input[:]
    plain.input.extend(inputs[:8])
    return [*steps, plain]


# ------------------------------------------------------------------------------------------------ first releases


def _scaled(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """ONNX gave ``alpha`` and ``beta`` no defaults, and ONNX Runtime asks for both; what is not given scales by 1."""
    given = {a.name for a in node.attribute}
    missing = dict.fromkeys({"alpha", "beta"} - given, 1.0)
    return [changed(node, set(), **missing)] if missing else None


# ------------------------------------------------------------------------------------------------ QONNX

NUMBERS = """
    zeros = Constant<value_float = 0.0>() one = Constant<value_float = 1.0>() two = Constant<value_float = 2.0>()
    half = Constant<value_float = 0.5>() minus = Neg(one)
    bits = Cast<to = 1>(width) rest = Sub(bits, one) size = Pow(two, {exponent})
    steps = Div(x, scale) sum = Add(steps, zero)
"""
RANGE = {
    1: "least = Neg(size) low = Add(least, narrow) high = Sub(size, one)",
    0: "low = Mul(bits, zeros) most = Sub(size, one) high = Sub(most, narrow)",
}
HELD = "above = Max(sum, low) held = Min(above, high) far = Abs(held) side = Sign(held)"
DOWN = "part = Floor(far) whole = Mul(side, part)"
ROUNDING = {
    "ROUND": "whole = Round(held)",
    "HALF_EVEN": "whole = Round(held)",
    "CEIL": "whole = Ceil(held)",
    "FLOOR": "whole = Floor(held)",
    "UP": "part = Ceil(far) whole = Mul(side, part)",
    "DOWN": DOWN,
    "ROUND_TO_ZERO": DOWN,
    "HALF_UP": "more = Add(far, half) part = Floor(more) whole = Mul(side, part)",
    "HALF_DOWN": "less = Sub(far, half) part = Ceil(less) whole = Mul(side, part)",
}
REAL_AGAIN = "from = Sub({kept}, zero) y = Mul(from, scale)"
#: One signed bit is the sign.
SIGN = """
    binary = Equal(bits, one) negative = Less(sum, zeros) bipolar = Where(negative, minus, one)
    kept = Where(binary, bipolar, whole)
"""


def _quant(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """(round(clip(x / scale + zero)) - zero) * scale."""
    mode, signed = attribute(node, "rounding_mode", b"ROUND").decode().upper(), attribute(node, "signed", 1)
    if mode not in ROUNDING:
        return None
    text = [NUMBERS.format(exponent="rest" if signed else "bits"), RANGE[signed], HELD, ROUNDING[mode]]
    text.insert(0, f"narrow = Constant<value_float = {float(attribute(node, 'narrow', 0))}>()")
    text += [SIGN] * signed + [REAL_AGAIN.format(kept="kept" if signed else "whole")]
    ends = zip(("x", "scale", "zero", "width", "y"), (*node.input, node.output[0]), strict=True)
    return spelled("\n".join(text), dict(ends), node.output[0])


def _bipolar_quant(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    """The scale with the sign of x, 0 counting as positive."""
    text = """
        zero = Constant<value_float = 0.0>() one = Constant<value_float = 1.0>() minus = Neg(one)
        negative = Less(x, zero) sign = Where(negative, minus, one) y = Mul(sign, scale)
    """
    return spelled(text, dict(zip(("x", "scale", "y"), (*node.input, *node.output), strict=True)), node.output[0])


# ------------------------------------------------------------------------------------------------ MatMulNBits

PACKED = """
    last = Constant<value_ints = [-1]>() rows = Constant<value_ints = [{rows}, -1]>()
    none = Constant<value_ints = [0]>() second = Constant<value_ints = [1]>()
    columns = Constant<value_ints = [{columns}]>()
    powers = Constant<value_floats = {powers}>() size = Constant<value_float = {size}>()
"""
#: numbers {0} [rows, ...], several in a byte
UNPACKED = """
    {0}_wide = Cast<to = 1>({0}) {0}_apart = Unsqueeze({0}_wide, last) {0}_down = Div({0}_apart, powers)
    {0}_whole = Floor({0}_down) {0}_low = Mod<fmod = 1>({0}_whole, size) {0}_real = Reshape({0}_low, rows)
"""
GATHERED = """
    w_all = Slice(w_real, none, columns, second) w_same = CastLike(w_all, scales)
    own = Slice(groups, none, columns) by_row = Reshape(scales, rows) factors = Gather<axis = 1>(by_row, own)
    {middle} away = Sub(w_same, middle) real = Mul(away, factors) weights = Transpose<perm = [1, 0]>(real)
"""
MIDDLE = {
    "": "half = Constant<value_float = {half}>() middle = CastLike(half, scales)",
    "packed": "z_same = CastLike(z_real, scales) middle = Gather<axis = 1>(z_same, own)",
    "whole": "z_rows = Reshape(z, rows) z_same = CastLike(z_rows, scales) middle = Gather<axis = 1>(z_same, own)",
}


def _nbits(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """The product with the real weights, where these have the scales of other blocks than they lie in."""
    operands = dict(zip(("x", "w", "scales", "z", "groups", "bias"), node.input, strict=False))
    if node.domain != "com.microsoft" or not operands.get("groups"):
        return None
    bits, rows, columns = (attribute(node, n, 4) for n in ("bits", "N", "K"))
    blocks = -(-columns // attribute(node, "block_size"))
    known = [d or 0 for d in shapes.get(operands["z"], [])]  # a byte has several numbers, or one, or they are floats
    form = "" if not operands["z"] else "whole" if blocks > 1 and math.prod(known) == rows * blocks else "packed"
    powers = [float(1 << n) for n in range(0, 8, bits)]
    text = [PACKED.format(rows=rows, columns=columns, powers=powers, size=float(1 << bits))]
    text += [UNPACKED.format("w"), UNPACKED.format("z") if form == "packed" else ""]
    text.append(GATHERED.format(middle=MIDDLE[form].format(half=float(1 << bits - 1))))
    text.append("z_x = MatMul(x, weights) y = Add(z_x, bias)" if operands.get("bias") else "y = MatMul(x, weights)")
    ends = {k: v for k, v in operands.items() if v} | {"y": node.output[0]}
    return spelled("\n".join(text), ends, node.output[0])


# ------------------------------------------------------------------------------------------------ GroupQueryAttention

COUNTS = """
    none = Constant<value_int = 0>()  one = Constant<value_int = 1>()  second = Constant<value_int = 2>()
    flat = Constant<value_ints = [-1]>()  far = Constant<value_int = 2147483647>()
    wide = Cast<to = 7>(last)  ends = Reshape(wide, flat)  count = Add(ends, one)
    extents = Shape(q)  steps = Gather(extents, one)  fresh = Min(count, {})
"""
#: a result {0} whose axis {1} holds tokens, with 0 behind the first {4} of them
CLEARED = """
    {0}_extents = Shape({0}_all)  {0}_size = Gather({0}_extents, {1})  {0}_range = Range(none, {0}_size, one)
    {0}_along = Constant<value_ints = {2}>()  {0}_apart = Constant<value_ints = {3}>()
    {0}_place = Reshape({0}_range, {0}_along)  {0}_end = Reshape({4}, {0}_apart)
    {0}_kept = Less({0}_place, {0}_end)  {0}_zero = {5}
    {0} = Where({0}_kept, {0}_all, {0}_zero)
"""
#: zeros of the type of a result {0}, by the bits of an integer in a cache (Trilu takes 16-bit floats, and no bytes)
ZERO = {0: "Trilu<upper = 1>({0}_all, far)", 8: "Cast<to = 3>(none)", 4: "Cast<to = 2>(none)"}
#: rows that a sliding cache of ``capacity`` keeps: it gives up ``once`` at a time
LEFT = """
    past_extents = Shape(past)  capacity = Gather(past_extents, second)
    less = Constant<value_int = {}>()  once = Sub(capacity, less)  nearly = Sub(once, one)
    over = Sub(count, capacity)  beyond = Max(over, none)  up = Add(beyond, nearly)  times = Div(up, once)
    gone = Mul(times, once)  left = Sub(count, gone)
"""
#: result -> the axis of its tokens, shapes for their places and for a number of each row of the batch, which number
TOKENS = {
    "y": ("one", [1, -1, 1], [-1, 1, 1], "fresh"),
    "key": ("second", [1, 1, -1, 1], [-1, 1, 1, 1], "left"),
    "value": ("second", [1, 1, -1, 1], [-1, 1, 1, 1], "left"),
    "scores": ("second", [1, 1, -1, 1], [-1, 1, 1, 1], "fresh"),
}


def _grouped(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """With zeros where the operator specifies nothing: results of padding, rows of caches behind the tokens."""
    if node.domain != "com.microsoft" or len(node.input) < 6:
        return None
    operands = dict(zip(("q", "k", "v", "past", "", "last"), node.input, strict=False))
    valid = node.input[16] if len(node.input) > 16 else ""
    stem, plain = _first(node), changed(node, set())
    plain.output[:] = [n and f"{stem}/{word}_all" for word, n in zip(TOKENS, node.output, strict=False)]
    text = [COUNTS.format("valid_wide") if valid else COUNTS.format("steps")]
    if valid:
        text.insert(0, "valid_wide = Cast<to = 7>(valid)")
    window = attribute(node, "local_window_size", -1) if attribute(node, "sliding_window_cache", 0) else 0
    text.append(LEFT.format(window - 1) if window else "left = Identity(count)")
    bits = attribute(node, "kv_cache_bit_width", 0)
    for word, name in zip(TOKENS, node.output, strict=False):
        zero = ZERO[bits if word in ("key", "value") else 0].format(word)
        text += [CLEARED.format(word, *TOKENS[word], zero)] if name else []
    ends = {**operands, "valid": valid, **dict(zip(TOKENS, node.output, strict=False))}
    return [plain, *spelled("\n".join(text), {k: v for k, v in ends.items() if v}, stem)]


# ------------------------------------------------------------------------------------------------ classes

#: Classifiers, and the attribute of their labels where these are integers.
LABELS = {
    "LinearClassifier": "classlabels_ints",
    "SVMClassifier": "classlabels_ints",
    "TreeEnsembleClassifier": "classlabels_int64s",
}
#: Operators whose first result has another type in other words.
TYPES = {"ZipMap": TensorProto.FLOAT, **dict.fromkeys(LABELS, TensorProto.INT64)}


def _classifier(node: NodeProto, shapes: Shapes) -> list[NodeProto] | None:
    """With the number of a class in the place of a text."""
    texts = attribute(node, "classlabels_strings")
    return [changed(node, {"classlabels_strings"}, **{LABELS[node.op_type]: range(len(texts))})] if texts else None


def _zip_map(node: NodeProto, shapes: Shapes) -> list[NodeProto]:
    return [helper.make_node("Identity", [node.input[0]], [node.output[0]])]


RULES: dict[str, Callable[[NodeProto, Shapes], list[NodeProto] | None]] = {
    "DynamicQuantizeLSTM": _lstm,
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar_quant,
    "MatMulNBits": _nbits,
    **dict.fromkeys(("ScaledTanh", "ParametricSoftplus"), _scaled),
    "GroupQueryAttention": _grouped,
    "ZipMap": _zip_map,
    **dict.fromkeys(LABELS, _classifier),
}
