"""A small pattern language over IR operations, and the editor that rewrites a graph with it.

A rule is a pattern, and a function that either builds the replacement with ``ir.build`` or says why not::

    @rule(op("RELU", op("CONV_2D", name="conv")), origin="conv")
    def activation(m: Match) -> Value | str | None:
        \"\"\"activation into the convolution\"\"\"
        return again(m.conv, activation="RELU")

Patterns are rooted at the *last* operation and look upstream.  The last operation is rewritten in place and keeps its
result, so names, placements and readers of what survives never change; the operations before it go when nobody reads
them any more.  Nothing is built into the graph unless the rule succeeds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isclose
from typing import Any, Union

import numpy as np

from ..ir import build as b
from ..ir.graph import Graph, Op, Placement, Quant, Value, building

COMMUTATIVE = frozenset(["ADD", "MUL", "MAXIMUM", "MINIMUM"])
REACH = 4  # operations on the longest path of a pattern; a change may make roots so far downstream match

# ------------------------------------------------------------------------------------------------ patterns


@dataclass(frozen=True)
class Anything:
    """Any value; the same name twice means the same value."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A constant; with ``number``, one whose elements all equal it."""

    name: str
    number: float | None = None


@dataclass(frozen=True)
class Operation:
    """The result of an operation of one of ``kinds`` whose first operands match and whose attributes are ``attrs``.

    Nobody outside the pattern may read it, unless ``shared``: then the rule leaves it in place for its other readers.
    """

    kinds: frozenset[str]
    operands: tuple[Pattern, ...]
    name: str
    shared: bool
    attrs: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Either:
    """The first alternative that matches."""

    options: tuple[Pattern, ...]


Pattern = Union[Anything, Constant, Operation, Either]


def any_(name: str) -> Pattern:
    """Any value."""
    return Anything(name)


def const(name: str) -> Pattern:
    """Any constant."""
    return Constant(name)


def number(value: float) -> Pattern:
    """A constant that is ``value`` everywhere."""
    return Constant("", value)


def op(kinds: str, *operands: Pattern, name: str = "", shared: bool = False, **attrs: Any) -> Operation:
    """``op("ADD|SUB", any_("x"), const("c"), name="sum")``; operands not listed are not looked at."""
    return Operation(frozenset(kinds.split("|")), operands, name, shared, tuple(attrs.items()))


def either(*options: Pattern) -> Pattern:
    """One of several patterns."""
    return Either(options)


class Match:
    """What a pattern found: ``m.root`` and, by name, the values and operations of the pattern."""

    def __init__(self, root: Op, names: dict[str, Any], editor: Editor):
        self.root, self.editor = root, editor
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return self._names.get(name)


Rewrite = Callable[[Match], "Value | str | None"]


@dataclass(frozen=True)
class Rule:
    """``rewrite`` returns the replacement of the root's result, the reason against it, or None for "not this one"."""

    pattern: Pattern
    rewrite: Rewrite
    origin: str = "root"

    @property
    def what(self) -> str:
        return (self.rewrite.__doc__ or self.rewrite.__name__).strip().partition("\n")[0]

    def roots(self) -> frozenset[str]:
        """Kinds that the root can have."""
        options = self.pattern.options if isinstance(self.pattern, Either) else (self.pattern,)
        return frozenset[str]().union(*(o.kinds for o in options if isinstance(o, Operation)))


def rule(pattern: Pattern, origin: str = "root") -> Callable[[Rewrite], Rule]:
    """Make a rule of a rewrite function; the new operations carry the provenance of the operation called ``origin``."""
    return lambda function: Rule(pattern, function, origin)


def again(operation: Op, *inputs: Value | None, **attrs: Any) -> Value:
    """The same operation with some attributes, and perhaps all inputs, replaced."""
    return b.emit(operation.kind.name, *(inputs or operation.inputs), **{**operation.attrs, **attrs})


def uniform(value: Value, wanted: float, tolerance: float = 0) -> bool:
    """True for a constant that is ``wanted`` everywhere."""
    data = value.data
    if data is None or not data.size or data.dtype.kind not in "fiu":
        return False
    return isclose(data.flat[0], wanted, rel_tol=tolerance) and bool(np.all(data == data.flat[0]))


# ------------------------------------------------------------------------------------------------ the editor


