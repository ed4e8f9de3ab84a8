"""Guards of a softmax against rows that are masked away entirely, where the masks leave a number in every row.

Exporters write Where(IsNaN(softmax(scores)), 0, softmax(scores)): a row of -inf alone has no softmax.  Without such a
row the result is the softmax itself, whatever finite scores there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import rewrite
from ..ir.graph import Graph, Op, Value
from ..ir.traits import DOTS
from .specials import Spans


def drop(parts: Sequence[Graph], spans: Spans) -> int:
    """Leave the guards out, in place, that no mask needs; how many."""
    dropped = 0
    for part in parts:
        if not any(map(_guarded, part.ops)):
            continue
        for op in rewrite.walk(part):
            guarded = _guarded(op)
            if guarded is None or "n" in spans.of(guarded).special or not _of_products(guarded, set(part.inputs)):
                part.ops.append(op)
            else:
                rewrite.replace(op, [guarded])
                dropped += 1
    return dropped


def _guarded(op: Op) -> Value | None:
    """The softmax whose NaN ``op`` replaces."""
    if not op.is_a("SELECT_V2") or op.inputs[2] is None or op.inputs[2].made_by("SOFTMAX") is None:
        return None
    x, condition = op.inputs[2], op.inputs[0]
    test = condition.made_by("NOT_EQUAL") if condition is not None else None
    tested = test is not None and all(v is x for v in test.inputs)
    return x if tested and op.outputs[0].shape == x.shape else None


def _of_products(value: Value, inputs: set[Value]) -> bool:
    """True where ``value`` is made of products and constants by arithmetic and movement: an input of the model could be
    a mask, with any number of -inf."""
    queue, seen = [value], set[Value]()
    while queue:
        value = queue.pop()
        if value in seen or value.is_constant or value.dtype.kind != "f":
            continue
        seen.add(value)
        if value in inputs or value.producer is None:
            return False
        if value.producer.kind.special != DOTS:
            queue += value.producer.uses()
    return True
