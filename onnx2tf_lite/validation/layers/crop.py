"""Smaller images for layers that compute every place alike: a convolution shows all its weights on a few of them.

An extent keeps its remainder by ``PERIOD``, so that strides meet the borders, and pads lie, as they do in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from ...ir.kinds import KINDS
from ..feeds.operands import Seen
from ..files.parted import Parted, Segment
from ..original.parts import ModelPart, Parts

PERIOD = 12  # of strides up to 4 and 6
WINDOWS = {"Conv", "MaxPool", "AveragePool"}
POINTWISE = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "HardSigmoid",
             "HardSwish", "Sigmoid", "Tanh", "Identity", "Concat", "Constant", "ConstantOfShape"}  # fmt: skip
ALIKE = WINDOWS | POINTWISE | {"BatchNormalization", "QuantizeLinear", "DequantizeLinear"}
#: The same in a file (RELU_0_TO_1 is none that we write).
KERNELS = {"RELU_0_TO_1"} | {kind.operator for kind in KINDS.values() if kind.is_local}


def smaller(model: Parts, part: ModelPart, file: Parted, segment: Segment, seen: Mapping[str, Seen]) -> int:
    """The least extent that shows all of a layer; 0 where it has to be run in full."""
    if not part.operators <= ALIKE or not all(file.operators[i].name in KERNELS for i in segment.operators):
        return 0
    shapes = {seen[n].shape for n in part.reads}
    if part.measured or any(len(s) != 4 for s in shapes) or len({s[2:] for s in shapes} - {(1, 1)}) != 1:
        return 0
    nodes = [model.nodes[i] for i in part.nodes]
    if not all(_alike(n, model) for n in nodes):
        return 0
    return max(PERIOD, *(_span(n, model) for n in nodes))


def _alike(node: onnx.NodeProto, model: Parts) -> bool:
    """True unless a constant has a value for every place, or channels are not what is joined."""
    if node.op_type == "Concat":
        return any(a.name == "axis" and a.i in (1, -3) for a in node.attribute)
    if node.op_type not in POINTWISE:
        return True
    constants = (tuple(model.weights[n].dims) for n in node.input if n in model.weights)
    return all(d == 1 for dims in constants for d in dims[-2:] if len(dims) > 1)


def _span(node: onnx.NodeProto, model: Parts) -> int:
    """The extent of the window of a node, holes included, and what it may have of pads."""
    if node.op_type not in WINDOWS:
        return 1
    attributes = {a.name: list(a.ints) for a in node.attribute}
    kernel = attributes.get("kernel_shape") or list(
        model.weights[node.input[1]].dims[2:] if len(node.input) > 1 and node.input[1] in model.weights else [PERIOD]
    )
    holes = attributes.get("dilations") or [1] * len(kernel)
    return int(max(d * (k - 1) + 1 for d, k in zip(holes, kernel, strict=True)) + max(attributes.get("pads") or [0]))


def cropped(seen: Seen, least: int) -> Seen:
    """The operand with extents of at least ``least``, where they are larger."""
    if not least or len(seen.shape) != 4:
        return seen
    return replace(seen, shape=(*seen.shape[:2], *(_less(d, least) for d in seen.shape[2:])), kept=None)


def _less(extent: int, least: int) -> int:
    return extent - max(extent - least, 0) // PERIOD * PERIOD
