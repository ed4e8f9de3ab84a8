"""Networks of torchvision, whole, of 224 x 224, with seeded weights by its own rules; torch is not needed.

Convolutions are He-normal by what leaves them (``kaiming_normal_``, fan_out), and normalisations are folded as
exporters do it.  There are three kinds, since decibels mean something else for each:

``untrained``   as constructors leave them: normalisations do nothing but for their epsilon.  A depthwise layer so makes
                its numbers smaller by the root of half its channels, gates and SiLU of small numbers halve them, down
                to 1e-14 at the end of EfficientNet-B0, and hardly anything is not linear.
``shifted``     statistics, scales and shifts at random, which torch can be told as well.  The shifts drown the picture:
                outputs differ by 2e-7 of themselves between pictures, so that decibels are of a constant.  The figures
                that others have for "seeded weights" are like these.
``normalised``  the statistics of what each normalisation is given on some pictures, as training leaves them, scales and
                shifts at random.  The picture arrives; but so does, larger from layer to layer, what rounding adds,
                which training would have made harmless.  The hardest of the three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.models.feeds import feeds
from tests.quantization.nets import Net

EXTENT, CLASSES = 224, 1000
PICTURES, SEED = 4, 1000  # of which normalisations have the statistics
OPSETS = [helper.make_opsetid("", 17)]


class Untrained(Net):
    """``epsilon``: of its normalisations."""

    def __init__(self, epsilon: float = 1e-5):
        super().__init__(0)
        self.epsilon = epsilon

    def weighted(self, shape: tuple[int, ...], groups: int) -> tuple[np.ndarray, np.ndarray]:
        return self.normal(shape) / math.sqrt(1 + self.epsilon), np.zeros(shape[0])

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """He-normal weights."""
        return self.rng.normal(0, math.sqrt(2 / (shape[0] * shape[2] * shape[3])), shape)

    def gated(self, x: str, c: int, squeezed: int, act: str, gate: str) -> str:
        """Squeeze and excitation."""
        s = self.act(self.pointwise(self.op("GlobalAveragePool", x), c, squeezed), act)
        s = self.pointwise(s, squeezed, c)
        return self.op("Mul", x, self.op(gate, s, **({"alpha": 1 / 6} if gate == "HardSigmoid" else {})))

    def pointwise(self, x: str, i: int, o: int) -> str:
        """A convolution of one place that nothing normalises."""
        w, bias = (self.const(a.astype(np.float32)) for a in (self.normal((o, i, 1, 1)), np.zeros(o)))
        return self.op("Conv", x, w, bias)

    def linear(self, x: str, i: int, o: int, deviation: float = 0.01) -> str:
        """A layer of normal weights without bias."""
        w = self.const(self.rng.normal(0, deviation, (i, o)).astype(np.float32))
        return self.op("Gemm", x, w, self.const(np.zeros(o, np.float32)))

    def pooled(self, x: str) -> str:
        """Means over all places."""
        return self.op("Flatten", self.op("GlobalAveragePool", x))

    def block(
        self, x: str, i: int, wide: int, o: int, k: int, stride: int, act: str, gate: tuple[int, str, str]
    ) -> str:
        """An inverted residual; ``gate``: channels (0: none), activation and function of squeeze and excitation."""
        h = self.conv(x, i, wide, 1, act=act) if wide != i else x
        h = self.conv(h, wide, wide, k, stride, wide, act)
        h = self.gated(h, wide, *gate) if gate[0] else h
        h = self.conv(h, wide, o, 1, act="")
        return self.op("Add", x, h) if stride == 1 and i == o else h


class Shifted(Untrained):
    """With statistics at random."""

    def weighted(self, shape: tuple[int, ...], groups: int) -> tuple[np.ndarray, np.ndarray]:
        weight, variance = self.rng.uniform(0.5, 1.5, (2, shape[0]))
        bias, mean = self.rng.normal(0, 0.1, (2, shape[0]))
        scale = weight / np.sqrt(variance + self.epsilon)
        return self.normal(shape) * scale.reshape(-1, 1, 1, 1), bias - mean * scale


class Normalised(Untrained):
    """Every node is computed as it is appended, on ``pictures``, so that normalisations know their statistics."""

    def __init__(self, epsilon: float = 1e-5):
        super().__init__(epsilon)
        spec = {"shape": [PICTURES, 3, EXTENT, EXTENT], "gen": "image", "layout": "NCHW", "lo": -2, "hi": 2}
        self.known = feeds([{"name": "x", "dtype": "float"}], {"x": spec}, SEED)

    def op(self, kind: str, *inputs: str, **attrs: object) -> str:
        """A node of one result."""
        name = super().op(kind, *inputs, **attrs)
        self.known[name] = self.computed(self.nodes[-1])
        return name

    def const(self, array: np.ndarray) -> str:
        """A constant."""
        name = super().const(array)
        self.known[name] = np.asarray(array)
        return name

    def computed(self, node: onnx.NodeProto) -> np.ndarray:
        """The result of a node."""
        import onnxruntime

        given = {name: self.known[name] for name in node.input}
        typed = [(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in given.items()]
        ends = [helper.make_tensor_value_info(*t) for t in typed], [onnx.ValueInfoProto(name=node.output[0])]
        model = helper.make_model(helper.make_graph([node], "node", *ends), ir_version=8, opset_imports=OPSETS)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, given)[0])

    def conv(self, x: str, i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1, act: str = "Relu") -> str:
        """A convolution with folded normalisation and an activation."""
        w = self.normal((o, i // groups, k, k))
        window: dict[str, Any] = {"pads": [k // 2] * 4, "strides": [stride] * 2, "group": groups}
        plain = self.computed(helper.make_node("Conv", [x, self.const(w.astype(np.float32))], ["y"], **window))
        self.weights.pop()
        scale = self.rng.uniform(0.5, 1.5, o) / np.sqrt(plain.var((0, 2, 3)) + self.epsilon)
        shift = self.rng.normal(0, 0.1, o) - plain.mean((0, 2, 3)) * scale
        names = [self.const(a.astype(np.float32)) for a in (w * scale.reshape(-1, 1, 1, 1), shift)]
        return self.act(self.op("Conv", x, *names, **window), act)


def _divisible(v: float) -> int:
    """The multiple of 8 that is nearest, but not a tenth less."""
    rounded = max(8, int(v + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * v else rounded


#: Window, wide and output channels, squeeze and excitation, activation, stride.
SMALL_V3 = """3 16 16 y Relu 2;3 72 24 n Relu 2;3 88 24 n Relu 1;5 96 40 y HardSwish 2;5 240 40 y HardSwish 1
5 240 40 y HardSwish 1;5 120 48 y HardSwish 1;5 144 48 y HardSwish 1;5 288 96 y HardSwish 2;5 576 96 y HardSwish 1
5 576 96 y HardSwish 1"""
#: Expansion, window, output channels, blocks, first stride.
V2 = "1 3 16 1 1;6 3 24 2 2;6 3 32 3 2;6 3 64 4 2;6 3 96 3 1;6 3 160 3 2;6 3 320 1 1"
B0 = "1 3 16 1 1;6 3 24 2 2;6 5 40 2 2;6 3 80 3 2;6 5 112 3 1;6 5 192 4 2;6 3 320 1 1"


def mobilenet_v3_small(kind: type[Untrained]) -> onnx.ModelProto:
    """HardSwish, squeeze and excitation."""
    net = kind(1e-3)
    x, c = net.conv("x", 3, 16, 3, 2, act="HardSwish"), 16
    for row in SMALL_V3.replace("\n", ";").split(";"):
        k, wide, o, squeezes, act, stride = row.split()
        gate = (_divisible(int(wide) // 4) if squeezes == "y" else 0, "Relu", "HardSigmoid")
        x, c = net.block(x, c, int(wide), int(o), int(k), int(stride), act, gate), int(o)
    x = net.pooled(net.conv(x, c, 576, 1, act="HardSwish"))
    return net.model(net.linear(net.op("HardSwish", net.linear(x, 576, 1024)), 1024, CLASSES), EXTENT, (1, CLASSES))


def _inverted(kind: type[Untrained], table: str, act: str, gates: bool, deviation: float) -> onnx.ModelProto:
    net = kind()
    x, c = net.conv("x", 3, 32, 3, 2, act=act), 32
    for row in table.split(";"):
        ratio, k, o, blocks, first = map(int, row.split())
        for number in range(blocks):
            gate = (max(c // 4, 1) if gates else 0, act, "Sigmoid")
            x, c = net.block(x, c, c * ratio, o, k, 1 if number else first, act, gate), o
    x = net.pooled(net.conv(x, c, 1280, 1, act=act))
    return net.model(net.linear(x, 1280, CLASSES, deviation), EXTENT, (1, CLASSES))


def mobilenet_v2(kind: type[Untrained]) -> onnx.ModelProto:
    """ReLU6."""
    return _inverted(kind, V2, "Relu6", False, 0.01)


def efficientnet_b0(kind: type[Untrained]) -> onnx.ModelProto:
    """SiLU, squeeze and excitation."""
    return _inverted(kind, B0, "Silu", True, 1 / math.sqrt(3 * CLASSES))


def resnet18(kind: type[Untrained]) -> onnx.ModelProto:
    """Basic blocks behind a max-pool."""
    net = kind()
    x, c = net.conv("x", 3, 64, 7, 2), 64
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for o in (64, 128, 256, 512):
        for stride in (1 if o == 64 else 2, 1):
            h = net.conv(net.conv(x, c, o, 3, stride), o, o, act="")
            x = net.op("Relu", net.op("Add", h, net.conv(x, c, o, 1, stride, act="") if stride > 1 else x))
            c = o
    return net.model(net.linear(net.pooled(x), c, CLASSES, 1 / math.sqrt(3 * c)), EXTENT, (1, CLASSES))


WHOLE = (mobilenet_v2, mobilenet_v3_small, resnet18, efficientnet_b0)
KINDS = (Untrained, Shifted, Normalised)
#: By kind and network, such as "untrained_resnet18".
UNTRAINED: dict[str, Callable[[], onnx.ModelProto]] = {
    f"{kind.__name__.lower()}_{f.__name__}": partial(f, kind) for kind in KINDS for f in WHOLE
}
