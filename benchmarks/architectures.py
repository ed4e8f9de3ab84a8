"""Networks as exporters write them, seeded and small: what benchmarks/latency.py converts.

A function of :data:`ARCHITECTURES` gets a :class:`Network` and the name of its input, and returns that of the output.
Those that were trained with parallel branches are built as trained, or (``deployed``) as re-parameterised by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.network import Network


def branches(
    net: Network, x: str, cin: int, cout: int, kernels: list[Any], stride: int = 1, groups: int = 1, skip: bool = True
) -> str:
    """The sum of convolutions and, where it fits, the identity, each with BatchNormalization; deployed: one of them."""
    if net.deployed:
        largest = [max(k if isinstance(k, int) else max(k) for k in kernels)] * 2
        return net.conv(x, cin, cout, largest, stride, groups)
    terms = [net.bn(net.conv(x, cin, cout, k, stride, groups, bias=False), cout) for k in kernels]
    if skip and cin == cout and stride == 1:
        terms.append(net.bn(x, cin))
    return net.total(*terms)


def mobileone(net: Network, x: str) -> str:
    c = 48
    x = net.op("Relu", branches(net, x, 3, c, [3, 1], 2))
    for cout, stride in ((48, 2), (48, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1)):
        x = net.op("Relu", branches(net, x, c, c, [3, 3, 3, 3, 1], stride, c))
        x, c = net.op("Relu", branches(net, x, c, cout, [1, 1, 1, 1])), cout
    return x


def repvgg(net: Network, x: str) -> str:
    c = 3
    for cout, stride in ((32, 2), (32, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1)):
        x, c = net.op("Relu", branches(net, x, c, cout, [3, 1], stride)), cout
    return x


def yolo_rep(net: Network, x: str) -> str:
    x, c = net.silu(net.conv(x, 3, 32, 3, 2)), 32
    for cout in (64, 96):
        x, c = net.silu(net.conv(x, c, cout, 3, 2)), cout
        half = c // 2
        a, b = net.silu(net.conv(x, c, half, 1)), net.silu(net.conv(x, c, half, 1))
        for _ in range(2):
            b = net.silu(branches(net, b, half, half, [3, 1]))
        x = net.silu(net.conv(net.op("Concat", a, b, axis=1), c, c, 1))
    return x


def repvit(net: Network, x: str) -> str:
    x, c = net.conv(x, 3, 48, 3, 2), 48
    for _ in range(4):
        x = branches(net, x, c, c, [3, 1], 1, c)
        y = net.conv(net.gelu(net.conv(x, c, 2 * c, 1)), 2 * c, c, 1)
        x = net.op("Add", x, y)
    return x


def fastvit(net: Network, x: str) -> str:
    """x + scale * (mixer(norm(x)) - norm(x)), then the convolutional feed-forward part."""
    x, c = net.conv(x, 3, 48, 3, 4), 48
    for _ in range(4):
        if net.deployed:
            x = net.conv(x, c, c, 3, 1, c)
        else:
            mixed = net.op("Sub", branches(net, x, c, c, [3, 1], 1, c), net.bn(x, c))
            x = net.op("Add", x, net.op("Mul", net.vector(c, 1, 1), mixed))
        y = net.conv(net.gelu(net.conv(net.conv(x, c, c, 7, 1, c), c, 3 * c, 1)), 3 * c, c, 1)
        x = net.op("Add", x, y)
    return x


def asymmetric(net: Network, x: str) -> str:
    x, c = net.op("Relu", net.conv(x, 3, 32, 3, 2)), 32
    for _ in range(5):
        x = net.op("Relu", branches(net, x, c, c, [3, (1, 3), (3, 1)], skip=False))
    return x


def linear_chains(net: Network, x: str) -> str:
    """1 x 1 convolutions without an activation between them, as distillation and low-rank training leave them."""
    x, c = net.op("Relu", net.conv(x, 3, 48, 3, 2)), 48
    for _ in range(4):
        x = net.conv(x, c, c, 1) if net.deployed else net.conv(net.conv(x, c, c, 1), c, c, 1)
        x = net.op("Relu", net.conv(net.op("Relu", x), c, c, 3, 1, c))
    return x


# -- normalised by groups ---------------------------------------------------------------------------------------------
def group_norm_resnet(net: Network, x: str) -> str:
    x, c, size = net.conv(x, 3, 32, 3, 2), 32, 56
    for cout, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        size //= stride
        shape = (1, cout, size, size)
        y = net.op("Relu", net.group_norm(net.conv(x, c, cout, 3, stride), shape, 8))
        y = net.group_norm(net.conv(y, cout, cout, 3), shape, 8)
        x = x if c == cout and stride == 1 else net.conv(x, c, cout, 1, stride)
        x, c = net.op("Relu", net.op("Add", x, y)), cout
    return x


def diffusion_unet(net: Network, x: str) -> str:
    x, c, size = net.conv(x, 4, 32, 3), 32, 32
    kept = []
    for cout in (32, 64, 64):
        shape = (1, cout, size, size)
        x = x if c == cout else net.conv(x, c, cout, 1)
        y = net.conv(net.silu(net.group_norm(x, shape, 8)), cout, cout)
        y = net.conv(net.silu(net.group_norm(y, shape, 8)), cout, cout)
        x, c = net.op("Add", x, y), cout
        kept.append(x)
        x, size = net.conv(x, c, c, 3, 2), size // 2
    for skip in kept[::-1]:
        size *= 2
        x = net.op("Resize", x, "", net.const([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
                   coordinate_transformation_mode="asymmetric")  # fmt: skip
        width = 32 if skip is kept[0] else 64
        x = net.conv(net.op("Concat", x, skip, axis=1), c + width, 64)
        x, c = net.silu(net.group_norm(x, (1, 64, size, size), 8)), 64
    return x


def speech_conv(net: Network, x: str) -> str:
    """1-D convolutions with GroupNorm of one group and GELU."""
    c, size = 1, 4000
    for cout, stride in ((64, 5), (64, 2), (64, 2), (64, 2)):
        size = -(-size // stride)
        x = net.gelu(net.group_norm(net.conv(x, c, cout, (3,), stride), (1, cout, size), 1))
        c = cout
    return x


# -- attention --------------------------------------------------------------------------------------------------------
def vit(net: Network, x: str) -> str:
    e, s = 96, 196
    x = net.op("Conv", x, net.weights(e, 3, 8, 8), net.vector(e), strides=[8, 8])
    x = net.op("Transpose", net.op("Reshape", x, net.ints(1, e, s)), perm=[0, 2, 1])
    for _ in range(3):
        x = net.op("Add", x, net.attention(net.layer_norm(x, e), (1, s, e), 3))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


def vit_classifier(net: Network, x: str) -> str:
    """The same with a token for the class, the only one that is read in the end, as DeiT and timm's ViT have it."""
    e, s = 96, 197
    x = net.op("Conv", x, net.weights(e, 3, 8, 8), net.vector(e), strides=[8, 8])
    x = net.op("Transpose", net.op("Reshape", x, net.ints(1, e, s - 1)), perm=[0, 2, 1])
    x = net.op("Add", net.op("Concat", net.weights(1, 1, e), x, axis=1), net.weights(1, s, e))
    for _ in range(3):
        x = net.op("Add", x, net.attention(net.layer_norm(x, e), (1, s, e), 3))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    x = net.op("Gather", net.layer_norm(x, e), net.const(0, np.int64), axis=1)
    return net.op("Gemm", x, net.weights(100, e), net.vector(100), transB=1)


