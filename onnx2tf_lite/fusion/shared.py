"""Constants that several operations read: copied where they are small, else changed for all alike or not at all."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..ir.editor import Editor, memory_of
from ..ir.graph import Op, Value
from ..ir.rules import Match, NearMissError, has_one_reader

SHARED_LIMIT = 1 << 16  # bytes of a constant that may be duplicated


def changed(m: Match, held: Value, reader: Op, change: Hashable, make: Callable[[], Value]) -> Value:
    """``make()``, which ``reader`` reads instead of the constant ``held``; ``change`` says what is done: None, a part.

    :raises NearMissError: others need the constant as it is, and it is large.
    """
    if held.nbytes() <= SHARED_LIMIT or (change is None and has_one_reader(m, held)):
        return make()
    assert isinstance(m.view, Editor)
    if change is None or not m.view.agreed(held, reader, change, m.nodes):
        raise NearMissError("other operations use the weights")
    key = memory_of(held), held.shape, change
    return m.view.copies.get(key) or m.view.copies.setdefault(key, make())
