"""Kinds of error that are planted in a written .tflite, each at a seeded random place."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .editor import CODES, Editor

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: A plant edits one operator chosen of those for which it is possible, and gives its index in the file as it was.
Plant = Callable[[Editor, np.random.Generator], "int | None"]


def _choose(candidates: list[int], rng: np.random.Generator) -> int | None:
    return int(rng.choice(candidates)) if candidates else None


def weight(edit: Editor, rng: np.random.Generator) -> int | None:
    """Every weight of one operator 1 % too large."""
    op = _choose([i for i in edit.indices(*WEIGHTED) if _floats(edit, i)], rng)
    if op is not None:
        edit.put(op, 1, edit.data(edit.graph.operators[op].inputs[1]) * np.float32(1.01))
    return op


def _floats(edit: Editor, op: int) -> bool:
    data = edit.data(edit.graph.operators[op].inputs[1])
    return data is not None and data.dtype == np.float32 and bool(np.any(data))


def softmax_axis(edit: Editor, rng: np.random.Generator) -> int | None:
    """A SOFTMAX over the last axis but one."""
    shapes = {i: edit.graph.tensors[edit.graph.operators[i].outputs[0]].shape for i in edit.indices("SOFTMAX")}
    op = _choose([i for i, s in shapes.items() if len(s) > 1 and s[-2] > 1], rng)
    if op is not None:
        edit.swap_around(op)
    return op


SPATIAL = ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "RESIZE_BILINEAR",
           "RESIZE_NEAREST_NEIGHBOR")  # fmt: skip


def height_and_width(edit: Editor, rng: np.random.Generator) -> int | None:
    """The spatial axes of a square result exchanged."""
    shapes = {i: edit.graph.tensors[edit.graph.operators[i].outputs[0]].shape for i in edit.indices(*SPATIAL)}
    op = _choose([i for i, s in shapes.items() if s is not None and len(s) == 4 and s[1] == s[2] > 2], rng)
    if op is not None:
        edit.swap_after(op, [0, 2, 1, 3])
    return op


def resize_mode(edit: Editor, rng: np.random.Generator) -> int | None:
    """The other RESIZE operator, or other pixel centres."""
    op = _choose(edit.indices("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), rng)
    if op is None:
        return None
    table = edit.graph.operators[op]
    bilinear = edit.name(table) == "RESIZE_BILINEAR"
    code = schema.OperatorCodeT()
    code.builtinCode = CODES["RESIZE_NEAREST_NEIGHBOR" if bilinear else "RESIZE_BILINEAR"]
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 3
    edit.model.operatorCodes.append(code)
    table.opcodeIndex = len(edit.model.operatorCodes) - 1
    options = schema.ResizeNearestNeighborOptionsT() if bilinear else schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = (
        table.builtinOptions.alignCorners,
        table.builtinOptions.halfPixelCenters,
    )
    name = "ResizeNearestNeighborOptions" if bilinear else "ResizeBilinearOptions"
    table.builtinOptionsType, table.builtinOptions = getattr(schema.BuiltinOptions, name), options
    return op


def transposed_weight(edit: Editor, rng: np.random.Generator) -> int | None:
    """A matrix stored the other way round."""

    def suits(op: int) -> bool:
        data = edit.data(edit.graph.operators[op].inputs[1])
        return (
            data is not None
            and data.ndim > 1
            and min(data.shape[0], data.size // data.shape[0]) > 1
            and _floats(edit, op)
        )

    op = _choose([i for i in edit.indices("FULLY_CONNECTED", "CONV_2D") if suits(i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1])
        edit.put(op, 1, data.reshape(data.shape[0], -1).T.reshape(data.shape))
    return op


def int8_scale(edit: Editor, rng: np.random.Generator) -> int | None:
    """The scale of 8-bit weights twice as large."""

    def suits(op: int) -> bool:
        table = edit.graph.tensors[edit.graph.operators[op].inputs[1]]
        return table.type == schema.TensorType.INT8 and edit.data(edit.graph.operators[op].inputs[1]) is not None

    op = _choose([i for i in edit.indices(*WEIGHTED) if suits(i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1])
        edit.put(op, 1, data)
        quant = edit.graph.tensors[edit.graph.operators[op].inputs[1]].quantization
        quant.scale = np.asarray(quant.scale, np.float32) * 2
        bias = edit.graph.operators[op].inputs[2] if len(edit.graph.operators[op].inputs) > 2 else -1
        if bias >= 0 and edit.graph.tensors[bias].quantization is not None:  # kernels insist on the product of scales
            own = copy.deepcopy(edit.graph.tensors[bias])
            own.quantization.scale, own.name = (
                np.asarray(own.quantization.scale, np.float32) * 2,
                own.name + b"~planted",
            )
            edit.graph.tensors.append(own)
            edit.graph.operators[op].inputs[2] = len(edit.graph.tensors) - 1
    return op


def nan(edit: Editor, rng: np.random.Generator) -> int | None:
    """One weight is NaN."""
    op = _choose([i for i in edit.indices(*WEIGHTED) if _floats(edit, i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1]).copy()
        data.reshape(-1)[rng.integers(data.size)] = np.nan
        edit.put(op, 1, data)
    return op


PLANTS: dict[str, Plant] = {
    p.__name__: p for p in (weight, softmax_axis, height_and_width, resize_mode, transposed_weight, int8_scale, nan)
}
