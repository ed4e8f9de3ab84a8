"""LSTM, GRU and RNN of ONNX as recurrent layers of Keras, where the two mean the same.

A program has them as loops (``op_handlers.recurrent``).  Which functions a step applies, and so everything that Keras
has no counterpart for (clips, peepholes, lengths, other activations), shows in the operators of its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ir.graph import Graph, Op, Value
from .layers import operand
from .steps import Recurrent

Arrays = list[np.ndarray]


class Cell(NamedTuple):
    """``body``: the float operators of a step, in order.  ``gates``: which gate of ONNX each of Keras is."""

    layer: str
    body: str
    gates: tuple[int, ...]
    config: dict[str, object]


_SIGMOID: dict[str, object] = {"activation": "tanh", "recurrent_activation": "sigmoid"}
_LSTM = "FULLY_CONNECTED ADD SPLIT LOGISTIC LOGISTIC MUL TANH MUL ADD LOGISTIC TANH MUL"
_AFTER = "SPLIT FULLY_CONNECTED SPLIT ADD LOGISTIC ADD LOGISTIC MUL ADD TANH SUB MUL ADD"
_BEFORE = "SPLIT_V FULLY_CONNECTED ADD LOGISTIC SPLIT MUL FULLY_CONNECTED ADD TANH SUB MUL ADD"
CELLS = {
    "LSTM": (Cell("LSTM", _LSTM, (0, 2, 3, 1), _SIGMOID),),
    "GRU": (
        Cell("GRU", _AFTER, (0, 1, 2), {**_SIGMOID, "reset_after": True}),
        Cell("GRU", _BEFORE, (0, 1, 2), {**_SIGMOID, "reset_after": False}),
    ),
    "RNN": (
        Cell("SimpleRNN", "FULLY_CONNECTED ADD TANH", (0,), {"activation": "tanh"}),
        Cell("SimpleRNN", "FULLY_CONNECTED ADD+RELU", (0,), {"activation": "relu"}),
    ),
}
MOVEMENT = ("GATHER", "RESHAPE", "DYNAMIC_UPDATE_SLICE")


def recurrent(op: Op) -> Recurrent | None:
    """The layer of a loop that was made of a recurrent operator; None where Keras has none that is equal."""
    body: Graph = op.attrs["body"]
    made = [o for o in body.ops if o.outputs[0].dtype == np.float32 and not any(map(o.is_a, MOVEMENT))]
    cells = CELLS.get(op.origin.op_type if op.origin else "", ())
    cell = next((c for c in cells if c.body.split() == [_called(o) for o in made]), None)
    reads = [o for o in body.ops if o.is_a("GATHER")]
    if cell is None or len(reads) != 1 or operand(reads[0]) not in body.inputs:
        return None
    place, index = body.inputs.index(operand(reads[0])), operand(reads[0], 1)
    source = operand(op, place).made_by("FULLY_CONNECTED")
    if source is None or source.attrs.get("activation") or operand(source).rank != 3:
        return None
    products = [o for o in made if o.is_a("FULLY_CONNECTED")]
    weights = _weights(cell, source, products)
    written = [o for o in body.ops if o.is_a("DYNAMIC_UPDATE_SLICE")]
    first = 1 + len(written)
    states = [operand(op, i) for i in range(first, place)]
    if weights is None or len(states) != (2 if cell.layer == "LSTM" else 1):
        return None
    given = [] if all(map(_is_zero, states)) else states
    if any(v.data is not None for v in given):
        return None
    units = weights[1].shape[0]
    config = {**cell.config, "units": units, "use_bias": len(weights) == 3}
    results = [1 if written else None, *range(first, place)]
    return Recurrent(cell.layer, operand(source), given, config, weights, index is not body.inputs[0], results)


def _called(op: Op) -> str:
    return f"{op.kind.name}+{op.attrs['activation']}" if op.attrs.get("activation") else op.kind.name


def _is_zero(state: Value) -> bool:
    """Zeros, which a layer begins with by itself."""
    fill = state.made_by("FILL")
    data = operand(fill).data if fill is not None else state.data
    return data is not None and not data.any()


def _weights(cell: Cell, source: Op, products: Sequence[Op]) -> Arrays | None:
    """Kernel [I,G*H], recurrent kernel [H,G*H] and bias as Keras has them."""
    if any(v is not None and v.data is None for o in (source, *products) for v in o.inputs[1:]):
        return None
    kernel = operand(source, 1).data
    rows = np.concatenate([operand(o, 1).data for o in products])
    assert kernel is not None
    biases = [_bias(o) for o in (source, *products)]
    if cell.config.get("reset_after"):
        both = [np.zeros(len(kernel), np.float32) if b is None else b for b in biases]
        return [_ordered(kernel, cell).T, _ordered(rows, cell).T, np.stack([_ordered(b, cell) for b in both])]
    if any(b is not None and b.any() for b in biases[1:]):
        return None
    bias = [] if biases[0] is None else [_ordered(biases[0], cell)]
    return [_ordered(kernel, cell).T, _ordered(rows, cell).T, *bias]


def _bias(op: Op) -> np.ndarray | None:
    value = op.inputs[2] if len(op.inputs) > 2 else None
    return None if value is None else value.data


def _ordered(array: np.ndarray, cell: Cell) -> np.ndarray:
    """Gates along the first axis in the order of Keras."""
    parts = np.split(array, len(cell.gates))
    return np.concatenate([parts[i] for i in cell.gates])