def vit_sdpa(net: Network, x: str) -> str:
    """As PyTorch decomposes scaled_dot_product_attention: scales on q and k, a guard behind the softmax."""
    e, s = 64, 256
    for _ in range(3):
        x = net.op("Add", x, net.attention(net.layer_norm(x, e), (1, s, e), 4, guard=True, sdpa=True))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


def vit_qkv(net: Network, x: str) -> str:
    """q, k and v of one product, as timm has it, with a scale on q and on k."""
    e, s, count = 96, 256, 3
    scale = net.const((e // count) ** -0.25)
    for _ in range(3):
        joined = net.linear(net.layer_norm(x, e), e, 3 * e)
        seen = net.op(
            "Transpose", net.op("Reshape", joined, net.ints(1, s, 3, count, e // count)), perm=[2, 0, 3, 1, 4]
        )
        q, k, v = (net.op("Gather", seen, net.const(i, np.int64), axis=0) for i in range(3))
        k = net.op("Mul", net.op("Transpose", k, perm=[0, 1, 3, 2]), scale)
        chance = net.op("Softmax", net.op("MatMul", net.op("Mul", q, scale), k), axis=-1)
        mixed = net.op("Transpose", net.op("MatMul", chance, v), perm=[0, 2, 1, 3])
        x = net.op("Add", x, net.linear(net.op("Reshape", mixed, net.ints(1, s, e)), e, e))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


def decoder(net: Network, x: str) -> str:
    e, s = 64, 192
    mask = net.const(np.triu(np.full((1, 1, s, s), -np.inf), 1))
    for _ in range(3):
        x = net.op("Add", x, net.attention(net.layer_norm(x, e), (1, s, e), 4, mask=mask, guard=True, sdpa=True))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


def encoder_post_norm(net: Network, x: str) -> str:
    e, s = 64, 256
    for _ in range(3):
        x = net.layer_norm(net.op("Add", x, net.attention(x, (1, s, e), 4)), e)
        x = net.layer_norm(net.op("Add", x, net.mlp(x, e)), e)
    return x


def encoder_classifier(net: Network, x: str) -> str:
    """The same with BERT's pooler: a dense layer and tanh of the first token."""
    e = 64
    x = net.op("Gather", encoder_post_norm(net, x), net.const(0, np.int64), axis=1)
    x = net.op("Tanh", net.op("Gemm", x, net.weights(e, e), net.vector(e), transB=1))
    return net.op("Gemm", x, net.weights(2, e), net.vector(2), transB=1)


def windows(net: Network, x: str) -> str:
    """Window attention on batches of 49 positions, with a bias on the scores."""
    e, s, n = 64, 49, 16
    bias = net.const(np.random.default_rng(1).standard_normal((1, 4, s, s)))
    for _ in range(3):
        x = net.op("Add", x, net.attention(net.layer_norm(x, e), (n, s, e), 4, mask=bias))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


def mixer(net: Network, x: str) -> str:
    e, s = 96, 196
    for _ in range(3):
        t = net.op("Transpose", net.layer_norm(x, e), perm=[0, 2, 1])
        x = net.op("Add", x, net.op("Transpose", net.mlp(t, s, 1), perm=[0, 2, 1]))
        x = net.op("Add", x, net.mlp(net.layer_norm(x, e), e))
    return x


# -- others -----------------------------------------------------------------------------------------------------------
def convnext(net: Network, x: str) -> str:
    x, c = net.op("Conv", x, net.weights(48, 3, 4, 4), net.vector(48), strides=[4, 4]), 48
    for _ in range(3):
        y = net.op("Transpose", net.conv(x, c, c, 7, 1, c), perm=[0, 2, 3, 1])
        y = net.op("Mul", net.mlp(net.layer_norm(y, c), c, 4), net.vector(c))
        x = net.op("Add", x, net.op("Transpose", y, perm=[0, 3, 1, 2]))
    return x


def temporal(net: Network, x: str) -> str:
    c = 16
    for cout in (32, 32, 64, 64):
        x, c = net.op("Relu", net.conv(x, c, cout, (3,))), cout
    return x


def causal(net: Network, x: str) -> str:
    """A temporal convolutional network: padded on both sides, cut behind, with a residual."""
    c = 32
    x = net.conv(x, 16, c, (1,))
    for step in (1, 2, 4, 8):
        y = net.op("Conv", x, net.weights(c, c, 3), net.vector(c), pads=[2 * step] * 2, dilations=[step])
        x = net.op("Add", x, net.op("Relu", net.op("Slice", y, net.ints(0), net.ints(-2 * step), net.ints(2))))
    return x


def gated(net: Network, x: str) -> str:
    """Convolutions of which one half gates the other."""
    x, c = net.conv(x, 3, 32, 3, 2), 32
    for cout in (64, 64, 64):
        a, b = net.op("Split", net.conv(x, c, 2 * cout, 1), net.ints(cout, cout), results=2, axis=1)
        x, c = net.op("Mul", a, net.op("Sigmoid", b)), cout
    return x


def resnet(net: Network, x: str) -> str:
    x, c = net.op("Relu", net.bn(net.conv(x, 3, 32, 7, 2, bias=False), 32)), 32
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for cout, stride in ((32, 1), (64, 2), (128, 2)):
        y = net.op("Relu", net.bn(net.conv(x, c, cout, 3, stride, bias=False), cout))
        y = net.bn(net.conv(y, cout, cout, bias=False), cout)
        x = x if c == cout and stride == 1 else net.bn(net.conv(x, c, cout, 1, stride, bias=False), cout)
        x, c = net.op("Relu", net.op("Add", x, y)), cout
    return x


#: Table 2 of the paper: expansion, output channels, repeats, stride of the first.
MOBILENET_V2 = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def mobilenet_v2(net: Network, x: str) -> str:
    """MobileNetV2 (Sandler et al. 2018) at width 1, with BatchNormalization folded as torch's exporter does it."""

    def relu6(x: str) -> str:
        return net.op("Clip", x, net.const(0.0), net.const(6.0))

    x, c = relu6(net.conv(x, 3, 32, 3, 2)), 32
    for expansion, cout, repeats, first in MOBILENET_V2:
        for stride in [first] + [1] * (repeats - 1):
            wide = expansion * c
            y = relu6(net.conv(x, c, wide, 1)) if expansion > 1 else x
            y = net.conv(relu6(net.conv(y, wide, wide, 3, stride, wide)), wide, cout, 1)
            x, c = net.op("Add", x, y) if c == cout and stride == 1 else y, cout
    features = net.op("Flatten", net.op("GlobalAveragePool", relu6(net.conv(x, c, 1280, 1))))
    return net.op("Gemm", features, net.weights(1000, 1280), net.vector(1000), transB=1)


def squeeze_excite(net: Network, x: str) -> str:
    x, c = net.op("Relu", net.conv(x, 3, 48, 3, 2)), 48
    for _ in range(4):
        y = net.op("Relu", net.conv(x, c, c, 3, 1, c))
        gate = net.conv(net.op("Relu", net.conv(net.op("GlobalAveragePool", y), c, c // 4, 1)), c // 4, c, 1)
        y = net.op("Mul", y, net.op("HardSigmoid", gate, alpha=1 / 6))
        x = net.op("Add", x, net.conv(y, c, c, 1))
    return x


def densenet(net: Network, x: str) -> str:
    x, c = net.conv(x, 3, 32, 3, 2), 32
    for _ in range(4):
        y = net.conv(net.op("Relu", net.bn(x, c)), c, 48, 1, bias=False)
        y = net.conv(net.op("Relu", net.bn(y, 48)), 48, 16, bias=False)
        x, c = net.op("Concat", x, y, axis=1), c + 16
    return x


def super_resolution(net: Network, x: str) -> str:
    x = net.op("Tanh", net.conv(x, 1, 32, 5))
    x = net.op("Tanh", net.conv(x, 32, 32, 3))
    return net.conv(net.op("DepthToSpace", net.conv(x, 32, 32, 3), blocksize=2, mode="CRD"), 8, 3, 3)


def shufflenet(net: Network, x: str) -> str:
    x, c, size = net.op("Relu", net.conv(x, 3, 48, 3, 2)), 48, 56
    for _ in range(4):
        left, right = net.op("Split", x, net.ints(c // 2, c // 2), results=2, axis=1)
        y = net.op("Relu", net.conv(right, c // 2, c // 2, 1))
        y = net.op("Relu", net.conv(net.conv(y, c // 2, c // 2, 3, 1, c // 2), c // 2, c // 2, 1))
        x = net.op("Reshape", net.op("Concat", left, y, axis=1), net.ints(1, 2, c // 2, size, size))
        x = net.op("Reshape", net.op("Transpose", x, perm=[0, 2, 1, 3, 4]), net.ints(1, c, size, size))
    return x


def focus(net: Network, x: str) -> str:
    """Four slices of slices, joined: the stem of a detector."""
    parts = []
    for dy, dx in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = net.op("Slice", x, net.ints(dy), net.ints(1 << 30), net.ints(2), net.ints(2))
        parts.append(net.op("Slice", rows, net.ints(dx), net.ints(1 << 30), net.ints(3), net.ints(2)))
    return net.silu(net.conv(net.op("Concat", *parts, axis=1), 12, 24, 3))


def box_head(net: Network, x: str) -> str:
    """Distances of boxes as the mean of a distribution over 16 bins."""
    x = net.conv(net.silu(net.conv(x, 16, 64, 3)), 64, 64, 1)
    x = net.op("Transpose", net.op("Reshape", x, net.ints(1, 4, 16, 1600)), perm=[0, 2, 1, 3])
    x = net.op("Conv", net.op("Softmax", x, axis=1), net.const(np.arange(16).reshape(1, 16, 1, 1)))
    return net.op("Reshape", x, net.ints(1, 4, 1600))


IMAGE = (1, 3, 112, 112)
#: Name -> the shape of the input, what builds it, and the ratio that it must not exceed.
ARCHITECTURES: dict[str, tuple[tuple[int, ...], Callable[[Network, str], str], float]] = {
    "mobileone": (IMAGE, mobileone, 0.27),
    "repvgg": (IMAGE, repvgg, 0.95),
    "yolo_rep": (IMAGE, yolo_rep, 0.95),
    "repvit": (IMAGE, repvit, 0.95),
    "fastvit": (IMAGE, fastvit, 0.95),
    "asymmetric": (IMAGE, asymmetric, 0.95),
    "linear_chains": (IMAGE, linear_chains, 0.95),
    "group_norm_resnet": (IMAGE, group_norm_resnet, 0.92),
    "diffusion_unet": ((1, 4, 32, 32), diffusion_unet, 0.92),
    "speech_conv": ((1, 1, 4000), speech_conv, 0.92),
    "vit": (IMAGE, vit, 0.92),
    "vit_classifier": (IMAGE, vit_classifier, 0.92),
    "vit_sdpa": ((1, 256, 64), vit_sdpa, 0.92),
    "vit_qkv": ((1, 256, 96), vit_qkv, 0.92),
    "decoder": ((1, 192, 64), decoder, 0.92),
    "encoder_post_norm": ((1, 256, 64), encoder_post_norm, 0.92),
    "encoder_classifier": ((1, 256, 64), encoder_classifier, 0.92),
    "windows": ((16, 49, 64), windows, 0.92),
    "mixer": ((1, 196, 96), mixer, 1.02),
    "convnext": (IMAGE, convnext, 1.02),
    "temporal": ((1, 16, 1000), temporal, 1.02),
    "causal": ((1, 16, 1000), causal, 1.02),
    "gated": (IMAGE, gated, 1.02),
    "resnet": (IMAGE, resnet, 1.02),
    "mobilenet_v2": ((1, 3, 224, 224), mobilenet_v2, 1.02),
    "squeeze_excite": (IMAGE, squeeze_excite, 1.02),
    "densenet": (IMAGE, densenet, 1.02),
    "super_resolution": ((1, 1, 64, 64), super_resolution, 1.02),
    "shufflenet": (IMAGE, shufflenet, 1.02),
    "focus": ((1, 3, 320, 320), focus, 1.02),
    "box_head": ((1, 16, 40, 40), box_head, 1.02),
}  # fmt: skip
#: Those of which there is a form that was re-parameterised before the export.
TRAINED = ("mobileone", "repvgg", "yolo_rep", "repvit", "fastvit", "asymmetric", "linear_chains")


def build(name: str, deployed: bool = False) -> onnx.ModelProto:
    """The network as an ONNX model of opset 17."""
    shape, function, _ = ARCHITECTURES[name]
    net = Network(deployed)
    result = function(net, "x")
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, shape)], [info(result, TensorProto.FLOAT, None)]
    graph = helper.make_graph(net.nodes, name, *ends, net.held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)