@dataclass
class Editor:
    """A graph under edit: who reads what, which operations wait to be looked at, what was done and what was not."""

    graph: Graph
    rules: dict[str, list[Rule]]
    keep: frozenset[str] = frozenset()  # names of ONNX nodes whose operations stay
    done: Counter[str] = field(default_factory=Counter)
    missed: dict[Op, dict[str, str]] = field(default_factory=dict)
    renamed: dict[Value, Value] = field(default_factory=dict)
    readers: dict[Value, dict[Op, None]] = field(default_factory=dict)
    pinned: set[Value] = field(default_factory=set)
    dead: set[Op] = field(default_factory=set)
    before: dict[Op, list[Op]] = field(default_factory=dict)
    queue: deque[Op] = field(default_factory=deque)
    queued: set[Op] = field(default_factory=set)

    def run(self) -> None:
        """Apply the rules and merge duplicates until nothing changes."""
        graph = self.graph
        graph.sweep()
        self.pinned = set(graph.outputs) | {value for value, _ in graph.definitions.values()}
        for operation in graph.ops:
            self._index(operation)
            self._enqueue(operation)
        while True:
            while self.queue:
                operation = self.queue.popleft()
                self.queued.discard(operation)
                if operation not in self.dead:
                    any(self._try(r, operation) for r in self.rules.get(operation.kind.name, ()))
            graph.ops = list(self._ordered(graph.ops))
            self.before.clear()
            if not self._merge_duplicates():
                break
        self._settle()

    # -------------------------------------------------------------------------------- matching

    def sole(self, value: Value) -> bool:
        """True where one operation reads ``value`` and nobody outside the graph does."""
        return len(self.readers.get(value, ())) == 1 and value not in self.pinned

    def _find(self, pattern: Pattern, value: Value | None, names: dict[str, Any], root: bool = False) -> dict | None:
        """``names`` with what the pattern binds, or None."""
        if value is None:
            return None
        if isinstance(pattern, Anything):
            return names | {pattern.name: value} if names.get(pattern.name, value) is value else None
        if isinstance(pattern, Constant):
            fits = value.is_constant and (pattern.number is None or uniform(value, pattern.number, 1e-6))
            return names | {pattern.name: value} if fits else None
        if isinstance(pattern, Either):
            return next((f for o in pattern.options if (f := self._find(o, value, names, root)) is not None), None)
        found = value.producer
        if found is None or found.kind.name not in pattern.kinds or len(found.outputs) != 1:
            return None
        if found.origin is not None and found.origin.node in self.keep:
            return None
        if not (root or pattern.shared or self.sole(value)):
            return None
        if any(found.attrs.get(k) != v for k, v in pattern.attrs):
            return None
        names = names | {pattern.name: found} if pattern.name else names
        straight = self._find_all(pattern.operands, found.inputs, names)
        if straight is None and found.kind.name in COMMUTATIVE and len(pattern.operands) == 2:
            return self._find_all(pattern.operands, found.inputs[::-1], names)
        return straight

    def _find_all(self, patterns: Sequence[Pattern], values: Sequence[Value | None], names: dict) -> dict | None:
        if len(patterns) > len(values):
            return None
        for pattern, value in zip(patterns, values, strict=False):
            found = self._find(pattern, value, names)
            if found is None:
                return None
            names = found
        return names

    def _try(self, candidate: Rule, root: Op) -> bool:
        names = self._find(candidate.pattern, root.outputs[0], {}, root=True)
        if names is None:
            return False
        graph, ops = self.graph, self.graph.ops
        source = names.get(candidate.origin, root)
        made: list[Op] = []
        graph.ops = made
        try:
            with building(graph, source.origin):
                new = candidate.rewrite(Match(root, names, self))
        finally:
            graph.ops = ops
        if isinstance(new, str):
            self.missed.setdefault(root, {})[candidate.what] = new
        if not isinstance(new, Value) or not self._replace(root, new, made):
            return False
        self.done[candidate.what] += 1
        self.missed.pop(root, None)
        return True

    # -------------------------------------------------------------------------------- editing

    def _replace(self, root: Op, new: Value, made: list[Op]) -> bool:
        """Let ``root`` compute ``new``; False where the result would not be the same tensor."""
        old = root.outputs[0]
        if new.shape != old.shape or new.dtype != old.dtype:
            return False
        if new.producer is None or new.producer not in made:
            return self._alias(old, new)
        final = new.producer
        for operation in made:
            if operation is not final:
                self.before.setdefault(root, []).append(operation)
                self._index(operation)
                self._enqueue(operation)
        lost = root.uses()
        for value in lost:
            self.readers[value].pop(root, None)
        root.kind, root.inputs, root.attrs, root.origin = final.kind, final.inputs, final.attrs, final.origin
        old.quant = new.quant or old.quant
        self._index(root)
        for value in lost + [v for operation in made if operation is not final for v in operation.outputs]:
            self._release(value)
        self._touch(root)
        return True

    def _alias(self, gone: Value, kept: Value) -> bool:
        """Everybody reads ``kept`` instead of the equal tensor ``gone``; a graph output keeps its own name."""
        if gone.producer is None or gone is kept:
            return False
        if gone in self.pinned:
            if kept in self.pinned or kept.producer is None:
                return False
            loser, source = gone.producer, kept.producer
            loser.outputs[loser.outputs.index(gone)] = kept
            source.outputs[source.outputs.index(kept)] = gone
            gone.producer, kept.producer = source, loser
            gone, kept = kept, gone
        for reader in list(self.readers.pop(gone, ())):
            reader.replace_uses({gone: kept})
            self.readers.setdefault(kept, {})[reader] = None
        self.renamed[gone] = kept
        self._release(gone)
        if kept.producer is not None:
            self._touch(kept.producer)
        return True

    def _index(self, operation: Op) -> None:
        for value in operation.uses():
            self.readers.setdefault(value, {})[operation] = None

    def _release(self, value: Value) -> None:
        """Look again at the one reader that ``value`` still has; without any, its producer goes."""
        if self.sole(value):
            self._touch(next(iter(self.readers[value])))
        producer = value.producer
        if producer is None or producer in self.dead or producer.kind.stateful:
            return
        if any(self.readers.get(v) or v in self.pinned for v in producer.outputs):
            return
        self.dead.add(producer)
        for used in producer.uses():
            self.readers.get(used, {}).pop(producer, None)
            self._release(used)

    def _enqueue(self, operation: Op) -> None:
        if operation not in self.queued and operation not in self.dead:
            self.queued.add(operation)
            self.queue.append(operation)

    def _touch(self, operation: Op, reach: int = REACH) -> None:
        self._enqueue(operation)
        if reach > 1:
            for value in operation.outputs:
                for reader in self.readers.get(value, ()):
                    self._touch(reader, reach - 1)

    def _ordered(self, ops: Sequence[Op]) -> Iterator[Op]:
        """Living operations with the new ones in front of those they were made for."""
        for operation in ops:
            yield from self._ordered(self.before.get(operation, ()))
            if operation not in self.dead:
                yield operation

    def _merge_duplicates(self) -> bool:
        """Let equal operations on equal operands be one; True where something changed."""
        first: dict[Any, Op] = {}
        changed = False
        for operation in self.graph.ops:
            key = None if operation.kind.stateful or len(operation.outputs) != 1 else identity(operation)
            if key is None:
                continue
            twin = first.setdefault(key, operation)
            if twin is operation or operation in self.dead:
                continue
            same = twin.outputs[0].shape == operation.outputs[0].shape
            if same and self._alias(operation.outputs[0], twin.outputs[0]):
                self.done["duplicate removed"] += 1
                changed = True
        return changed

    def _settle(self) -> None:
        """Bring order and tables of the graph up to date: what no longer exists has no counterpart."""
        graph = self.graph
        graph.ops = list(self._ordered(graph.ops))
        alive = set(graph.inputs).union(*(o.outputs for o in graph.ops))
        tensors = ((n, self._survivor(v)) for n, v in graph.tensors.items())
        graph.tensors = {n: v for n, v in tensors if v in alive}
        places = ((n, self._placement(p, alive)) for n, p in graph.placements.items())
        graph.placements = {n: p for n, p in places if p is not None}

    def _survivor(self, value: Value) -> Value:
        while value in self.renamed:
            value = self.renamed[value]
        return value

    def _placement(self, place: Placement, alive: set[Value]) -> Placement | None:
        """Where the tensor is now; real numbers that only exist as stored integers any more are found there."""
        value = self._survivor(place.value)
        if value in alive or value.is_constant:
            return replace(place, value=value)
        if value.producer is None or value.producer.kind.name != "DEQUANTIZE":
            return None
        source = self._survivor(value.producer.inputs[0])  # type: ignore[arg-type]
        if source not in alive or source.quant is None or source.quant.axis is not None:
            return None
        return replace(place, value=source, real=True)

    def notes(self) -> list[str]:
        """What was done, and the rules that came close and why they did not apply."""
        near = ((o, *miss) for o, misses in self.missed.items() if o not in self.dead for miss in misses.items())
        kept = [f"{o.origin or o.kind.name}: no {what}: {why}" for o, what, why in near]
        return [f"{count} x {what}" for what, count in self.done.items()] + kept


