"""Control flow.  A body sees only its own inputs, in the order of the operator's operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph import Value
from ..kind import Result, define


def _declared(inputs: Sequence[Value], attrs: Mapping[str, Any]) -> list[Result]:
    return list(attrs["results"])


# condition (bool scalar), then the operands of both bodies; attrs ``then`` and ``otherwise`` are graphs, ``results`` the
# (shape, dtype) of every result
define(
    "IF", _declared, max_rank=8, options=("IfOptions", {"thenSubgraphIndex": "then", "elseSubgraphIndex": "otherwise"})
)
# the loop state; attrs ``condition`` (state -> bool scalar) and ``body`` (state -> state)
define(
    "WHILE",
    _declared,
    max_rank=8,
    options=("WhileOptions", {"condSubgraphIndex": "condition", "bodySubgraphIndex": "body"}),
)
