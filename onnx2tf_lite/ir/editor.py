"""The editor that rewrites a graph by rules, to the fixpoint.

Patterns are rooted at the *last* operation and look upstream.  The last operation is rewritten in place and keeps its
result, so names, placements and readers of what survives never change; the operations before it go when nobody reads
them any more.  Nothing is built into the graph unless the rule succeeds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from ..match import find
from .graph import Graph, Op, Placement, Quant, Value, building
from .kinds import Kind
from .rules import Match, NearMissError, Rule, is_splat

CHANGES, FEW = 100, 100  # to a program, for each of its operations and these: rules that do not end are a mistake
TOLERANCE = 1e-6  # relative, of the numbers in a pattern: two float32 next to each other

Seen = tuple[tuple[Op, Kind, tuple[Value | None, ...]], ...]  # operations, and what they were


@dataclass
class Editor:
    """A graph under edit: who reads what, which operations wait to be looked at, what was done and what was not."""

    graph: Graph
    rules: Mapping[str, Sequence[Rule]]  # by the operators that their roots can be
    reach: int
    """Operations on the longest path that a rule looks at: a change may make roots so far downstream match."""
    keep: frozenset[str] = frozenset()  # names of ONNX nodes whose operations stay
    elsewhere: Set[Hashable] = frozenset()  # memory of constants that other graphs of the program read
    done: Counter[str] = field(default_factory=Counter)
    missed: dict[Op, dict[str, str]] = field(default_factory=dict)
    renamed: dict[Value, Value] = field(default_factory=dict)
    reshaped: dict[Value, Value] = field(default_factory=dict)
    """Operand of a RESHAPE that computes something else by now -> its result, the same elements in the same order."""
    uses: dict[Value, dict[Op, None]] = field(default_factory=dict)
    same: dict[Hashable, dict[Value, None]] = field(default_factory=dict)  # constants by the memory they lie in
    copies: dict[Hashable, Value] = field(default_factory=dict)  # what is read instead, by the same as wishes
    wishes: dict[Hashable, dict[Op, Seen]] = field(default_factory=dict)
    """(memory and shape of a constant, change) -> the operations that would read the changed one, and why."""
    decided: dict[Hashable, Hashable] = field(default_factory=dict)  # memory of a constant -> the change of all readers
    pinned: set[Value] = field(default_factory=set)
    dead: set[Op] = field(default_factory=set)
    before: dict[Op, list[Op]] = field(default_factory=dict)
    queue: deque[Op] = field(default_factory=deque)
    queued: set[Op] = field(default_factory=set)

    def run(self) -> None:
        """Apply the rules and merge duplicates until nothing changes; RuntimeError where rules undo each other."""
        graph = self.graph
        graph.sweep()
        most = CHANGES * (len(graph.ops) + FEW)
        self.pinned = set(graph.outputs) | {value for value, _ in graph.definitions.values()}
        for operation in graph.ops:
            self._index(operation)
            self._enqueue(operation)
        while True:
            while self.queue:
                operation = self.queue.popleft()
                self.queued.discard(operation)
                if operation not in self.dead:
                    self._look(operation)
                if self.done.total() > most:
                    names = ", ".join(f"'{what}'" for what, _ in self.done.most_common(3))
                    raise RuntimeError(f"rules of the converter undo each other: {names}")
            graph.ops = list(self._ordered(graph.ops))
            self.before.clear()
            if not self._merge_duplicates():
                break
        self._update_tables()

    # -------------------------------------------------------------------------------- what patterns see

    def operator(self, node: Op) -> str:
        """The kind of an operation; "" where it was made of an ONNX node that is to be kept."""
        return "" if node.origin is not None and node.origin.node in self.keep else node.kind.name

    def operands(self, node: Op) -> Sequence[Value | None]:
        """Its inputs; extents that attributes hold are none."""
        return node.inputs

    def attributes(self, node: Op) -> Mapping[str, object]:
        """Its attributes."""
        return node.attrs

    def producer(self, tensor: Value) -> Op | None:
        """The operation whose only result it is."""
        found = tensor.producer
        return found if found is not None and len(found.outputs) == 1 else None

    def is_constant(self, tensor: Value) -> bool:
        """True where it has data."""
        return tensor.is_constant

    def is_number(self, tensor: Value, wanted: float) -> bool:
        """True for a splat of ``wanted``."""
        return is_splat(tensor, wanted, TOLERANCE)

    def readers(self, tensor: Value) -> Iterator[Op | None]:
        """Its operations, and None for a graph output or what defines a symbol; of a constant all that read the same
        memory, and None where another graph does."""
        memory = memory_of(tensor)
        for value in (tensor,) if memory is None else self.same.get(memory, ()):
            yield from self.uses.get(value, ())
        if tensor in self.pinned or memory in self.elsewhere:
            yield None

    def agreed(self, held: Value, reader: Op, change: Hashable, nodes: Sequence[Op]) -> bool:
        """True where all readers of a constant ask for the same change, ``reader`` because of ``nodes``; those that
        were told otherwise are looked at again, and get this change before any other."""
        wishes = self.wishes.setdefault(((memory := memory_of(held)), held.shape, change), {})
        seen = tuple((op, op.kind, tuple(op.inputs)) for op in nodes)
        new, wishes[reader] = wishes.get(reader) != seen, seen
        all_of_them = all(r is not None and self._stands(wishes.get(r, ())) for r in self.readers(held))
        agreed = self.decided.get(memory, change) == change and all_of_them
        if new and agreed and len(wishes) > 1:
            self.decided[memory] = change
            waiting, self.queue, self.queued = self.queue, deque(), set()
            for other in wishes:
                self._touch(other, self.reach)
            self.queue.extend(waiting)
            self.queued.update(waiting)
        return agreed

    def _stands(self, seen: Seen) -> bool:
        """True where all of these operations are still what they were."""
        return bool(seen) and all(
            o not in self.dead and o.kind is k and (*o.inputs,) == inputs for o, k, inputs in seen
        )

    # -------------------------------------------------------------------------------- applying rules

    def _look(self, root: Op) -> None:
        """Apply the first rule that applies to what ends in ``root``."""
        if len(root.outputs) != 1:
            return
        for candidate in self.rules.get(root.kind.name, ()):
            if self._try(candidate, root):
                return

    def _match(self, candidate: Rule, root: Op) -> Match | None:
        for pattern in candidate.patterns:
            found = find(pattern, root, self)
            if found is not None and found.read_elsewhere() is None:
                return found
        return None

    def _try(self, candidate: Rule, root: Op) -> bool:
        match = self._match(candidate, root)
        if match is None:
            return False
        graph, ops = self.graph, self.graph.ops
        source = match.op(candidate.origin) if candidate.origin else root
        made: list[Op] = []
        graph.ops = made
        try:
            with building(graph, source.origin):
                new = candidate.rewrite(match)
        except NearMissError as reason:
            self.missed.setdefault(root, {})[candidate.what] = str(reason)
            return False
        finally:
            graph.ops = ops
        if new is None or not self._replace(root, new, made):
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
            self.uses[value].pop(root, None)
        if old.made_by("RESHAPE"):
            self.reshaped.setdefault(lost[0], old)
        root.kind, root.inputs, root.attrs, root.origin = final.kind, final.inputs, final.attrs, final.origin
        old.quant = new.quant or old.quant
        self._index(root)
        for value in lost + [v for operation in made if operation is not final for v in operation.outputs]:
            self._release(value)
        self._touch(root, self.reach)
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
        for reader in list(self.uses.pop(gone, ())):
            reader.replace_uses({gone: kept})
            self.uses.setdefault(kept, {})[reader] = None
        self.renamed[gone] = kept
        self._release(gone)
        if kept.producer is not None:
            self._touch(kept.producer, self.reach)
        return True

    def _index(self, operation: Op) -> None:
        for value in operation.uses():
            self.uses.setdefault(value, {})[operation] = None
            if value.is_constant:
                self.same.setdefault(memory_of(value), {})[value] = None

    def _release(self, value: Value) -> None:
        """Look again at the one reader that ``value`` still has; without any, its producer goes."""
        readers = [*self.readers(value)]
        if len(readers) == 1 and readers[0] is not None:
            self._touch(readers[0], self.reach)
        producer = value.producer
        if producer is None or producer in self.dead or producer.kind.stateful:
            return
        if any(self.uses.get(v) or v in self.pinned for v in producer.outputs):
            return
        self.dead.add(producer)
        for used in producer.uses():
            self.uses.get(used, {}).pop(producer, None)
            self._release(used)

    def _enqueue(self, operation: Op) -> None:
        if operation not in self.queued and operation not in self.dead:
            self.queued.add(operation)
            self.queue.append(operation)

    def _touch(self, operation: Op, reach: int) -> None:
        self._enqueue(operation)
        if reach > 1:
            for value in operation.outputs:
                for reader in self.uses.get(value, ()):
                    self._touch(reader, reach - 1)

    def _ordered(self, ops: Sequence[Op]) -> Iterator[Op]:
        """Living operations with the new ones in front of those they were made for."""
        for operation in ops:
            yield from self._ordered(self.before.get(operation, ()))
            if operation not in self.dead:
                yield operation

    def _merge_duplicates(self) -> bool:
        """Let equal operations on equal operands be one; True where something changed."""
        first: dict[object, Op] = {}
        changed = False
        for operation in self.graph.ops:
            key = None if operation.kind.stateful or len(operation.outputs) != 1 else value_key(operation)
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

    def _update_tables(self) -> None:
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
        """Where the tensor is now; real numbers that only exist as stored integers any more are found there, and
        integers without a sign in those with one that are as real."""
        value = self._survivor(place.value)
        while value not in alive and (renaming := value.made_by("RESHAPE")) is not None:
            (value,) = map(self._survivor, renaming.uses()[:1])  # the same elements in the same order
        if value not in alive:
            value = self._survivor(self.reshaped.get(value, value))
        if value in alive or value.is_constant:
            return place if value is place.value else replace(place, value=value)
        maker = value.made_by("DEQUANTIZE") or value.made_by("QUANTIZE")
        if maker is None or maker.inputs[0] is None:
            return None
        source = self._survivor(maker.inputs[0])
        if source not in alive or source.quant is None or source.quant.axis is not None:
            return None
        if value.made_by("DEQUANTIZE"):
            return replace(place, value=source, real=True)
        signed = maker.attrs["quant"].as_signed()
        same = place.value.dtype.kind == "u" and signed and signed.same(source.quant)
        return replace(place, value=source, unsigned=True) if same else None

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
        for kind in frozenset[str]().union(*(p.root.operators for p in candidate.patterns)):
            table.setdefault(kind, []).append(candidate)
    reach = max((candidate.reach for candidate in rules), default=0)
    notes = []
    parts = (graph, *graph.subgraphs())
    read = [{memory_of(v) for op in part.ops for v in op.uses() if v.is_constant} for part in parts if len(parts) > 1]
    for part in parts:
        others = frozenset[Hashable]().union(*(found for p, found in zip(parts, read, strict=False) if p is not part))
        editor = Editor(part, table, reach, keep, others)
        editor.run()
        notes += editor.notes()
    return notes


def memory_of(value: Value) -> Hashable:
    """Where the elements of a constant lie, and in which order: what is equal is in a file once.  None for others."""
    if (data := value.data) is None:
        return None
    walk = () if data.flags.c_contiguous else tuple(p for p in zip(data.shape, data.strides, strict=True) if p[0] != 1)
    return data.__array_interface__["data"][0], data.nbytes, data.dtype, walk


def value_key(operation: Op) -> tuple[object, ...] | None:
    """A key that two operations share exactly when they compute the same; None where that cannot be told."""
    try:
        attrs = tuple((k, _frozen(v)) for k, v in sorted(operation.attrs.items()))
        return operation.kind.name, tuple(_frozen(v) for v in operation.inputs), attrs
    except TypeError:
        return None


def _frozen(x: object) -> object:
    if isinstance(x, Value) and x.data is not None:
        small = x.data.size <= 64
        return x.dtype.str, x.shape, x.data.tobytes() if small else id(x.data), _frozen(x.quant)
    if isinstance(x, Quant):
        return x.scale.tobytes(), x.zero_point.tobytes(), x.dtype.str, x.axis
    if isinstance(x, Graph):
        raise TypeError("bodies are not compared")
    hash(x)
    return x
