"""What a TFLite operator means, in numpy: for the kinds that do not carry such a definition themselves."""

from __future__ import annotations

import itertools

import numpy as np

from onnx2tf_lite.ir.graph import Graph, Op, Value


def _padded(x, kernel, attrs, fill):
    """x with the SAME padding (smaller half first), and the output extents."""
    pads, out = [(0, 0)], []
    for size, k, s, d in zip(x.shape[1:-1], kernel, attrs["strides"], attrs["dilations"], strict=True):
        reach = (k - 1) * d + 1
        n = -(-size // s) if attrs["padding"] == "SAME" else (size - reach) // s + 1
        total = max((n - 1) * s + reach - size, 0) if attrs["padding"] == "SAME" else 0
        pads.append((total // 2, total - total // 2))
        out.append(n)
    return np.pad(x, [*pads, (0, 0)], constant_values=fill), out


def _windows(x, kernel, attrs, fill=0.0):
    """(position in the kernel, the elements of x under it for every output position)."""
    x, out = _padded(x, kernel, attrs, fill)
    for place in itertools.product(*map(range, kernel)):
        window = [slice(p * d, p * d + (n - 1) * s + 1, s)
                  for p, d, n, s in zip(place, attrs["dilations"], out, attrs["strides"], strict=True)]  # fmt: skip
        yield place, x[(slice(None), *window)]


def activated(attrs, y):
    limits = {None: (-np.inf, np.inf), "RELU": (0, np.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
    return np.clip(y, *limits[attrs.get("activation")]) if attrs.get("activation") else y


def conv(attrs, x, w, bias=0.0):
    """Weights [O, *kernel, C / groups]."""
    groups = x.shape[-1] // w.shape[-1]
    parts = []
    for xs, ws in zip(np.split(x, groups, -1), np.split(w, groups, 0), strict=True):
        parts.append(sum(win @ ws[(slice(None), *k)].T for k, win in _windows(xs, w.shape[1:-1], attrs)))
    return activated(attrs, np.concatenate(parts, -1) + bias)


def depthwise(attrs, x, w, bias=0.0):
    """Weights [1, KH, KW, C * multiplier]."""
    c = x.shape[-1]
    y = sum(win[..., None] * w[(0, *k)].reshape(c, -1) for k, win in _windows(x, w.shape[1:-1], attrs))
    return activated(attrs, y.reshape(*y.shape[:-2], -1) + bias)


def conv_transpose(attrs, x, w, bias=0.0):
    """Weights [*kernel, O, C]; the gradient of the convolution whose input has ``output_shape``."""
    kernel = w.shape[:-2]
    full = np.zeros(
        (
            x.shape[0],
            *((n - 1) * s + k for n, s, k in zip(x.shape[1:-1], attrs["strides"], kernel, strict=True)),
            w.shape[-2],
        )
    )
    for place in itertools.product(*map(range, kernel)):
        window = [
            slice(p, p + (n - 1) * s + 1, s) for p, n, s in zip(place, x.shape[1:-1], attrs["strides"], strict=True)
        ]
        full[(slice(None), *window)] += x @ w[place].T
    y = np.zeros(attrs["output_shape"], np.float32)
    cut = []
    for have, want in zip(full.shape[1:-1], y.shape[1:-1], strict=True):
        before = max(have - want, 0) // 2 if attrs["padding"] == "SAME" else 0
        cut.append((slice(before, before + min(want, have - before)), slice(0, min(want, have - before))))
    y[(slice(None), *(b for _, b in cut))] = full[(slice(None), *(a for a, _ in cut))]
    return activated(attrs, y + bias)


def max_pool(attrs, x):
    return np.max([win for _, win in _windows(x, attrs["kernel"], attrs, -np.inf)], axis=0)


def average_pool(attrs, x):
    ones = sum(win for _, win in _windows(np.ones_like(x), attrs["kernel"], attrs))
    return sum(win for _, win in _windows(x, attrs["kernel"], attrs)) / ones


def _coordinates(size, new, attrs):
    if attrs["align_corners"] and new > 1:
        return np.arange(new) * ((size - 1) / (new - 1))
    offset = 0.5 if attrs["half_pixel_centers"] else 0.0
    return (np.arange(new) + offset) * (size / new) - offset


def resize_bilinear(attrs, x):
    for axis, new in enumerate(attrs["size"], start=1):
        at = np.clip(_coordinates(x.shape[axis], new, attrs), 0, None)
        low = np.minimum(np.floor(at).astype(int), x.shape[axis] - 1)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = np.expand_dims(at - low, [a for a in range(4) if a != axis])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def resize_nearest(attrs, x):
    for axis, new in enumerate(attrs["size"], start=1):
        at = _coordinates(x.shape[axis], new, attrs)
        nearest = np.floor(at + 0.5) if attrs["align_corners"] or attrs["half_pixel_centers"] else np.floor(at)
        if attrs["half_pixel_centers"]:
            nearest = np.floor((np.arange(new) + 0.5) * (x.shape[axis] / new))
        x = np.take(x, np.clip(nearest.astype(int), 0, x.shape[axis] - 1), axis)
    return x


def local_response_normalization(attrs, x):
    r = attrs["radius"]
    square = np.pad(x * x, [(0, 0)] * (x.ndim - 1) + [(r, r)])
    total = sum(square[..., i : i + x.shape[-1]] for i in range(2 * r + 1))
    return x / (attrs["bias"] + attrs["alpha"] * total) ** attrs["beta"]


def top_k(attrs, x):
    order = np.argsort(-x, axis=-1, kind="stable")[..., : attrs["k"]]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def gather(attrs, x, index):
    if not attrs["batch_dims"]:
        return np.take(x, index, attrs["axis"])
    return np.stack([gather({"axis": attrs["axis"] - 1, "batch_dims": attrs["batch_dims"] - 1}, a, i)
                     for a, i in zip(x, index, strict=True)])  # fmt: skip


def scatter_nd(attrs, index, updates):
    y = np.zeros(attrs["shape"], updates.dtype)
    np.add.at(y, tuple(np.moveaxis(index, -1, 0)), updates)
    return y


def stablehlo_scatter(attrs, x, index, updates):
    y = x.copy()
    if attrs["reduction"] == "none":  # the last update of an element stays
        for place, update in zip(index, updates, strict=True):
            y[tuple(place)] = update
        return y
    function = {"mul": np.multiply, "max": np.maximum, "min": np.minimum}[attrs["reduction"]]
    function.at(y, tuple(np.moveaxis(index, -1, 0)), updates)
    return y


def one_hot(attrs, index, on, off):
    hit = np.expand_dims(index, attrs["axis"]) == np.arange(attrs["depth"]).reshape(
        [-1 if a == attrs["axis"] else 1 for a in range(index.ndim + 1)]
    )
    return np.where(hit, on, off)


def unique(attrs, x):
    values, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return values[order], np.argsort(order)[inverse].astype(np.int32)


def reverse_sequence(attrs, x, lengths):
    y = np.moveaxis(x.copy(), (attrs["batch_dim"], attrs["seq_dim"]), (0, 1))
    for row, n in zip(y, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return np.moveaxis(y, (0, 1), (attrs["batch_dim"], attrs["seq_dim"]))


def depth_to_space(attrs, x):
    n, h, w, c = x.shape
    b = attrs["block"]
    return x.reshape(n, h, w, b, b, c // b // b).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, -1)


def space_to_depth(attrs, x):
    n, h, w, c = x.shape
    b = attrs["block"]
    return x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, -1)


def dynamic_update_slice(attrs, x, update, start):
    y, start = x.copy(), np.clip(start, 0, np.array(x.shape) - update.shape)
    y[tuple(slice(s, s + n) for s, n in zip(start, update.shape, strict=True))] = update
    return y


def non_max_suppression(attrs, boxes, scores, overlap, least):
    """Indices of the boxes kept, best first, then zeros; their number."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if (
            scores[i] > least
            and len(kept) < attrs["count"]
            and all(_overlap(boxes[i], boxes[k]) < overlap for k in kept)
        ):
            kept.append(i)
    return np.pad(kept, (0, attrs["count"] - len(kept))), len(kept)


def _overlap(a, b):
    """Intersection over union of two boxes y1, x1, y2, x2."""
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


MEANING = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "CONV_3D": lambda attrs, x, w, bias=0.0: conv(attrs, x, np.moveaxis(w, -1, 0), bias),
    "TRANSPOSE_CONV": lambda attrs, x, w, bias=0.0: conv_transpose(attrs, x, np.moveaxis(w, 0, -2), bias),
    "CONV_3D_TRANSPOSE": conv_transpose,
    "MAX_POOL_2D": max_pool,
    "AVERAGE_POOL_2D": average_pool,
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "LOCAL_RESPONSE_NORMALIZATION": local_response_normalization,
    "TOPK_V2": top_k,
    "GATHER": gather,
    "SCATTER_ND": scatter_nd,
    "STABLEHLO_SCATTER": stablehlo_scatter,
    "STRIDED_SLICE_AT": lambda attrs, x, *bounds: x[tuple(slice(*map(int, row)) for row in zip(*bounds, strict=True))],
    "WHERE": lambda attrs, x: np.argwhere(x),
    "ONE_HOT": one_hot,
    "UNIQUE": unique,
    "NON_MAX_SUPPRESSION_V4": non_max_suppression,
    "REVERSE_SEQUENCE": reverse_sequence,
    "SHAPE": lambda attrs, x: np.array(x.shape, np.int32),
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_DEPTH": space_to_depth,
    "DYNAMIC_UPDATE_SLICE": dynamic_update_slice,
    "IDENTITY": lambda attrs, x: x,
    "RFFT2D": lambda attrs, x: np.fft.rfft2(x, attrs["lengths"]),
    "REAL": lambda attrs, x: x.real,
    "IMAG": lambda attrs, x: x.imag,
    "BITCAST": lambda attrs, x: x.view(attrs["to"]),
}


def results(op: Op, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What an operation gives for the operands that are present, in whatever dtype numpy computes it."""
    if op.kind.name == "IF":
        return run(op.attrs["then" if arrays[0] else "otherwise"], arrays[1:])
    if op.kind.name == "WHILE":
        while run(op.attrs["condition"], arrays)[0]:
            arrays = run(op.attrs["body"], arrays)
        return arrays
    meaning = MEANING.get(op.kind.name) or op.kind.evaluate
    assert meaning, op.kind.name
    result = meaning(op.attrs, *arrays)
    if op.kind.fuses and op.kind.name not in MEANING:
        result = activated(op.attrs, result)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def run(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Results of a program of static shapes."""
    env: dict[Value, np.ndarray] = dict(zip(graph.inputs, inputs, strict=True))
    for op in graph.ops:
        arrays = [v.data if v.data is not None else env[v] for v in op.inputs if v is not None]
        for value, array in zip(op.outputs, results(op, arrays), strict=True):
            env[value] = np.asarray(array, value.dtype)
    return [v.data if v.data is not None else env[v] for v in graph.outputs]
