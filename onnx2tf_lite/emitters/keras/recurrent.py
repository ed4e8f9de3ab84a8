"""LSTM, GRU and RNN of ONNX as recurrent layers of Keras, where the two mean the same.

A program has them as loops (``op_handlers.recurrent``).  Which functions a step applies, and so everything that Keras
has no counterpart for (clips, peepholes, lengths, other activations), shows in the operators of its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ir.graph import Graph, Op, Value
from .cropping import reshaped
from .steps import BatchMajor, KerasLayer, Node, Recurrent, operand

Arrays = list[np.ndarray]
TURNED = (1, 0, 2)


class Cell(NamedTuple):
    """``body``: the float operators of a step, in order, but those that only move elements; ``gates``: which gate of
    ONNX each of Keras is."""

    layer: str
    body: str
    gates: tuple[int, ...]
    config: dict[str, object]


_SIGMOID: dict[str, object] = {"activation": "tanh", "recurrent_activation": "sigmoid"}
_LSTM = "FULLY_CONNECTED ADD LOGISTIC LOGISTIC MUL TANH MUL ADD LOGISTIC TANH MUL"
_AFTER = "FULLY_CONNECTED ADD LOGISTIC ADD LOGISTIC MUL ADD TANH SUB MUL ADD"
_BEFORE = "FULLY_CONNECTED ADD LOGISTIC MUL FULLY_CONNECTED ADD TANH SUB MUL ADD"
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


def recurrent(op: Op) -> Recurrent | None:
    """The layer of a loop that was made of a recurrent operator; None where Keras has none that is equal."""
    body: Graph = op.attrs["body"]
    made = [o for o in body.ops if o.outputs[0].dtype == np.float32 and not _moves(o)]
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
    x, turned = batch_major(operand(source))
    backwards = index is not body.inputs[0]
    return Recurrent(cell.layer, x, turned, given, config, weights, backwards, results)


def batch_major(x: Value) -> tuple[Node, bool]:
    """x [steps, batch, features] as [batch, steps, features] and True where the program has made it of that."""
    moved = x.made_by("TRANSPOSE")
    if moved is not None and tuple(moved.attrs["perm"]) == TURNED:
        return operand(moved), True
    flat = x.made_by("RESHAPE")
    moved = operand(flat).made_by("TRANSPOSE") if flat is not None else None
    if moved is not None and tuple(moved.attrs["perm"]) == (1, 2, 0, 3) and operand(moved).shape[1] == 1:
        image = operand(moved)
        found = reshaped(image, image.shape, (image.shape[0], *image.shape[2:]))
        if found is not None:
            return found, True
    joined = operand(flat).made_by("CONCATENATION") if flat is not None else None
    parts = (
        [_directions(part) for part in joined.inputs] if joined is not None and joined.attrs["axis"] == 2 else [None]
    )
    if None not in parts:
        return KerasLayer("Concatenate", [part for part in parts if part is not None], {"axis": -1}), True
    return x, False


def _directions(part: Value | None) -> BatchMajor | None:
    """Hidden states [steps, batch, 1, features] of one direction, as the layer gives them."""
    own = part.made_by("RESHAPE") if part is not None else None
    return None if own is None else _states(operand(own))


def _states(value: Value) -> BatchMajor | None:
    """Hidden states of a layer that gives them batch first."""
    loop = value.made_by("WHILE")
    layer = recurrent(loop) if loop is not None else None
    if loop is None or layer is None or not layer.batch_major or layer.results[0] is None:
        return None
    return BatchMajor(value) if loop.outputs[layer.results[0]] is value else None


def turned_back(op: Op) -> BatchMajor | None:
    """A TRANSPOSE of the hidden states of a layer that gives them batch first."""
    return _states(operand(op)) if tuple(op.attrs["perm"]) == TURNED else None


def _moves(op: Op) -> bool:
    return op.kind.copies(op.outputs[0].dtype) or op.is_a("DYNAMIC_UPDATE_SLICE") or op.is_a("GATHER")


def _called(op: Op) -> str:
    return f"{op.kind.name}+{op.attrs['activation']}" if op.attrs.get("activation") else op.kind.name


def _is_zero(state: Value) -> bool:
    """Zeros, which a layer begins with by itself; perhaps repeated for every sequence of the batch."""
    while (maker := state.producer) is not None and (maker.kind.copies(state.dtype) or maker.kind.is_splat):
        state = operand(maker)
    return state.data is not None and not state.data.any()


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
