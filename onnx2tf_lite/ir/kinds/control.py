"""Control flow.  A body sees only its own inputs, in the order of the operator's operands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..graph import Attrs, Op, Value
from ..kind import Result, define
from ..traits import REALS, UNKNOWN, Bits, Elements, computed


def _declared(inputs: Sequence[Value], attrs: Attrs) -> list[Result]:
    return list(attrs["results"])


def _same_type(ours: Value, theirs: Value) -> bool:
    return ours.dtype == theirs.dtype and ours.rank == theirs.rank


def _matches(what: str, ours: list[Value], theirs: list[Value]) -> Iterator[str]:
    if len(ours) != len(theirs) or not all(map(_same_type, ours, theirs)):
        yield f"{what} are {theirs}, the operation has {ours}"


def _branches(op: Op) -> Iterator[str]:
    operands = [v for v in op.inputs[1:] if v is not None]
    for name in ("then", "otherwise"):
        yield from _matches(f"inputs of '{name}'", operands, op.attrs[name].inputs)
        yield from _matches(f"results of '{name}'", op.outputs, op.attrs[name].outputs)


def _iteration(op: Op) -> Iterator[str]:
    operands = [v for v in op.inputs if v is not None]
    condition, body = op.attrs["condition"], op.attrs["body"]
    yield from _matches("inputs of the condition", operands, condition.inputs)
    yield from _matches("inputs of the body", operands, body.inputs)
    yield from _matches("results of the body", op.outputs, body.outputs)
    if len(condition.outputs) != 1 or condition.outputs[0].dtype != np.bool_ or condition.outputs[0].rank:
        yield f"the condition gives {condition.outputs}, not one bool"


_BODIES = computed(UNKNOWN, REALS, None, Bits.SAME, None, elements=Elements.DELEGATED)
# condition (bool scalar), then the operands of both bodies; attrs ``then`` and ``otherwise`` are graphs, ``results`` the
# (shape, dtype) of every result
define(
    "IF",
    _declared,
    _BODIES.but(bodies=_branches),
    types="",
    max_rank=8,
    options=("IfOptions", {"thenSubgraphIndex": "then", "elseSubgraphIndex": "otherwise"}),
)
# the loop state; attrs ``condition`` (state -> bool scalar) and ``body`` (state -> state)
define(
    "WHILE",
    _declared,
    _BODIES.but(bodies=_iteration),
    types="",
    max_rank=8,
    options=("WhileOptions", {"condSubgraphIndex": "condition", "bodySubgraphIndex": "body"}),
)
