"""Seeded networks of the shapes that vision users export, small enough to be made on the spot.

Weights are He-normal, and each BatchNormalization is folded as after training: every layer's results have a spread of
about one, those of a depthwise layer unequal from channel to channel, which is what makes them hard to quantise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A network under construction; every method appends a layer and returns the name of its result."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attrs: object) -> str:
        """A node of one result."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attrs))
        return name

    def const(self, array: np.ndarray) -> str:
        """A constant."""
        name = f"const{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weighted(self, shape: tuple[int, ...], groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights [output, input, height, width] and a bias [output] as after training."""
        w = self.rng.normal(size=shape) * np.sqrt(2 / math.prod(shape[1:]))
        if groups > 1:  # normalisation scales the channels apart
            w *= np.exp(self.rng.normal(0, 0.3, (shape[0], 1, 1, 1)))
        return w, self.rng.normal(0, 0.2, shape[0])

    def conv(self, x: str, i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1, act: str = "Relu") -> str:
        """A convolution with folded normalisation and an activation."""
        pads = [k // 2] * 4
        names = [self.const(a.astype(np.float32)) for a in self.weighted((o, i // groups, k, k), groups)]
        return self.act(self.op("Conv", x, *names, pads=pads, strides=[stride] * 2, group=groups), act)

    def act(self, x: str, kind: str) -> str:
        """An activation; Relu6 is a Clip, as exporters write it."""
        if kind == "Relu6":
            return self.op("Clip", x, self.const(np.float32(0)), self.const(np.float32(6)))
        if kind == "Silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        return self.op(kind, x) if kind else x

    def squeeze(self, x: str, c: int) -> str:
        """Squeeze and excitation."""
        s = self.conv(self.op("GlobalAveragePool", x), c, max(c // 4, 4), 1)
        return self.op("Mul", x, self.op("HardSigmoid", self.conv(s, max(c // 4, 4), c, 1, act="")))

    def norm(self, x: str, c: int) -> str:
        """LayerNormalization of the last axis."""
        scale, bias = self.rng.uniform(0.5, 1.5, c), self.rng.normal(0, 0.1, c)
        return self.op("LayerNormalization", x, *(self.const(a.astype(np.float32)) for a in (scale, bias)))

    def product(self, x: str, i: int, o: int) -> str:
        """By a matrix on the last axis."""
        return self.op("MatMul", x, self.const((self.rng.normal(size=(i, o)) / np.sqrt(i)).astype(np.float32)))

    def dense(self, x: str, i: int, o: int) -> str:
        """A layer on the last axis."""
        return self.op("Add", self.product(x, i, o), self.const(self.rng.normal(0, 0.1, o).astype(np.float32)))

    def gelu(self, x: str) -> str:
        """By the error function, as exporters write it."""
        erf = self.op("Erf", self.op("Div", x, self.const(np.float32(np.sqrt(2)))))
        return self.op(
            "Mul", self.op("Mul", x, self.op("Add", erf, self.const(np.float32(1)))), self.const(np.float32(0.5))
        )

    def head(self, x: str, c: int, classes: int = 100) -> str:
        """Global pool and a linear classifier."""
        w = self.const((self.rng.normal(size=(c, classes)) / np.sqrt(c)).astype(np.float32))
        bias = self.const(np.zeros(classes, np.float32))
        return self.op("Gemm", self.op("Flatten", self.op("GlobalAveragePool", x)), w, bias)

    def model(self, y: str, extent: int = 96, shape: tuple[int, ...] = (1, 100)) -> onnx.ModelProto:
        """From a picture ``x`` to ``y``."""
        info = helper.make_tensor_value_info
        ends = [info("x", TensorProto.FLOAT, [1, 3, extent, extent])], [info(y, TensorProto.FLOAT, list(shape))]
        graph = helper.make_graph(self.nodes, "net", *ends, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _inverted(net: Net, x: str, i: int, o: int, stride: int, act: str, se: bool = False, wide: int = 4) -> str:
    h = net.conv(x, i, i * wide, 1, act=act)
    h = net.conv(h, i * wide, i * wide, 3, stride, i * wide, act)
    h = net.squeeze(h, i * wide) if se else h
    h = net.conv(h, i * wide, o, 1, act="")
    return net.op("Add", x, h) if stride == 1 and i == o else h


def _mobile(act: str, se: bool, seed: int) -> onnx.ModelProto:
    net = Net(seed)
    x, c = net.conv("x", 3, 16, 3, 2, act=act), 16
    for o, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        x, c = _inverted(net, x, c, o, stride, act, se), o
    return net.model(net.head(net.conv(x, c, 256, 1, act=act), 256))


def mobilenet_v2() -> onnx.ModelProto:
    """Inverted residuals with ReLU6."""
    return _mobile("Relu6", False, 1)


def mobilenet_v3() -> onnx.ModelProto:
    """The same with squeeze and excitation, and HardSwish."""
    return _mobile("HardSwish", True, 2)


def efficientnet() -> onnx.ModelProto:
    """The same with SiLU."""
    return _mobile("Silu", True, 3)


def resnet() -> onnx.ModelProto:
    """Basic blocks behind a max-pool whose padding is minus infinity."""
    net = Net(4)
    x, c = net.conv("x", 3, 32, 7, 2), 32
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for o, stride in ((32, 1), (64, 2), (64, 1), (128, 2)):
        h = net.conv(net.conv(x, c, o, 3, stride), o, o, act="")
        x = net.op("Relu", net.op("Add", h, net.conv(x, c, o, 1, stride, act="") if stride > 1 or c != o else x))
        c = o
    return net.model(net.head(x, c))


def densenet() -> onnx.ModelProto:
    """Concatenations."""
    net = Net(5)
    x, c = net.conv("x", 3, 32, 3, 2), 32
    for _ in range(2):
        for _ in range(4):
            x = net.op("Concat", x, net.conv(net.conv(x, c, 64, 1), 64, 16), axis=1)
            c += 16
        x, c = net.conv(x, c, c // 2, 1), c // 2
        x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return net.model(net.head(x, c))


def shufflenet() -> onnx.ModelProto:
    """Split, shuffle, join."""
    net = Net(6)
    x, c, extent = net.conv("x", 3, 48, 3, 2), 48, 48
    for _ in range(4):
        half = c // 2
        net.nodes.append(helper.make_node("Split", [x], [f"{x}_a", f"{x}_b"], f"split_{x}", axis=1))
        h = net.conv(net.conv(f"{x}_b", half, half, 1), half, half, 3, 1, half, act="")
        joined = net.op("Concat", f"{x}_a", net.conv(h, half, half, 1), axis=1)
        apart = net.op("Reshape", joined, net.const(np.int64([1, 2, half, extent, extent])))
        shuffled = net.op("Transpose", apart, perm=[0, 2, 1, 3, 4])
        x = net.op("Reshape", shuffled, net.const(np.int64([1, c, extent, extent])))
    return net.model(net.head(x, c))


def convnext() -> onnx.ModelProto:
    """Depthwise 7 x 7, LayerNormalization over channels, GELU."""
    net, c = Net(7), 48
    x = net.conv("x", 3, c, 4, 4, act="")
    for _ in range(3):
        h = net.op("Transpose", net.conv(x, c, c, 7, 1, c, ""), perm=[0, 2, 3, 1])
        h = net.product(net.gelu(net.product(net.norm(h, c), c, 4 * c)), 4 * c, c)
        x = net.op("Add", x, net.op("Transpose", h, perm=[0, 3, 1, 2]))
    return net.model(net.head(x, c))


def vit() -> onnx.ModelProto:
    """ViT-tiny (192 channels, 3 heads, patches of 16) with 4 of its 12 blocks, as torch exports it."""
    net, c, heads, tokens = Net(8), 192, 3, 37
    patches = net.op("Conv", "x", net.const((net.rng.normal(size=(c, 3, 16, 16)) / np.sqrt(768)).astype(np.float32)),
                     net.const(np.zeros(c, np.float32)), kernel_shape=[16, 16], strides=[16, 16])  # fmt: skip
    rows = net.op("Transpose", net.op("Reshape", patches, net.const(np.int64([1, c, -1]))), perm=[0, 2, 1])
    first, places = (net.const(net.rng.normal(size=(1, n, c)).astype(np.float32)) for n in (1, tokens))
    x = net.op("Add", net.op("Concat", first, rows, axis=1), places)
    for _ in range(4):
        x = net.op("Add", x, _attention(net, net.norm(x, c), c, heads, tokens))
        x = net.op("Add", x, net.dense(net.gelu(net.dense(net.norm(x, c), c, 4 * c)), 4 * c, c))
    token = net.op("Gather", net.norm(x, c), net.const(np.int64(0)), axis=1)
    return net.model(net.dense(token, c, 100))


def _attention(net: Net, x: str, c: int, heads: int, tokens: int) -> str:
    apart = net.op("Reshape", net.dense(x, c, 3 * c), net.const(np.int64([1, tokens, 3, heads, c // heads])))
    parts = net.op("Transpose", apart, perm=[2, 0, 3, 1, 4])
    q, k, v = (net.op("Gather", parts, net.const(np.int64(i)), axis=0) for i in range(3))
    size = net.const(np.float32((c // heads) ** -0.25))  # of each of the two operands, as torch has it
    scores = net.op("MatMul", net.op("Mul", q, size), net.op("Mul", net.op("Transpose", k, perm=[0, 1, 3, 2]), size))
    seen = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    return net.dense(net.op("Reshape", seen, net.const(np.int64([1, tokens, c]))), c, c)


def _stages(net: Net, x: str, i: int, o: int) -> str:
    """Two halves of the channels, one of them through a residual block, and all of it joined (C2f)."""
    half = o // 2
    a, b = (net.conv(x, i, half, 1, act="Silu") for _ in range(2))
    deeper = net.op("Add", b, net.conv(net.conv(b, half, half, act="Silu"), half, half, act="Silu"))
    return net.conv(net.op("Concat", a, b, deeper, axis=1), 3 * half, o, 1, act="Silu")


def _pooled(net: Net, x: str, c: int) -> str:
    """Pools of growing windows, joined (SPPF)."""
    found = [net.conv(x, c, c // 2, 1, act="Silu")]
    for _ in range(3):
        found.append(net.op("MaxPool", found[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2]))
    return net.conv(net.op("Concat", *found, axis=1), 2 * c, c, 1, act="Silu")


def yolo(classes: int = 20, bins: int = 16) -> onnx.ModelProto:
    """A detector of two scales, with the distances of a box as expectations: [batch, 4 + class, place]."""
    net = Net(9)
    x = net.conv(net.conv("x", 3, 16, 3, 2, act="Silu"), 16, 32, 3, 2, act="Silu")
    fine = _stages(net, net.conv(x, 32, 64, 3, 2, act="Silu"), 64, 64)
    coarse = _pooled(net, _stages(net, net.conv(fine, 64, 96, 3, 2, act="Silu"), 96, 96), 96)
    large = net.op("Resize", coarse, "", net.const(np.float32([1, 1, 2, 2])), mode="nearest",
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    fine = _stages(net, net.op("Concat", fine, large, axis=1), 160, 64)
    ends = []
    for feature, c in ((fine, 64), (coarse, 96)):
        parts = [net.conv(net.conv(feature, c, 32, act="Silu"), 32, o, 1, act="") for o in (4 * bins, classes)]
        rows = net.const(np.int64([1, 4 * bins + classes, -1]))
        ends.append(net.op("Reshape", net.op("Concat", *parts, axis=1), rows))
    places = 12**2 + 6**2
    joined = net.op("Concat", *ends, axis=2)
    net.nodes.append(helper.make_node("Split", [joined, net.const(np.int64([4 * bins, classes]))],
                                      ["boxes", "scores"], "split", axis=1))  # fmt: skip
    apart = net.op("Reshape", "boxes", net.const(np.int64([1, 4, bins, places])))
    share = net.op("Softmax", net.op("Transpose", apart, perm=[0, 2, 1, 3]), axis=1)
    mean = net.op("Conv", share, net.const(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)))
    boxes = net.op("Reshape", mean, net.const(np.int64([1, 4, places])))
    found = net.op("Concat", boxes, net.op("Sigmoid", "scores"), axis=1)
    return net.model(found, shape=(1, 4 + classes, places))


NETS: dict[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f for f in (mobilenet_v2, mobilenet_v3, efficientnet, resnet, densenet, shufflenet, convnext, vit, yolo)
}
