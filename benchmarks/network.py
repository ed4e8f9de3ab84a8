"""Networks as ONNX models, written layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


@dataclass
class Network:
    """An ONNX graph under construction; tensors are named by numbers."""

    deployed: bool = False
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    held: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> Any:
        """A node; the name of its result, or of all."""
        names = [f"t{len(self.nodes)}_{i}" for i in range(results)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if results == 1 else names

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.const(numbers, np.int64)

    def weights(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1)))

    def vector(self, size: int, *rest: int) -> str:
        return self.const(self.rng.uniform(0.5, 1.5, (size, *rest)))

    # -- layers
    def conv(self, x: str, cin: int, cout: int, k: Any = 3, stride: int = 1, groups: int = 1, bias: bool = True) -> str:
        """A convolution that keeps the grid, but for its stride; ``k`` an int, or extents (one: 1-D)."""
        window = [k, k] if isinstance(k, int) else list(k)
        pads = [n // 2 for n in window] * 2
        inputs = [x, self.weights(cout, cin // groups, *window)] + ([self.vector(cout)] if bias else [])
        return self.op("Conv", *inputs, pads=pads, strides=[stride] * len(window), group=groups)

    def bn(self, x: str, c: int) -> str:
        return self.op("BatchNormalization", x, *(self.vector(c) for _ in range(4)))

    def group_norm(self, x: str, shape: tuple[int, ...], groups: int) -> str:
        """As PyTorch exports it."""
        n, c, *grid = shape
        seen = self.op("Reshape", x, self.ints(n, groups, -1))
        ones, zeros = self.const(np.ones(groups)), self.const(np.zeros(groups))
        normal = self.op("InstanceNormalization", seen, ones, zeros, epsilon=1e-5)
        wide = [1] * len(grid)
        y = self.op("Mul", self.op("Reshape", normal, self.ints(*shape)), self.vector(c, *wide))
        return self.op("Add", y, self.vector(c, *wide))

    def layer_norm(self, x: str, c: int) -> str:
        return self.op("LayerNormalization", x, self.vector(c), self.vector(c), axis=-1)

    def linear(self, x: str, cin: int, cout: int) -> str:
        """As PyTorch exports it for rank 3: MatMul, Add with the bias first."""
        return self.op("Add", self.vector(cout), self.op("MatMul", x, self.weights(cin, cout)))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def gelu(self, x: str) -> str:
        """With erf, in five nodes."""
        half = self.op("Add", self.op("Erf", self.op("Div", x, self.const(2**0.5))), self.const(1.0))
        return self.op("Mul", self.op("Mul", x, half), self.const(0.5))

    def total(self, *terms: str) -> str:
        result = terms[0]
        for term in terms[1:]:
            result = self.op("Add", result, term)
        return result

    def heads(self, x: str, shape: tuple[int, int, int], count: int, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
        n, s, e = shape
        return self.op("Transpose", self.op("Reshape", x, self.ints(n, s, count, e // count)), perm=list(perm))

    def attention(
        self,
        x: str,
        shape: tuple[int, int, int],
        count: int,
        *,
        mask: str = "",
        guard: bool = False,
        sdpa: bool = False,
    ) -> str:
        """Self-attention; ``sdpa``: a scale on q and on k, as PyTorch decomposes it, else one on the scores."""
        n, s, e = shape
        q, k, v = (self.linear(x, e, e) for _ in range(3))
        scale = (e // count) ** -0.5
        q, v, k = self.heads(q, shape, count), self.heads(v, shape, count), self.heads(k, shape, count, (0, 2, 3, 1))
        if sdpa:
            q, k = (self.op("Mul", t, self.const(scale**0.5)) for t in (q, k))
        scores = self.op("MatMul", q, k)
        scores = scores if sdpa else self.op("Mul", scores, self.const(scale))
        scores = self.op("Add", scores, mask) if mask else scores
        chance = self.op("Softmax", scores, axis=-1)
        if guard:
            chance = self.op("Where", self.op("IsNaN", chance), self.const(0.0), chance)
        mixed = self.op("Transpose", self.op("MatMul", chance, v), perm=[0, 2, 1, 3])
        return self.linear(self.op("Reshape", mixed, self.ints(n, s, e)), e, e)

    def mlp(self, x: str, c: int, factor: int = 2) -> str:
        return self.linear(self.gelu(self.linear(x, c, factor * c)), factor * c, c)


# -- trained with parallel branches -----------------------------------------------------------------------------------
