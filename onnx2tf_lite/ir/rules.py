"""Rules over the IR: a pattern, and a function that builds what its last operation is to compute instead.

    @rule("RELU(conv := CONV_2D(...))", origin="conv")
    def activation(m: Match) -> Value | None:
        \"\"\"activation into the convolution\"\"\"
        return again(m.op("conv"), activation="RELU")

Patterns are texts of :mod:`onnx2tf_lite.match` with the names of ``ir.kinds``, or with a word of :data:`FAMILIES` for
all operators that have a trait.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isclose

import numpy as np

from .. import match
from ..record import record
from . import build as b
from .graph import Op, Value
from .kinds import KINDS, Kind
from .orders import Elementwise
from .traits import Elements, FixedScale, Int8

MOVEMENT = (Int8.MOVES, Int8.PADS, Int8.JOINS)
FAMILIES: dict[str, Callable[[Kind], bool]] = {
    "linear": lambda kind: kind.weights is not None,
    "carrier": lambda kind: kind.fuses,  # of an activation
    "clamp": lambda kind: kind.clamps,
    "elementwise": lambda kind: isinstance(kind.layout, Elementwise) and kind.elements is Elements.COMPUTED,
    "arithmetic": lambda kind: kind.fuses and isinstance(kind.layout, Elementwise),
    "mover": lambda kind: kind.int8 is Int8.MOVES,  # the numbers of one tensor, and perhaps zeros, or fewer of them
    "view": lambda kind: kind.int8 is Int8.MOVES and kind.elements is Elements.COPIED,
    "reduction": lambda kind: kind.empty is not None,
    "joiner": lambda kind: kind.int8 is Int8.JOINS,
    "kernel": lambda kind: isinstance(kind.int8, FixedScale) or kind.int8 not in (None, *MOVEMENT),
}


def operators(word: str) -> list[str]:
    """What a word in a pattern stands for."""
    return [word] if word in KINDS else [k.name for k in KINDS.values() if word in FAMILIES and FAMILIES[word](k)]


IR = match.Language(operators, frozenset(k.name for k in KINDS.values() if k.commutes))

Match = match.Match[Value, Op]
Rewrite = Callable[[Match], "Value | None"]


class NearMissError(Exception):
    """The pattern is there and the rule does not apply, and why; whoever asks "why was this not fused" reads it."""


@record
class Rule:
    """``rewrite`` returns the replacement of the root's result, raises :class:`NearMissError` with the reason against
    it, or returns None for "this is something else".  The new operations carry the provenance of the operation called
    ``origin``, or of the root."""

    patterns: tuple[match.Pattern, ...]
    rewrite: Rewrite
    origin: str
    reach: int
    """Operations on the longest path that the rule looks at, its root included."""

    @property
    def what(self) -> str:
        """The first line of the docstring of the rule."""
        return (self.rewrite.__doc__ or self.rewrite.__name__).strip().partition("\n")[0]


def rule(*texts: str, origin: str = "", above: int = 0) -> Callable[[Rewrite], Rule]:
    """Make a rule of a rewrite function.  ``above``: how many operations further up than its patterns it looks."""
    patterns = IR.patterns(*texts)
    reach = max(p.depth for p in patterns) + above
    return lambda rewrite: Rule(patterns, rewrite, origin, reach)


def again(operation: Op, *inputs: Value | None, **attrs: object) -> Value:
    """The same operation with some attributes, and perhaps all inputs, replaced."""
    return b.emit(operation.kind.name, *(inputs or operation.inputs), **{**operation.attrs, **attrs})


def is_splat(value: Value, wanted: float, tolerance: float = 0) -> bool:
    """True for a constant whose elements are all ``wanted``."""
    data = value.data
    if data is None or not data.size or data.dtype.kind not in "fiu":
        return False
    return isclose(data.flat[0], wanted, rel_tol=tolerance) and bool(np.all(data == data.flat[0]))


def has_one_reader(m: Match, value: Value) -> bool:
    """True where one operation reads ``value`` and nobody outside the graph does."""
    readers = [*m.view.readers(value)]
    return len(readers) == 1 and readers[0] is not None
