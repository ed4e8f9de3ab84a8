"""Random programs in ONNX axis order: convolutional and attention-like pieces with coinciding extents on purpose."""

from __future__ import annotations

import random

import numpy as np

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building


def _conv(rng, x):
    k = rng.choice([1, 1, 2])
    if x.rank != 4 or min(x.shape[2:]) < k:
        return None
    w = np.random.default_rng(rng.randrange(99)).normal(
        size=(x.shape[1] if rng.random() < 0.7 else 3, k, k, x.shape[1])
    )
    y = b.emit("CONV_2D", b.channels_last(x), b.lift(w.astype(np.float32)), None, padding="VALID", strides=(1, 1),
               dilations=(1, 1), activation=None, groups=1)  # fmt: skip
    return b.channels_first(y)


def _pool(rng, x):
    if x.rank != 4 or min(x.shape[2:]) < 2:
        return None
    return b.channels_first(
        b.emit("MAX_POOL_2D", b.channels_last(x), padding="VALID", strides=(1, 1), kernel=(2, 2), activation=None)
    )


def _regrouped(rng, x):
    """Split an axis, merge two, or flatten: what exporters write."""
    shape = list(x.shape)
    i = rng.randrange(x.rank)
    if rng.random() < 0.5 and shape[i] % 2 == 0 and x.rank < 5:
        shape[i : i + 1] = [2, shape[i] // 2]
    elif i + 1 < x.rank:
        shape[i : i + 2] = [shape[i] * shape[i + 1]]
    else:
        shape = [shape[0], -1]
    return b.reshape(x, shape)


def _linear(rng, x):
    w = np.random.default_rng(rng.randrange(99)).normal(size=(rng.choice([4, 6]), x.shape[-1])).astype(np.float32)
    return b.fully_connected(x, w, np.arange(len(w), dtype=np.float32) if rng.random() < 0.5 else None)


def _attention(rng, x):
    if not 2 <= x.rank <= 4:
        return None
    if rng.random() < 0.5:
        return b.matmul(x, x, adj_y=True)
    perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    return b.matmul(x, b.transpose(x, perm))


def _reduced(rng, x):
    if x.rank < 3:
        return None
    axes = rng.sample(range(x.rank), rng.randint(1, 2))
    return b.reduce(rng.choice(["MEAN", "REDUCE_MAX"]), x, axes, keepdims=rng.random() < 0.6)


def _rescaled(rng, x):
    """Per-axis constants of full or lower rank."""
    axis = rng.randrange(x.rank)
    shape = [x.shape[axis] if i == axis else 1 for i in range(x.rank)][rng.randrange(2) * axis :]
    return x * np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _gated(rng, x):
    """Squeeze and excite: a reduced tensor broadcast back."""
    return x * b.reduce("MEAN", x, [x.rank - 1], keepdims=True) if x.rank else None


def _cut(rng, x):
    axis = rng.randrange(x.rank)
    return b.narrow(x, axis, 1, x.shape[axis] - 1) if x.shape[axis] > 2 else None


def _picked(rng, x):
    axis = rng.randrange(x.rank)
    index = np.array(rng.choice([[0], [0, 1], 0, [[0, 1], [1, 0]]]), np.int32)
    return b.gather(x, index, axis) if x.shape[axis] > 1 and x.rank < 5 else None


STEPS = [
    _conv, _conv, _conv, _pool, _regrouped, _regrouped, _linear, _attention, _reduced, _rescaled, _gated, _cut, _picked,
    lambda rng, x: b.relu(x),
    lambda rng, x: b.transpose(x, rng.sample(range(x.rank), x.rank)),
    lambda rng, x: b.transpose(x, rng.sample(range(x.rank), x.rank)),
    lambda rng, x: b.softmax(x, rng.randrange(x.rank)),
    lambda rng, x: b.concat([x, b.exp(b.tanh(x))], rng.randrange(x.rank)),
    lambda rng, x: b.pad(x, [(rng.randrange(2), 1) for _ in range(x.rank)]),
    lambda rng, x: b.add(*b.split(x, [x.shape[0] // 2] * 2, 0)) if x.shape[0] % 2 == 0 else None,
]  # fmt: skip


def random_program(seed: int, steps: int = 8) -> Graph:
    """A small program with one or two image inputs; every dangling value is an output."""
    rng = random.Random(seed)
    graph = Graph(f"program{seed}")
    values: list[Value] = []
    for i in range(rng.randint(1, 2)):
        shape = (rng.choice([1, 2]), rng.choice([2, 4]), 4, rng.choice([4, 4, 6]))
        values.append(graph.add_input(f"x{i}", shape, np.float32))
    with building(graph):
        while steps:
            x = rng.choice(values[-4:])
            mates = [v for v in values if v is not x and v.shape == x.shape]
            y = x + rng.choice(mates) if mates and rng.random() < 0.3 else rng.choice(STEPS)(rng, x) if x.rank else None
            if y is None or y is x or y.is_constant or y.size > 4096 or y.rank > 5:
                continue
            values.append(y)
            steps -= 1
        used = {v for op in graph.ops for v in op.inputs}
        ends = [v for v in dict.fromkeys(values[::-1]) if v not in used and v not in graph.inputs][:3]
        for i, value in enumerate(ends):
            graph.outputs.append(b.emit("IDENTITY", value, shape=value.shape) if value in graph.outputs else value)
            graph.output_names.append(f"y{i}")
            value.name = f"y{i}"
    graph.tensors = {f"t{i}": v for i, v in enumerate(values)} | dict(
        zip(graph.output_names, graph.outputs, strict=True)
    )
    graph.tensors |= {v.name: v for v in graph.inputs}
    graph.sweep()
    return graph
