"""Networks of torchvision as their constructors leave them: whole, of 224 x 224, with seeded weights of its own rules.

Convolutions are He-normal by what leaves them (``kaiming_normal_``, fan_out), normalisations do nothing but for their
epsilon, and are folded as exporters do it.  A depthwise layer so makes its numbers smaller by the root of half its
channels, and HardSwish of small numbers is nearly linear: for 8 bits these are easier than what training leaves
(``tests/quantization/nets.py``), and they are what others measure where they say "seeded weights".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from tests.quantization.nets import Net

EXTENT, CLASSES = 224, 1000


class Untrained(Net):
    """``epsilon``: of its normalisations."""

    def __init__(self, epsilon: float = 1e-5):
        super().__init__(0)
        self.epsilon = epsilon

    def weighted(self, shape: tuple[int, ...], groups: int) -> tuple[np.ndarray, np.ndarray]:
        deviation = math.sqrt(2 / (shape[0] * shape[2] * shape[3]) / (1 + self.epsilon))
        return self.rng.normal(0, deviation, shape), np.zeros(shape[0])

    def gated(self, x: str, c: int, squeezed: int, act: str, gate: str) -> str:
        """Squeeze and excitation."""
        s = self.conv(self.op("GlobalAveragePool", x), c, squeezed, 1, act=act)
        s = self.conv(s, squeezed, c, 1, act="")
        return self.op("Mul", x, self.op(gate, s, **({"alpha": 1 / 6} if gate == "HardSigmoid" else {})))

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


def mobilenet_v3_small() -> onnx.ModelProto:
    """HardSwish, squeeze and excitation."""
    net = Untrained(1e-3)
    x, c = net.conv("x", 3, 16, 3, 2, act="HardSwish"), 16
    for row in SMALL_V3.replace("\n", ";").split(";"):
        k, wide, o, squeezes, act, stride = row.split()
        gate = (_divisible(int(wide) // 4) if squeezes == "y" else 0, "Relu", "HardSigmoid")
        x, c = net.block(x, c, int(wide), int(o), int(k), int(stride), act, gate), int(o)
    x = net.pooled(net.conv(x, c, 576, 1, act="HardSwish"))
    return net.model(net.linear(net.op("HardSwish", net.linear(x, 576, 1024)), 1024, CLASSES), EXTENT, CLASSES)


def _inverted(table: str, act: str, gates: bool, deviation: float) -> onnx.ModelProto:
    net = Untrained()
    x, c = net.conv("x", 3, 32, 3, 2, act=act), 32
    for row in table.split(";"):
        ratio, k, o, blocks, first = map(int, row.split())
        for number in range(blocks):
            gate = (max(c // 4, 1) if gates else 0, act, "Sigmoid")
            x, c = net.block(x, c, c * ratio, o, k, 1 if number else first, act, gate), o
    x = net.pooled(net.conv(x, c, 1280, 1, act=act))
    return net.model(net.linear(x, 1280, CLASSES, deviation), EXTENT, CLASSES)


def mobilenet_v2() -> onnx.ModelProto:
    """ReLU6."""
    return _inverted(V2, "Relu6", False, 0.01)


def efficientnet_b0() -> onnx.ModelProto:
    """SiLU, squeeze and excitation."""
    return _inverted(B0, "Silu", True, 1 / math.sqrt(3 * CLASSES))


def resnet18() -> onnx.ModelProto:
    """Basic blocks behind a max-pool."""
    net = Untrained()
    x, c = net.conv("x", 3, 64, 7, 2), 64
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for o in (64, 128, 256, 512):
        for stride in (1 if o == 64 else 2, 1):
            h = net.conv(net.conv(x, c, o, 3, stride), o, o, act="")
            x = net.op("Relu", net.op("Add", h, net.conv(x, c, o, 1, stride, act="") if stride > 1 else x))
            c = o
    return net.model(net.linear(net.pooled(x), c, CLASSES, 1 / math.sqrt(3 * c)), EXTENT, CLASSES)


UNTRAINED: dict[str, Callable[[], onnx.ModelProto]] = {
    f"untrained_{f.__name__}": f for f in (mobilenet_v2, mobilenet_v3_small, resnet18, efficientnet_b0)
}
