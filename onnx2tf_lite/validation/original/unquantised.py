"""A quantised model without its rounding: weights are the real numbers that they stand for.

What the two differ by is the quantisation noise of the model itself.  What saturates still does: quantisers leave an
activation to the range of its result.  Operators are those of ONNX and of ONNX Runtime's domain com.microsoft, by their
schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...record import record
from ..figures.measure import Array
from .nodes import attribute, changed, graphs
from .parts import rename


@record
class Quantised:
    """An operator on quantised tensors: ``operator`` is its counterpart on real numbers.

    Each of ``operands`` is the place of a tensor, behind which are its scale and its zero point, after the ``plain``
    ones; ``result`` is the place of the scale of the result, its zero point behind it; ``bias`` that of int32 ones in
    steps of the product of the scales.
    """

    operator: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    plain: int = 0


_TWO, _ONE = (0, 3), (0,)
OPERATORS = {
    "QLinearConv": Quantised("Conv", _TWO, 6, bias=8),
    "QLinearMatMul": Quantised("MatMul", _TWO, 6),
    "QGemm": Quantised("Gemm", _TWO, 7, bias=6),
    "QLinearAdd": Quantised("Add", _TWO, 6),
    "QLinearMul": Quantised("Mul", _TWO, 6),
    "QLinearWhere": Quantised("Where", (1, 4), 7, plain=1),
    "QLinearConcat": Quantised("Concat", (), 0),  # as many operands as are given, from 2 on
    "QLinearSigmoid": Quantised("Sigmoid", _ONE, 3),
    "QLinearLeakyRelu": Quantised("LeakyRelu", _ONE, 3),
    "QLinearSoftmax": Quantised("Softmax", _ONE, 3),
    "QLinearAveragePool": Quantised("AveragePool", _ONE, 3),
    "QLinearGlobalAveragePool": Quantised("GlobalAveragePool", _ONE, 3),
}
#: Operators on integers that are scaled afterwards -> what they are on real numbers.
INTEGERS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
#: Operators that choose among the elements of their first operand, whatever these stand for.
_SHAPES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "DepthToSpace", "SpaceToDepth"}
MOVES = _SHAPES | {"MaxPool", "Slice", "Gather", "Split", "Expand", "Tile"}
#: The result of one of these has the step of its input.
CARRIES = MOVES | {"Relu", "Clip", "Cast"}
NAMES = re.compile("Q[A-Z].*|.*Integer.*|(De|Dynamic)?[Qq]uantize.*")
ONE_AXIS = 13  # the opset since which Softmax is over one axis and not over all from there on


def unquantise(model: ModelProto) -> bool:
    """Change the model to one that does not round to integers; an output of integers becomes the places of the real
    numbers between them, in float32.

    False (and the message is of no use) where an operator quantises in a way that is not known here, or integers meet
    one of which it is not known what it makes of real numbers.
    """
    opset = next((e.version for e in model.opset_import if not e.domain), 1)
    steps: dict[str, list[str]] = {}
    for graph in graphs(model.graph):
        held = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        held |= {n.output[0]: numpy_helper.to_array(a.t) for n in graph.node for a in n.attribute if a.name == "value"}
        work = _Graph(held, opset, steps)
        nodes: list[NodeProto] = []
        for node in graph.node:
            made = work.node(node)
            if made is None:
                return False
            nodes += made
        for end in (t for t in graph.output if t.name in work.steps):
            levels = work.levels(end.name)
            if levels is None:
                return False
            for node in nodes:
                rename(node, {end.name: levels[0].input[0]})
                node.output[:] = [levels[0].input[0] if n == end.name else n for n in node.output]
            nodes += levels
            end.ClearField("type")
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in work.fresh.items())
    del model.graph.value_info[:]
    return True


@dataclass
class _Graph:
    """``held``: the constants; ``fresh``: new ones; ``steps``: tensor that was of integers, in any of the graphs -> the
    names of its scale and its zero point, none for products that are scaled afterwards."""

    held: Mapping[str, Array]
    opset: int
    steps: dict[str, list[str]]
    fresh: dict[str, Array] = field(default_factory=dict)

    def node(self, node: NodeProto) -> list[NodeProto] | None:
        """What stands for an operator; None where that is not known."""
        if not NAMES.fullmatch(node.op_type):
            return self.padded(node) if node.op_type == "Pad" else self.kept(node)
        if node.op_type == "QuantizeLinear":
            return self.saturated(node.input[0], node, 1)
        if node.op_type == "DequantizeLinear":
            return self.dequantised(node)
        if node.op_type == "DynamicQuantizeLinear":
            for name, value in zip(node.output[1:], (1.0, 0.0), strict=True):
                self.fresh[name] = np.array(value, np.float32)
            self.steps[node.output[0]] = list(node.output[1:])
            return [_identity(node.input[0], node)]
        if node.op_type in INTEGERS:
            return self.integers(node)
        kind = OPERATORS.get(node.op_type)
        return self.linear(node, kind) if kind else None

    def levels(self, name: str) -> list[NodeProto] | None:
        """The places between the integers of an output at which its real numbers are; None where no constants say."""
        given = [n for n in self.steps[name] if n]
        if not given or not set(given) <= set(self.held) or self.held[given[0]].size != 1:
            return None
        scale, zero = self.held[given[0]], self.held[given[1]] if len(given) > 1 else np.zeros(1)
        self.fresh[f"{name}/scale"] = scale.reshape(()).astype(np.float32)
        self.fresh[f"{name}/zero"] = zero.reshape(()).astype(np.float32)
        return [
            helper.make_node("Div", [f"{name}/real", f"{name}/scale"], [f"{name}/level"]),
            helper.make_node("Add", [f"{name}/level", f"{name}/zero"], [name]),
        ]

    def kept(self, node: NodeProto) -> list[NodeProto] | None:
        """An operator of the model, where it makes of real numbers what it makes of the integers for them."""
        read = [n for n in node.input if n in self.steps]
        if not read:
            return [node]
        if read != list(node.input[:1]):
            return None
        if node.op_type == "Cast":  # of what is scaled afterwards, by 1 for now
            scaled = not self.steps[read[0]] or self.steps[read[0]][0] in self.fresh
            return [node] if scaled and attribute(node, "to") == TensorProto.FLOAT else None
        if node.op_type not in MOVES and not _averages(node):
            return None
        self.steps |= dict.fromkeys(node.output, self.steps[read[0]])
        return [node]

    def padded(self, node: NodeProto) -> list[NodeProto] | None:
        """A border of the real number that its integer, 0 where none is given, stands for."""
        if node.input[0] not in self.steps:
            return [node]
        if attribute(node, "mode", b"constant") != b"constant":
            self.steps[node.output[0]] = self.steps[node.input[0]]
            return [node]
        values = [self.held.get(n) for n in (*node.input[2:3], *self.steps[node.input[0]]) if n]
        border = [] if len(node.input) > 2 and node.input[2] else [np.zeros((), np.int8)]
        known = [v.reshape(()) for v in [*border, *values] if v is not None and v.size == 1]
        if not self.steps[node.input[0]] or len(known) != len(border) + len(values) or len(node.input) < 2:
            return None
        made = changed(node, set())
        name = f"{node.output[0]}/border"
        self.fresh[name] = real_numbers(0, *known)
        del made.input[2:]
        made.input.extend([name, *node.input[3:]])
        self.steps[node.output[0]] = self.steps[node.input[0]]
        return [made]

    def dequantised(self, node: NodeProto) -> list[NodeProto] | None:
        """An operand of real numbers by now; a constant is what it stands for, and what is integers still stays."""
        if node.input[0] in self.steps:
            return [_identity(node.input[0], node)] if self.steps[node.input[0]] else None
        if node.input[0] not in self.held:
            return [node]
        real = self.real(node, 0, attribute(node, "axis", 1))
        return None if real is None else [_identity(real, node)]

    def integers(self, node: NodeProto) -> list[NodeProto] | None:
        """Products of integers less their zero points; their scale comes afterwards, in the model."""
        zero = self.held.get(node.input[3]) if len(node.input) > 3 and node.input[3] else np.zeros((), np.int8)
        weights, steps = self.held.get(node.input[1]), self.steps.get(node.input[0])
        if weights is None or zero is None or zero.size > 1 or not steps or steps[0] not in self.fresh:
            return None  # of a scale that is no constant, which is 1 here: others are not in the sum
        self.steps[node.output[0]] = []
        name = f"{node.output[0]}/real"
        self.fresh[name] = weights.astype(np.float32) - zero.astype(np.float32).reshape(())
        return [_renamed(node, INTEGERS[node.op_type], [node.input[0], name])]

    def linear(self, node: NodeProto, kind: Quantised) -> list[NodeProto] | None:
        """An operator with the scales of its operands and its result."""
        opset = attribute(node, "opset", self.opset)  # of a Softmax, the meaning of its axis
        if attribute(node, "channels_last", 0) or (opset < ONE_AXIS) != (self.opset < ONE_AXIS):
            return None
        by_rows = node.op_type == "QLinearConv" or bool(attribute(node, "transB", 0))
        places = kind.operands or range(2, len(node.input), 3)
        inputs = [*node.input[: kind.plain], *(self.real(node, place, 0 if by_rows else -1) for place in places)]
        if kind.bias is not None and len(node.input) > kind.bias and node.input[kind.bias]:
            inputs.append(self.bias(node, kind.bias))
        if any(n is None for n in inputs):
            return None
        made = _renamed(node, kind.operator, [n for n in inputs if n is not None])
        made.output[0] = f"{node.output[0]}/whole"
        return [made, *self.saturated(made.output[0], node, kind.result)]

    def saturated(self, name: str, node: NodeProto, place: int) -> list[NodeProto]:
        """A result within what the integers of the scale at ``place``, and the zero point behind it, reach."""
        self.steps[node.output[0]] = list(node.input[place : place + 2])
        scale, *zeros = (self.held.get(n) for n in node.input[place : place + 2])
        zero = zeros[0] if zeros else np.zeros((), np.uint8)
        if scale is None or zero is None or scale.size > 1:  # run-time parameters are chosen so that nothing saturates
            return [_identity(name, node)]
        ends = [np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max]
        low, high = (f"{node.output[0]}/{end}" for end in ("low", "high"))
        for end, integer in zip((low, high), ends, strict=True):
            self.fresh[end] = real_numbers(0, np.array(integer), scale.reshape(()), zero.reshape(()))
        above = f"{node.output[0]}/above"
        return [
            helper.make_node("Max", [name, low], [above]),
            helper.make_node("Min", [above, high], [node.output[0]]),
        ]

    def real(self, node: NodeProto, place: int, axis: int) -> str | None:
        """The real numbers of an operand, of a constant a new one; None where they are not known."""
        name = node.input[place]
        if name not in self.held:
            return str(name) if self.steps.get(name) else None  # else integers still
        given = [n for n in node.input[place : place + 3] if n]
        if not set(given) <= set(self.held):
            return None
        fresh = f"{node.output[0]}/real{place}"
        self.fresh[fresh] = real_numbers(axis, *(self.held[n] for n in given))
        return fresh

    def bias(self, node: NodeProto, place: int) -> str | None:
        """Of integers in steps of the product of the scales of both operands."""
        values = [self.held.get(node.input[i]) for i in (place, 1, 4)]
        if any(v is None for v in values):
            return None
        stored, *scales = (np.ravel(v) for v in values if v is not None)
        self.fresh[f"{node.output[0]}/bias"] = (stored * scales[0] * scales[1]).astype(np.float32)
        return f"{node.output[0]}/bias"


def _averages(node: NodeProto) -> bool:
    """Are results means of elements, by weights that add up to 1?  Such a mean of integers is the integer of the mean,
    but for its rounding."""
    outside = attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    return bool(node.op_type in ("Resize", "Upsample") and not outside)


def _identity(name: str, node: NodeProto) -> NodeProto:
    return helper.make_node("Identity", [name], [node.output[0]])


def _renamed(node: NodeProto, operator: str, inputs: list[str]) -> NodeProto:
    """With the attributes that the two have in common."""
    made = changed(node, {"opset", "channels_last"})
    made.op_type, made.domain = operator, ""
    del made.input[:]
    made.input.extend(inputs)
    return made


def real_numbers(axis: int, stored: Array, scale: Array, zero: Array | None = None) -> Array:
    """The float32 numbers ``(stored - zero) * scale`` that integers stand for, by one scale or one per slice of
    ``axis`` (ONNX, DequantizeLinear)."""

    def along(values: Array) -> Array:
        shape = [1] * stored.ndim
        if values.size > 1:
            shape[axis] = -1
        return values.reshape(shape if values.size > 1 else ())

    shifted = stored.astype(np.float32) - (0 if zero is None else along(zero.astype(np.float32)))
    return np.asarray(shifted * along(scale), np.float32)
