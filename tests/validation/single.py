"""Single weights, biases, entries of tables and attributes, changed in a written .tflite, bodies included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .editor import Editor

#: Kind -> (operators, the operand that is changed).
PLACES = {
    "weight": (("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"), 1),
    "bias": (("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), 2),
    "table": (("GATHER",), 0),
    "constant": (("ADD", "SUB", "MUL", "DIV", "PRELU", "MAXIMUM", "MINIMUM"), 1),
}
#: Operator -> its operand of integers that say where elements come from or go.
WHERE = {**dict.fromkeys(("TRANSPOSE", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "SLICE", "STRIDED_SLICE", "PAD",
                          "PADV2", "MIRROR_PAD", "GATHER", "ARG_MAX", "ARG_MIN", "TILE"), 1), "SPLIT": 0}  # fmt: skip
FUSES = ("ADD", "SUB", "MUL", "DIV", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D",
         "AVERAGE_POOL_2D")  # fmt: skip
RELU, NONE = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.NONE
#: What an attribute becomes.
CHANGES: dict[str, Callable[[Any], Any]] = {
    "fusedActivationFunction": lambda old: NONE if old else RELU,
    **dict.fromkeys(("alpha", "beta"), lambda old: 2 * old + 0.1),
    **dict.fromkeys(("halfPixelCenters", "exclusive", "reverse", "approximate", "adjX", "adjY"), lambda old: not old),
    **dict.fromkeys(("padding", "mode"), lambda old: 1 - old),
    **dict.fromkeys(("strideW", "strideH", "dilationWFactor", "dilationHFactor", "filterWidth", "filterHeight",
                     "radius"), lambda old: old + 1),
    "axis": lambda old: old - 1 if old else 1,
}  # fmt: skip


def places(edit: Editor, kind: str) -> Iterator[tuple[int, int, int]]:
    """(subgraph, operator, operand) of every constant of this kind."""
    names, position = PLACES[kind]
    for number, graph in enumerate(edit.model.subgraphs):
        edit.graph = graph
        for op in edit.indices(*names):
            operands = graph.operators[op].inputs
            if (
                len(operands) > position
                and operands[position] >= 0
                and (data := edit.data(int(operands[position]))) is not None
                and data.size
                and np.any(data)
            ):
                yield number, op, position


def element(edit: Editor, kind: str, rng: np.random.Generator) -> tuple[int, int] | None:
    """One element changed by the largest magnitude of its tensor; where it was: subgraph and operator."""
    found = list(places(edit, kind))
    if not found:
        return None
    number, op, position = found[rng.integers(len(found))]
    edit.graph = edit.model.subgraphs[number]
    data = edit.data(int(edit.graph.operators[op].inputs[position]))
    assert data is not None
    bent = data.copy()
    place, most = rng.integers(bent.size), np.abs(data.astype(np.float64)).max()
    value = float(bent.reshape(-1)[place])
    moved = value - most if value > 0 else value + most  # towards the middle, where 8 bits end
    bent.reshape(-1)[place] = min(moved, np.iinfo(data.dtype).max) if data.dtype.kind == "i" else moved
    edit.put(op, position, bent)
    return number, op


def where(edit: Editor, rng: np.random.Generator) -> tuple[int, int] | None:
    """An axis, a begin, a pad, a place of a row: one more, or two axes exchanged."""
    found = []
    for number, graph in enumerate(edit.model.subgraphs):
        edit.graph = graph
        for op in edit.indices(*WHERE):
            position = WHERE[edit.name(graph.operators[op])]
            data = edit.data(int(graph.operators[op].inputs[position]))
            if data is not None and data.size and data.dtype.kind == "i":
                found.append((number, op, position, data))
    if not found:
        return None
    number, op, position, data = found[rng.integers(len(found))]
    edit.graph = edit.model.subgraphs[number]
    bent = data.copy().reshape(-1)
    place = int(rng.integers(bent.size))
    if edit.name(edit.graph.operators[op]) == "TRANSPOSE":
        bent[[place, place - 1]] = bent[[place - 1, place]]
    else:
        bent[place] += 1
    edit.put(op, position, bent.reshape(data.shape))
    return number, op


def attribute(edit: Editor, rng: np.random.Generator) -> tuple[int, int] | None:
    """One attribute, whether shapes stay as they are or not."""
    found = []
    for number, graph in enumerate(edit.model.subgraphs):
        for op, table in enumerate(graph.operators):
            found += [(number, op, name) for name in CHANGES if hasattr(table.builtinOptions, name)
                      and (name != "fusedActivationFunction" or edit.name(table) in FUSES)]  # fmt: skip
    if not found:
        return None
    number, op, name = found[rng.integers(len(found))]
    options: Any = edit.model.subgraphs[number].operators[op].builtinOptions
    setattr(options, name, CHANGES[name](getattr(options, name)))
    return number, op
