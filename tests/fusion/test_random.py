"""Random chains and their fused form compute the same, in every tensor that is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx2tf_lite.fusion import fuse
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, copy_graph

from .programs import (
    F32,
    assert_close,
    conv,
    depthwise,
    every_tensor,
    pads,
    pool,
    program,
    random_feeds,
    transposed,  # fmt: skip
    vector,
    weights,
)

LOWEST = np.finfo(F32).min
STEPS: dict[str, Any] = {
    "conv": lambda x, r: conv(x, 4, r.choice([1, 2, 3]), r.choice([1, 2]), padding=r.choice(["VALID", "SAME"])),
    "depthwise": lambda x, r: depthwise(x, r.choice([1, 2]), 2) if x.shape[-1] <= 4 else depthwise(x, 1, 2),
    "transposed": lambda x, r: transposed(x) if x.shape[1] <= 12 else x,
    "pad": lambda x, r: b.pad(x, pads(r.choice([0, 1]), 1)),
    "fill": lambda x, r: b.pad(x, pads(1, 1), F32(r.choice([1, 0]))),
    "max_pool": lambda x, r: pool(
        "MAX", b.pad(x, pads(*r.choice([(0, 0), (0, 1), (1, 1)])), LOWEST), 2, r.choice([1, 2])
    ),
    "average_pool": lambda x, r: pool("AVERAGE", x, 2),
    "add": lambda x, r: x + vector(x.shape[-1]) if r.random() < 0.7 else x + 0.5,
    "rows": lambda x, r: x + vector(x.shape[1]).reshape(-1, 1, 1),
    "sub": lambda x, r: b.sub(vector(x.shape[-1]), x),
    "mul": lambda x, r: x * vector(x.shape[-1]),
    "div": lambda x, r: b.div(x, vector(x.shape[-1])),
    "neg": lambda x, r: b.neg(x),
    "relu": lambda x, r: b.relu(x),
    "relu6": lambda x, r: b.relu6(x),
    "lower": lambda x, r: b.maximum(x, float(r.choice([0, -1, 0.5]))),
    "upper": lambda x, r: b.minimum(x, float(r.choice([6, 1]))),
    "matmul": lambda x, r: b.matmul(x, weights(x.shape[-1], 3)),
    "regroup": lambda x, r: b.reshape(b.reshape(x, (-1, x.shape[-1])), x.shape),
    "seen": lambda x, r: b.reshape(b.reshape(x, (-1, x.shape[-1])) * vector(x.shape[-1]), x.shape),
    "rows seen": lambda x, r: b.reshape(b.gelu(b.reshape(x, (x.shape[1], -1))) + 0.5, x.shape),
    "merged": lambda x, r: b.reshape(b.reshape(x, (*x.shape[:2], -1)) + vector(x.shape[2] * x.shape[3]), x.shape),
    "moved": lambda x, r: b.transpose(
        b.transpose(x, (0, 3, 1, 2)) * vector(x.shape[-1]).reshape(-1, 1, 1), (0, 2, 3, 1)
    ),
    "turn": lambda x, r: b.transpose(b.transpose(x, (0, 2, 1, 3)), r.choice([(0, 2, 1, 3), (0, 1, 2, 3)])),
}


def build(names: list[str], seed: int) -> Graph:
    """A chain of steps; now and then a step is also added to its own operand, or its operand is an output."""

    class Choice:
        rng = np.random.default_rng(seed)

        def choice(self, options: list[Any]) -> Any:
            return options[self.rng.integers(len(options))]

        def random(self) -> float:
            return self.rng.random()

    r = Choice()

    def chain(x: Value) -> list[Value]:
        outputs = []
        for name in names:
            if min(x.shape[1:3]) < 4:  # type: ignore[type-var]
                x = b.pad(x, pads(2, 2))
            y = STEPS[name](x, r)
            if x.producer and y is not x and r.random() < 0.1:
                outputs.append(x)
            x = b.add(x, y) if y.shape == x.shape and r.random() < 0.2 else y
        return [*dict.fromkeys([*outputs, b.tanh(x)])]

    return program(chain, (1, 9, 8, 3))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=9), st.integers(0, 2**16))
def test_chains(names: list[str], seed: int) -> None:
    graph = build(names, seed)
    fused = copy_graph(graph)
    fuse(fused)
    assert len(fused.ops) <= len(graph.ops)
    feeds = random_feeds(graph)
    want, got = every_tensor(graph, feeds), every_tensor(fused, feeds)
    assert {*graph.output_names} <= {*got} <= {*want}
    size = max(float(np.abs(tensor).max()) for tensor in want.values() if np.abs(tensor).max() < -LOWEST)
    for name, tensor in got.items():
        assert_close(tensor, want[name], f"{name} of {[str(o) for o in fused.ops]}", size)
    left = [str(o) for o in fused.ops]
    fuse(fused)
    assert [str(o) for o in fused.ops] == left
