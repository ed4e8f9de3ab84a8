"""Small seeded nets: classifiers, perceptrons, regressions and detectors of a few channels.

In small nets few results share a rounding, sums cancel out, channels are dead or alone, and ranges that were calibrated
are exceeded: what averages out in trained models decides here.  ``net("perceptron", 7)`` is always the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from tests.models import golden
from tests.models.feeds import Feeds

from .models import model

CALIBRATION = 8  # samples of each net
ACTIVATIONS = {
    "Relu": "{y} = Relu({x})",
    "Clip": "{y} = Clip({x}, zero, six)",
    "LeakyRelu": "{y} = LeakyRelu<alpha=0.1>({x})",
    "Sigmoid": "{y} = Sigmoid({x})",
    "Tanh": "{y} = Tanh({x})",
    "Elu": "{y} = Elu({x})",
    "HardSwish": "{y} = HardSwish({x})",
    "Swish": "{y}_s = Sigmoid({x})\n{y} = Mul({x}, {y}_s)",
    "none": "{y} = Identity({x})",
}
CONSTANTS = {"zero": 0.0, "six": 6.0, "two": 2.0}


@dataclass(frozen=True)
class Net(golden.Model):
    """``samples`` of its input, the first axis over all of them; ``proto`` is in the file at ``path``."""

    proto: onnx.ModelProto = field(default_factory=onnx.ModelProto)
    samples: Feeds = field(default_factory=dict)

    def feeds(self) -> list[Feeds]:
        """One sample each."""
        count = len(next(iter(self.samples.values())))
        return [{n: a[k : k + 1] for n, a in self.samples.items()} for k in range(count)]


@dataclass
class Text:
    """A graph that grows: its lines and constants, and the name, channels and extents (none: a vector) of its last
    tensor."""

    rng: np.random.Generator
    last: str
    channels: int
    extents: tuple[int, ...] = ()
    lines: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def few(self, low: int = 1, high: int = 12) -> int:
        """An extent, the ends among them."""
        return int(self.rng.integers(low, high + 1))

    def maybe(self, share: float = 0.5) -> bool:
        """True as often."""
        return bool(self.rng.random() < share)

    def constant(self, *shape: int) -> str:
        """Normal numbers, some tensors of them with one sign, some beside a channel of zeros or of large numbers."""
        drawn = self.rng.standard_normal(shape) / max(float(np.prod(shape[1:])), 1.0) ** 0.5
        if self.maybe(0.1):
            drawn = np.abs(drawn)
        if shape[0] > 1 and self.maybe(0.2):
            drawn[self.few(0, shape[0] - 1)] *= self.rng.choice([0, 0.05, 5])
        name = f"w{len(self.weights)}"
        self.weights[name] = drawn.astype(np.float32)
        return name

    def then(self, line: str) -> None:
        """One more operator (``{x}`` the last tensor, ``{y}`` its result)."""
        result = f"t{len(self.lines)}"
        self.lines.append(line.format(x=self.last, y=result))
        self.last = result

    def activation(self, *kinds: str) -> None:
        """One of the ``kinds``, or of all."""
        self.then(ACTIVATIONS[str(self.rng.choice(kinds or tuple(ACTIVATIONS)))])

    def dense(self, width: int) -> None:
        """A linear layer in one of its forms."""
        if self.maybe():
            bias = f", {self.constant(width)}" if self.maybe(0.7) else ""
            self.then(f"{{y}} = Gemm<transB=1>({{x}}, {self.constant(width, self.channels)}{bias})")
        else:
            self.then(f"{{y}} = MatMul({{x}}, {self.constant(self.channels, width)})")
            if self.maybe():
                self.then(f"{{y}} = Add({{x}}, {self.constant(width)})")
        self.channels = width

    def convolution(self, width: int, depthwise: bool = False) -> None:
        """A padded convolution of a window that fits, perhaps in strides."""
        window = [int(self.rng.choice([1, 3])) for _ in self.extents]
        stride = [int(self.rng.choice([1, 1, 2])) if e > 2 else 1 for e in self.extents]
        width, group = (self.channels, self.channels) if depthwise else (width, 1)
        weights = self.constant(width, self.channels // group, *window)
        bias = f", {self.constant(width)}" if self.maybe(0.7) else ""
        pads = [w // 2 for w in window] * 2
        self.then(f"{{y}} = Conv<group={group}, strides={stride}, pads={pads}>({{x}}, {weights}{bias})")
        self.channels, self.extents = width, tuple(-(-e // s) for e, s in zip(self.extents, stride, strict=True))

    def residual(self) -> None:
        """A depthwise and a pointwise convolution beside what they read."""
        before, channels, extents = self.last, self.channels, self.extents
        self.convolution(channels, depthwise=True)
        if self.extents == extents:
            self.activation()
            self.then(f"{{y}} = Conv({{x}}, {self.constant(channels, channels, *[1] * len(extents))})")
            self.then(f"{{y}} = Add({{x}}, {before})")

    def flat(self) -> None:
        """A vector of an image."""
        form = self.few(0, 2)
        if form == 0:
            self.then("{y} = GlobalAveragePool({x})")
        elif form == 1:
            self.then(f"{{y}} = ReduceMean<axes={[2 + i for i in range(len(self.extents))]}, keepdims=1>({{x}})")
        else:
            self.channels *= int(np.prod(self.extents))
        self.then("{y} = Flatten({x})")
        self.extents = ()

    def backbone(self) -> None:
        """One to three convolutions."""
        for _ in range(self.few(1, 3)):
            self.convolution(self.few())
            self.activation()
            if self.maybe(0.3):
                self.residual()
        if self.maybe(0.3) and min(self.extents) > 1:
            self.then("{y} = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>({x})")
            self.extents = tuple(e // 2 for e in self.extents)


def perceptron(net: Text) -> list[str]:
    """Linear layers with activations between them."""
    for _ in range(net.few(1, 3)):
        net.dense(net.few())
        net.activation()
    net.dense(net.few())
    return [net.last]


def classifier(net: Text) -> list[str]:
    """Convolutions, a mean, a linear layer, and perhaps a Softmax."""
    net.backbone()
    net.flat()
    net.dense(net.few(2))
    if net.maybe():
        net.then("{y} = Softmax({x})")
    return [net.last]


def heads(net: Text) -> list[str]:
    """Features of which several heads make shares, chances and numbers."""
    net.dense(net.few(4))
    net.activation()
    shared, width, found = net.last, net.channels, []
    for end in ("{y} = Softmax({x})", ACTIVATIONS["Sigmoid"], ACTIVATIONS["Tanh"], "{y} = LogSoftmax({x})"):
        net.last, net.channels = shared, width
        net.dense(net.few())
        net.then(end)
        found.append(net.last)
    return found


def regression(net: Text) -> list[str]:
    """One number, or two, of terms that cancel out."""
    net.dense(net.few())
    net.activation("Relu", "Tanh", "Sigmoid", "Clip")
    weights = net.constant(net.channels, net.few(1, 2))
    net.weights[weights] -= net.weights[weights].mean(0)
    net.then(f"{{y}} = MatMul({{x}}, {weights})")
    if net.maybe():
        net.then(f"{{y}} = Add({{x}}, {net.constant(net.weights[weights].shape[1])})")
    return [net.last]


def image(net: Text) -> list[str]:
    """An image of an image, perhaps twice as large."""
    net.backbone()
    if net.maybe():
        net.then(f"{{y}} = ConvTranspose<strides=[2, 2]>({{x}}, {net.constant(net.channels, net.few(), 2, 2)})")
    else:
        net.convolution(net.few())
    net.activation("Sigmoid", "Tanh", "none")
    return [net.last]


def detector(net: Text) -> list[str]:
    """Boxes about the places of a grid, and their chances, in rows."""
    net.backbone()
    shared, channels, ends = net.last, net.channels, []
    for width in (4, net.few(1, 4)):
        net.last = shared
        net.then(f"{{y}} = Conv({{x}}, {net.constant(width, channels, 1, 1)}, {net.constant(width)})")
        net.then("{y} = Sigmoid({x})")
        net.then("{y} = Transpose<perm=[0, 2, 3, 1]>({x})")
        net.weights[f"rows{width}"] = np.array([1, -1, width], np.int64)
        net.then(f"{{y}} = Reshape({{x}}, rows{width})")
        ends.append(net.last)
    places = int(np.prod(net.extents))
    net.weights["grid"] = np.arange(places * 4, dtype=np.float32).reshape(1, places, 4)
    net.last = ends[0]
    net.then("{y} = Mul({x}, two)")
    net.then("{y} = Add({x}, grid)")
    net.then(f"{{y}} = Concat<axis=2>({{x}}, {ends[1]})")
    return [net.last]


VECTORS: dict[str, Callable[[Text], list[str]]] = {f.__name__: f for f in (perceptron, heads, regression)}
IMAGES: dict[str, Callable[[Text], list[str]]] = {f.__name__: f for f in (classifier, image, detector)}
FAMILIES = VECTORS | IMAGES


def net(family: str, seed: int) -> Net:
    """One of a family, with samples as its users might have them; not yet in a file."""
    rng = np.random.default_rng([list(FAMILIES).index(family), seed])
    text = Text(rng, "x", 0)
    text.channels = text.few()
    text.extents = () if family in VECTORS else (text.few(), text.few())
    shape = (text.channels, *text.extents)
    outputs = FAMILIES[family](text)
    extents = ",".join(map(str, (1, *shape)))
    lines = "\n".join(text.lines)
    said = ", ".join(f"float {name}" for name in outputs)
    known = {n: np.array(value, np.float32) for n, value in CONSTANTS.items() if n in lines}
    proto = model(f"g (float[{extents}] x) => ({said}) {{ {lines} }}", **text.weights | known)
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    return Net(f"small/{family}.{seed}", Path(), proto=proto, samples={"x": samples(rng, (CALIBRATION, *shape))})


def samples(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, pixels, normalised pixels, or numbers far from zero."""
    drawn = [rng.standard_normal(shape), rng.uniform(size=shape), (rng.uniform(size=shape) - 0.485) / 0.229,
             rng.uniform(-1, 5, shape)]  # fmt: skip
    return np.asarray(drawn[rng.integers(len(drawn))], np.float32)


def nets(folder: Path, seeds: range, families: tuple[str, ...] = tuple(FAMILIES)) -> Iterator[Net]:
    """Those of all families, each in a file of its own as soon as it is asked for."""
    for family in families:
        for seed in seeds:
            made = net(family, seed)
            path = folder / f"{family}_{seed}.onnx"
            onnx.save(made.proto, path)
            yield replace(made, path=path)