def rewrite(graph: Graph, rules: Sequence[Rule], keep: frozenset[str] = frozenset()) -> list[str]:
    """Apply ``rules`` to a graph and the bodies below it, to the fixpoint; what was done, and the near misses.
    Operations of the ONNX nodes in ``keep`` stay as they are."""
    table: dict[str, list[Rule]] = {}
    for candidate in rules:
        for kind in candidate.roots():
            table.setdefault(kind, []).append(candidate)
    notes = []
    for part in (graph, *graph.subgraphs()):
        editor = Editor(part, table, keep)
        editor.run()
        notes += editor.notes()
    return notes


def identity(operation: Op) -> tuple | None:
    """A key that two operations share exactly when they compute the same; None where that cannot be told."""
    try:
        attrs = tuple((k, _frozen(v)) for k, v in sorted(operation.attrs.items()))
        return operation.kind.name, tuple(_frozen(v) for v in operation.inputs), attrs
    except TypeError:
        return None


def _frozen(x: Any) -> Any:
    if isinstance(x, Value) and x.data is not None:
        small = x.data.size <= 64
        return x.dtype.str, x.shape, x.data.tobytes() if small else id(x.data), _frozen(x.quant)
    if isinstance(x, Quant):
        return x.scale.tobytes(), x.zero_point.tobytes(), x.dtype.str, x.axis
    if isinstance(x, Graph):
        raise TypeError("bodies are not compared")
    hash(x)
    return x
