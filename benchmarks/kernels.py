"""The cost model, measured on this machine: the forms between which the converter can choose, one beside the other.

python -m benchmarks.kernels [--seconds 1] [NAME ...]

Every row is one question, with what the code decides and where.  The forms run in turn, each on the default interpreter
(XNNPACK) with one thread; the fastest run of each counts.  A ``!`` marks an answer that another machine would not give.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.latency import fastest, interpreter
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building, constant
from onnx2tf_lite.legalize import dynamic
from onnx2tf_lite.targets.forms import windows

Form = Callable[..., "Value | Sequence[Value]"]
F32 = np.float32
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Question:
    """``forms``: the chosen one first; ``where``: the code that relies on it."""

    shapes: Sequence[Sequence[int]]
    forms: dict[str, Form]
    where: str


def numbers(*shape: int) -> Value:
    return constant((RNG.standard_normal(shape) / np.sqrt(shape[-1])).astype(F32))


def conv(x: Value, out: int, k: Any = 1, stride: int = 1, padding: str = "SAME") -> Value:
    kh, kw = (k, k) if isinstance(k, int) else k
    weights, bias = numbers(out, kh, kw, int(x.shape[-1])), constant(np.zeros(out, F32))  # type: ignore[arg-type]
    window = {"strides": (stride, stride), "dilations": (1, 1), "padding": padding, "activation": None}
    return b.emit("CONV_2D", x, weights, bias, groups=None, **window)


def depthwise(x: Value, kh: int, kw: int, padding: str = "SAME") -> Value:
    channels = int(x.shape[-1])  # type: ignore[arg-type]
    window = {"strides": (1, 1), "dilations": (1, 1), "padding": padding, "activation": None}
    weights, bias = numbers(1, kh, kw, channels), constant(np.zeros(channels, F32))
    return b.emit("DEPTHWISE_CONV_2D", x, weights, bias, multiplier=1, dilated=False, **window)


def dense(x: Value, out: int) -> Value:
    return b.fully_connected(x, numbers(out, int(x.shape[-1])), np.zeros(out, F32))  # type: ignore[arg-type]


def in_rows(x: Value) -> Value:
    """7 x 7 as 2, 3 and 2 rows."""
    y = b.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    height = x.shape[1]
    parts = [depthwise(b.narrow(y, 1, at, height + n - 1), n, 7, "VALID") for at, n in ((0, 2), (2, 3), (5, 2))]
    return parts[0] + parts[1] + parts[2]


def in_pairs(x: Value, out: int) -> Value:
    """3 x 3, two rows of the result at a time."""
    n, height, width, _ = x.shape
    pairs = int(height) // 2  # type: ignore[arg-type]
    products = [conv(v, out, (1, 3)) for v in windows.spread(windows.rows(x, 1, pairs))]
    return b.reshape(b.concat([v + y for v, y in windows.gathered(products)], 2), (n, height, width, out))


def phases(x: Value) -> Value:
    n, h, w, c = x.shape
    places = ((0, 0), (1, 0), (0, 1), (1, 1))
    return b.concat([b.strided_slice(x, (0, dy, dx, 0), (n, h, w, c), (1, 2, 2, 1)) for dy, dx in places], 3)


def heads(x: Value, count: int = 4) -> Value:
    n, s, e = x.shape
    return b.transpose(b.reshape(x, (n, s, count, e // count)), (0, 2, 1, 3))


def one_projection(x: Value) -> Sequence[Value]:
    e = int(x.shape[-1])  # type: ignore[arg-type]
    return b.split(heads(dense(x, 3 * e), 12), [4] * 3, 1)


def guard(s: Value, first: Value) -> Value:
    return b.where(b.not_equal(first, first), F32(0), s)


def channel_statistics(x: Value) -> Value:
    return b.reduce("MEAN", b.reshape(b.reduce("MEAN", x, (1, 2), True), (1, 8, 8)), (2,), True)


def parts(x: Value, count: int) -> Sequence[Value]:
    size = int(x.shape[-1]) // count  # type: ignore[arg-type]
    return [b.narrow(x, x.rank - 1, i * size, size) for i in range(count)]


def largest(x: Value) -> Value:
    return b.emit("MAX_POOL_2D", x, kernel=(3, 3), strides=(2, 2), padding="VALID", activation=None)


def scores(x: Value, y: Value) -> Value:
    return b.matmul(x, y, adj_y=True)


IMAGE, TOKENS, HEADS = (1, 56, 56, 64), (1, 196, 192), (1, 4, 196, 48)
AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))
PAIRS = (1, 4, 196, 196)
QUESTIONS = {
    "a visit against multiplications": Question(
        [IMAGE],
        {"add": lambda x: x + x, "conv 1x1 of 64": lambda x: conv(x, 64), "conv 3x3 of 64": lambda x: conv(x, 64, 3)},
        "passes/reparameterise.py: VISIT",
    ),
    "window of three rows": Question(
        [(1, 28, 28, 64)],
        {"in pairs of rows": lambda x: in_pairs(x, 64), "CONV_2D": lambda x: conv(x, 64, 3)},
        "targets/forms/windows.py",
    ),
    "window of three rows, few channels": Question(
        [(1, 56, 56, 16)],
        {"CONV_2D": lambda x: conv(x, 16, 3), "in pairs of rows": lambda x: in_pairs(x, 16)},
        "targets/forms/windows.py: CHANNELS",
    ),
    "depthwise 7x7": Question(
        [IMAGE], {"as 2 + 3 + 2 rows": in_rows, "as it is": lambda x: depthwise(x, 7, 7)}, "fusion/windows.py"
    ),
    "depthwise of 25 places and of 28": Question(
        [IMAGE],
        {"5 x 5": lambda x: depthwise(x, 5, 5), "4 x 7": lambda x: depthwise(x, 4, 7)},
        "fusion/windows.py: PLACES",
    ),
    "conv behind four phases": Question(
        [(1, 160, 160, 3)],
        {"6x6, stride 2": lambda x: conv(x, 24, 6, 2), "slices, 3x3": lambda x: conv(phases(x), 24, 3)},
        "passes/layers.py: phases",
    ),
    "conv 1x1 on rows": Question(
        [(1, 1, 196, 192)],
        {"FULLY_CONNECTED": lambda x: dense(x, 192), "CONV_2D": lambda x: conv(x, 192)},
        "op_handlers/matmul.py",
    ),
    "product with constant weights": Question(
        [TOKENS],
        {"FULLY_CONNECTED": lambda x: dense(x, 192),
         "BATCH_MATMUL": lambda x: b.emit("BATCH_MATMUL", x, numbers(1, 192, 192), adj_x=False, adj_y=False)},
        "fusion/forms.py: fully_connected",
    ),
    "weights between two TRANSPOSEs": Question(
        [(1, 4, 196 * 196)],
        {"from the left": lambda x: b.matmul(numbers(1, 4, 4), x),
         "FULLY_CONNECTED": lambda x: b.transpose(dense(b.transpose(x, (0, 2, 1)), 4), (0, 2, 1))},
        "fusion/windows.py: from_the_left",
    ),
    "q, k and v": Question(
        [TOKENS],
        {"three FULLY_CONNECTED": lambda x: [heads(dense(x, 192)) for _ in range(3)], "one, split": one_projection},
        "fusion/channels.py: slice_of_weights",
    ),
    "operand of scores": Question(
        [HEADS, HEADS],
        {"adj_y": scores, "TRANSPOSE": lambda x, y: b.matmul(x, b.transpose(y, (0, 1, 3, 2)))},
        "ir/orders.py: MatMul",
    ),
    "scale of scores": Question(
        [HEADS, HEADS],
        {"on an operand": lambda x, y: scores(x * F32(0.5), y), "on the scores": lambda x, y: scores(x, y) * F32(0.5)},
        "fusion/attention.py: scale_operand",
    ),
    "guard of a softmax": Question(
        [PAIRS],
        {"by rows": lambda x: guard(x, b.narrow(x, 3, 0, 1)), "by elements": lambda x: guard(x, x)},
        "fusion/attention.py: guard_rows",
    ),
    "mean of groups of channels": Question(
        [IMAGE],
        {"of channels, then of groups": channel_statistics,
         "of groups": lambda x: b.reduce("MEAN", b.reshape(x, (1, 56 * 56, 8, 8)), (1, 3), True)},
        "op_handlers/normalization.py: grouped",
    ),
    "mean of an image": Question(
        [IMAGE],
        {"MEAN": lambda x: b.reduce("MEAN", x, (1, 2), True),
         "AVERAGE_POOL_2D": lambda x: b.emit("AVERAGE_POOL_2D", x, kernel=(56, 56), strides=(1, 1), padding="VALID",
                                             activation=None)},
        "fusion/forms.py: global_pool",
    ),
    "TRANSPOSE: what stays innermost": Question(
        [(1, 196, 4, 48)],
        {"runs of 48": lambda x: b.transpose(x, (0, 2, 1, 3)),
         "single elements": lambda x: b.transpose(x, (0, 2, 3, 1))},
        "layout/: both cost their bytes",
    ),
    "every second channel": Question(
        [IMAGE],
        {"TRANSPOSE, SPLIT": lambda x: b.split(b.transpose(b.reshape(x, (1, 3136, 32, 2)), (0, 1, 3, 2)), [1, 1], 2),
         "STRIDED_SLICE twice": lambda x: [b.strided_slice(x, (0, 0, 0, i), IMAGE, (1, 1, 1, 2)) for i in (0, 1)],
         "GATHER twice": lambda x: [b.gather(x, np.arange(i, 64, 2, dtype=np.int32), 3) for i in (0, 1)]},
        "fusion/slices.py: phase_of_last_axis",
    ),
    "single elements of the last axis": Question(
        [(1, 8400, 4)],
        {"TRANSPOSE, SPLIT": lambda x: b.split(b.transpose(x, (0, 2, 1)), [1] * 4, 1),
         "SPLIT": lambda x: b.split(x, [1] * 4, 2)},
        "fusion/slices.py: element_of_last_axis",
    ),
    "one element of a short last axis": Question(
        [(1, 8400, 12)],
        {"TRANSPOSE, SLICE": lambda x: b.narrow(b.transpose(x, (0, 2, 1)), 1, 1, 1),
         "SLICE": lambda x: b.narrow(x, 2, 1, 1)},
        "ir/orders.py: ALONE",
    ),
    "two halves": Question(
        [IMAGE],
        {"SPLIT": lambda x: b.split(x, [32, 32], 3), "SLICE twice": lambda x: [b.narrow(x, 3, i, 32) for i in (0, 32)]},
        "fusion/splits.py: together",
    ),
    "parts of a layer of one place": Question(
        [IMAGE],
        {"layers of 16": lambda x: [conv(x, 16) for _ in range(4)], "slices": lambda x: parts(conv(x, 64), 4)},
        "fusion/channels.py: WIDTH",
    ),
    "parts of a window": Question(
        [(1, 28, 28, 64)],
        {"layers of 32": lambda x: [conv(x, 32, 3) for _ in range(4)], "slices": lambda x: parts(conv(x, 128, 3), 4)},
        "fusion/channels.py: WIDTH",
    ),
    "parts of a window, of half the width": Question(
        [(1, 28, 28, 64)],
        {"slices": lambda x: parts(conv(x, 192, 3), 4), "layers of 48": lambda x: [conv(x, 48, 3) for _ in range(4)]},
        "fusion/channels.py: WIDTH",
    ),
    "layer of one place and TRANSPOSE": Question(
        [(1, 1600, 4, 16)],
        {"layer first": lambda x: b.transpose(conv(x, 1), (0, 2, 1, 3)),
         "TRANSPOSE first": lambda x: conv(b.transpose(x, (0, 2, 1, 3)), 1)},
        "fusion/views.py: after_layer",
    ),
    "deviations squared": Question(
        [IMAGE, (1, 1, 1, 64)],
        {"SQUARED_DIFFERENCE": b.squared_difference, "SUB, SQUARE": lambda x, y: b.square(x - y)},
        "op_handlers/normalization.py: grouped",
    ),
    "pads of a maximum": Question(
        [(1, 112, 112, 64)],
        {"PADV2 of -inf": lambda x: largest(b.pad(b.relu(x), AROUND, -np.inf)),
         "PAD": lambda x: largest(b.pad(b.relu(x), AROUND))},
        "both stay what they are",
    ),
    "expectation over the last axis": Question(
        [(1, 8400, 4, 16)],
        {"FULLY_CONNECTED": lambda x: b.fully_connected(x, np.arange(16, dtype=F32)[None], np.zeros(1, F32)),
         "MUL, SUM": lambda x: b.reduce("SUM", x * np.arange(16, dtype=F32), (3,), True)},
        "fusion/forms.py: expectation",
    ),
}  # fmt: skip


def compiled(form: Form, shapes: Sequence[Sequence[int]]) -> Graph:
    graph = Graph()
    operands = [graph.add_input(f"x{i}", tuple(s), np.dtype(F32)) for i, s in enumerate(shapes)]
    with building(graph):
        results = form(*operands)
    graph.outputs = [results] if isinstance(results, Value) else list(results)
    graph.output_names = [f"y{i}" for i in range(len(graph.outputs))]
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        value.name = name
    return dynamic.materialise(graph)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(QUESTIONS), metavar="NAME", help="of a question; default: all")
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in QUESTIONS]:
        parser.error(f"there is no question {unknown[0]!r}; there are: {', '.join(QUESTIONS)}")
    for name in args.names:
        question = QUESTIONS[name]
        with tempfile.TemporaryDirectory() as folder:
            engines = {k: interpreter(compiled(f, question.shapes), folder) for k, f in question.forms.items()}
            best = fastest(engines, args.seconds)
        chosen, *others = best.values()
        compared = name.startswith(("a visit", "TRANSPOSE", "depthwise of"))
        mark = "" if compared or all(chosen <= 1.05 * other for other in others) else "  !"
        print(f"{name} ({question.where}){mark}")
        for form, seconds in best.items():
            print(f"    {form:28} {seconds * 1e6:9.1f} us  {seconds / chosen:6.2f}", flush=True)


if __name__ == "__main__":
    main()
