"""The meaning of an IR program in numpy, independent of emitters and of the layout stage."""

from __future__ import annotations

import numpy as np

from onnx2tf_lite.ir.graph import Graph, Op, Value


def conv_2d(attrs, x, w, bias=None):
    """A VALID, stride 1, ungrouped convolution: x[N,H,W,C], w[O,KH,KW,C]."""
    _, kh, kw, _ = w.shape
    h, wd = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    y = sum(x[:, i : i + h, j : j + wd] @ w[:, i, j].T for i in range(kh) for j in range(kw))
    return y if bias is None else y + bias


def max_pool_2d(attrs, x):
    kh, kw = attrs["kernel"]
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    return np.max([x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)], axis=0)


def top_k(attrs, x):
    order = np.argsort(-x, axis=-1, kind="stable")[..., : attrs["k"]]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def reverse_sequence(attrs, x, lengths):
    y = np.moveaxis(x.copy(), (attrs["batch_dim"], attrs["seq_dim"]), (0, 1))
    for row, n in zip(y, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return np.moveaxis(y, (0, 1), (attrs["batch_dim"], attrs["seq_dim"]))


MEANING = {
    "CONV_2D": conv_2d,
    "MAX_POOL_2D": max_pool_2d,
    "TOPK_V2": top_k,
    "REVERSE_SEQUENCE": reverse_sequence,
    "IDENTITY": lambda attrs, x: x,
}


def meaning(op: Op):
    """The numpy function of an operation: its own definition, or the one above."""
    return op.kind.evaluate or MEANING[op.kind.name]


def run_op(op: Op, arrays: list[np.ndarray | None]) -> list[np.ndarray]:
    result = meaning(op)(op.attrs, *[a for a in arrays if a is not None])
    return list(result) if isinstance(result, (list, tuple)) else [np.asarray(result)]


def run(graph: Graph, feeds: dict[Value, np.ndarray]) -> dict[Value, np.ndarray]:
    """All values of the program; every result must have the shape that the program declares."""
    env = dict(feeds)
    for op in graph.ops:
        arrays = [None if v is None else v.data if v.data is not None else env[v] for v in op.inputs]
        for value, array in zip(op.outputs, run_op(op, arrays), strict=True):
            assert array.shape == value.shape, (op, array.shape)
            env[value] = array
    return env
