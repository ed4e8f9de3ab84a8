"""Every layer of a file on its own, on operands made for it: what end to end hides behind other layers shows here.

The layers of the file and those of the original model are each run as one model of independent parts (``isolate``,
``parts``) on the same operands (``operands``), in a child (``trial``).  Layers of which one set of operands shows too
little are run on more: those with few results, those that choose by booleans, tables, and those of which whole channels
never moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from ... import child
from ..bounds import HELD, OverBudgetError
from ..feeds.operands import ROUNDS, SCALES, Seen, normal, turns
from ..figures.judge import Difference
from ..figures.measure import Array, narrow
from ..files import quantised
from ..files.written import FileError, LayeredFile
from ..original.parts import SHAPE_ONLY, ModelPart
from ..original.reference import NoReferenceError
from ..whole.run import Run
from . import saturation
from .channels import ChannelRange, channel_axis
from .compared import rounds_anew
from .isolate import Layer, Layers
from .trial import FEW, Outcome, Trial

BODIES = {"If", "Loop", "Scan"}  # they also read what their bodies do
SECONDS = 5.0  # of processor time that further sets may take, or as long as the first one took if that is more
TOGETHER = 1 << 23  # bytes of tensors of a group in TensorFlow's process, or beside one
SETS = 16  # sets of operands in one child
WEIGHTS = 1 << 29  # bytes of them in one child, which holds several copies, one of them a message of at most 2 GB
Shapes = Mapping[tuple[str, tuple[int, ...]], tuple[int, ...]]


@dataclass
class Alone:
    """What came of one layer: its worst ``difference``, in which runtime and on which set of operands.

    ``made``: these were made for it, not those seen end to end; ``span`` of the results of each channel;
    ``rows``: of its table how many of how many were looked up; ``branches``: IF operator -> which ways it went;
    ``turns``: how often its loops did; ``saturated``: they led beyond the scales inside of it.
    """

    layer: Layer
    difference: Difference
    runtime: str
    number: int = 0
    made: bool = True
    part: ModelPart | None = None
    span: ChannelRange | None = None
    rows: tuple[int, int] = (0, 0)
    branches: dict[int, set[bool]] = field(default_factory=dict)
    turns: set[int] = field(default_factory=set)
    saturated: bool = False

    @property
    def closed(self) -> Array:
        """The channels that never moved though the operands did; of a layer of which none can hide, no channels."""
        return self.span.closed if self.span else np.zeros(0, bool)


class Bench:
    """The layers of one file on their own."""

    def __init__(self, run: Run, target: LayeredFile, shapes: Shapes):
        """``shapes``: see :class:`Layers`."""
        self.run, self.target, self.reference = run, target, run.reference
        known = target.program.names
        names = [s.name for s in self.reference.inputs] + [n for n in self.reference.nodes if n in known]
        self.layers = Layers(target, [n for n in names if n in known], shapes, self._fixed(names))
        self.seen: dict[str, Seen] = {}
        self.usual: dict[str, float] = {}
        self.found: dict[str, Alone] = {}
        self.failed: dict[str, Alone] = {}  # by themselves, too; of files that run that says nothing

    def _fixed(self, names: Iterable[str]) -> set[str]:
        """Tensors that do not depend on the values of any input: what is computed of shapes, or is constant.

        No operand is made for these: the file may have one of them for several that are equal.
        """
        varies = {s.name for s in self.reference.inputs}
        for name, (_, op) in self.reference.nodes.items():
            if op in BODIES or (op not in SHAPE_ONLY and not varies.isdisjoint(self.reference.reads[name])):
                varies.add(name)
        return set(names) - varies

    def check(self) -> dict[str, Alone]:
        """Every layer, by the ONNX name of its result."""
        try:
            self.look()
        except OverBudgetError as error:
            self.layers.refused |= dict.fromkeys(self.layers.counterpart.values(), str(error))
            return self.found
        normal((), 0), self.reference.parts  # made here, the children share them
        layers = [layer for n in self.layers.counterpart.values() if (layer := self.layers.layer(n))]
        start = spent()
        for group in self.groups(layers):
            self.rounds(group, (0,))
        took = spent() - start
        for group in self.groups([x for x in layers if x.name not in self.found]):
            self.hold(group)
            self.take(group, lambda some: self.trial(0).as_seen(some, self.runtimes))
        self.more(spent() + max(SECONDS, took))
        self.unsaturated([a.layer for a in self.found.values() if a.saturated and a.difference.what])
        return self.found

    @property
    def runtimes(self) -> tuple[str, ...]:
        """What runs the file."""
        return quantised.runtimes(self.target)

    # ------------------------------------------------------------------------------------------ end to end

    def look(self) -> None:
        """What the operands were end to end."""
        whole = self.run.whole
        given = whole.samples[0].feeds
        self.seen = {n: Seen.of(narrow(a) if a.dtype.kind == "V" else a) for n, a in given.items()}  # bfloat16
        wanted = [n for n in self.layers.names if n not in self.seen]
        for chunk in whole.chunks(wanted, [self.target], whole.samples[0].symbols, len(whole.samples)):
            whole.read(chunk)
            self.seen |= {n: Seen.of(whole.samples[0].expected[n]) for n in chunk}
            self.usual |= {n: self.run.usual(n) for n in chunk}
        if self.target.tensorflow:  # beside all that TensorFlow takes
            whole.let_go({n for n in self.layers.names if self.layers.index(n) is None})

    def hold(self, layers: Sequence[Layer]) -> None:
        """Have the values end to end of what the layers read, by all the names that it has, and make."""
        wanted = [n for x in layers for t in x.segment.boundary for n in self.layers.aliases[t]]
        self.run.whole.read([n for n in (*(x.name for x in layers), *wanted) if n in self.reference.nodes])

    def rounds_anew(self, layers: Iterable[Layer]) -> bool:
        """Does any of them round where the quantised model does not?"""
        return any(rounds_anew(self.layers, self.reference, x, self.seen[x.name].dtype) for x in layers)

    def trial(self, number: int) -> Trial:
        """``number`` of the sample whose values are the operands, where none are made."""
        sample = self.run.whole.samples[number]
        values = {n: narrow(a) for n, a in (sample.feeds | sample.expected).items()}
        limit, symbols = self.run.limit.isolated, self.run.symbols(sample)
        shared = self.run.whole.shared
        return Trial(self.reference, self.layers, limit, self.seen, values, symbols, self.usual, shared)

    def as_seen(self, layers: Sequence[Layer], runtime: str, number: int) -> dict[str, Difference]:
        """What each layer makes of the values of a sample; none where its part does not run."""
        found: dict[str, Difference] = {}
        self.take(
            layers,
            lambda some: self.trial(number).as_seen(some, (runtime,)),
            lambda one: found.update({n: d[runtime, 0] for n, d in one.differences.items()}),
        )
        return found

    def unsaturated(self, layers: Sequence[Layer]) -> None:
        """Take layers that differ on operands beyond the scales inside of them for what they are on those seen."""
        for group in self.groups(layers):
            self.hold(group)
            every = range(len(self.run.whole.samples))
            seen = [self.as_seen(group, runtime, number) for number in every for runtime in self.runtimes]
            for layer in group:
                rows = [found[layer.name] for found in seen if layer.name in found]
                if len(rows) == len(seen) and not any(saturation.too_coarse(d, self.run.limit.isolated) for d in rows):
                    worst = min(rows, key=lambda d: d.sqnr)
                    self.found[layer.name] = replace(self.found[layer.name], difference=worst, made=False)

    # ------------------------------------------------------------------------------------------ rounds

    def groups(self, layers: Sequence[Layer]) -> Iterable[list[Layer]]:
        """Layers whose operands and results stay within the budget, on both sides, and whose weights are not too many;
        without those too large for the budget."""
        most = min(self.run.whole.options.budget, self.reference.bounds.tensors) // HELD
        if self.target.tensorflow or self.reference.bounds.crowded:
            # each group reads the model again: of a large one there are few
            most = min(most, max(TOGETHER, self.reference.size))
        room, held, group = 0, 0, list[Layer]()
        for layer in layers:
            size = sum(self.seen[n].nbytes for n in (*layer.reads, layer.name))
            try:
                self.reference.bounds.fit(size)
            except OverBudgetError as error:
                self.layers.refused[layer.name] = str(error)
                continue
            own = self.weights(layer)
            if group and (size > room or held + own > WEIGHTS):
                yield group
                group = []
            if not group:
                room, held = most, 0
            group.append(layer)
            room, held = room - size, held + own
        if group:
            yield group

    def weights(self, layer: Layer) -> int:
        """Bytes of the constants of a layer."""
        file = self.target.file
        read = {t for op in layer.segment.operators for t in file.operators[op].inputs if t >= 0}
        return sum(file.tensors[t].nbytes for t in read if file.tensors[t].constant)

    def more(self, end: float) -> None:
        """Further sets of operands for those that need them, until ``end``."""
        wanted = {n: self.wanted(a) for n, a in self.found.items()}
        number, loops = 1, {n for n, a in self.found.items() if a.part and a.part.turns}
        while spent() < end and (names := [n for n, count in wanted.items() if count > number]):
            last = min(min(wanted[n] for n in names), number + SETS)
            for group in self.groups([self.found[n].layer for n in names if n not in loops]):
                self.rounds(group, range(number, last))
            for name, turn in product(loops.intersection(names), range(number, last)):  # it may not take so many
                self.rounds([self.found[name].layer], (turn,))
            number = last

    def wanted(self, alone: Alone) -> int:
        """How many sets of operands a layer needs."""
        part, shape = alone.part, self.seen[alone.layer.name].shape
        if part is None or not part.reads:
            return 1
        count = max((-(-rows // max(self.seen[n].size, 1)) for n, rows in part.tables.items()), default=1)
        if any(self.seen[n].dtype == np.bool_ for n in alone.layer.reads):
            count = max(count, 4)
        if part.turns:
            count = max(count, ROUNDS)
        if part.weights and alone.closed.any():
            return max(count, len(SCALES))
        channels = shape[channel_axis(len(shape), part)] if shape else 1
        each = max(self.seen[alone.layer.name].size // max(channels, 1), 1)
        if part.weights and each <= FEW:  # pairs of sets, as many as make more than that of each channel
            pairs = FEW // (2 * each) + 1 if part.free else 1
            count = max(count, min(2 * pairs, len(SCALES)))
        return count

    def rounds(self, layers: Sequence[Layer], numbers: Sequence[int]) -> None:
        """Some layers on some sets of operands; ``found`` has the worst of each."""
        self.take(layers, lambda some: self.trial(0).made(some, self.runtimes, numbers))

    def take(
        self,
        layers: Sequence[Layer],
        work: Callable[[Sequence[Layer]], Outcome],
        keep: Callable[[Outcome], None] | None = None,
    ) -> None:
        """``work`` in a child, and in halves where one of the layers makes it fail; nothing is known of that one."""
        try:
            found: Outcome = self.reference.bounds.call(lambda: work(layers))
        except (child.DiedError, FileError, NoReferenceError, OverBudgetError) as error:
            half = len(layers) // 2
            if isinstance(error, OverBudgetError) and not half:
                self.layers.refused[layers[0].name] = str(error)
            if isinstance(error, FileError | child.DiedError) and not half:
                what = str(error) if isinstance(error, FileError) else f"cannot be run: it {error}"
                self.failed[layers[0].name] = Alone(layers[0], Difference(np.inf, np.inf, what=what), "", made=False)
            for some in (layers[:half], layers[half:]) if half else ():
                self.take(some, work, keep)
            return
        (keep or self.keep)(found)

    def keep(self, found: Outcome) -> None:
        """Remember the worst of each layer, and what took part."""
        for name, differences in found.differences.items():
            part = found.parts.get(name)
            for (runtime, number), difference in differences.items():
                known = self.found.setdefault(
                    name, Alone(found.layers[name], difference, runtime, number, part is not None, part)
                )
                if (bool(difference.what), difference.used) > (bool(known.difference.what), known.difference.used):
                    known.difference, known.runtime, known.number = difference, runtime, number
            known, sets = self.found[name], len({number for _, number in differences})
            known.saturated |= name in found.saturated
            known.branches |= {op: known.branches.get(op, set()) | found.branches[op]
                               for op in known.layer.segment.operators if op in found.branches}  # fmt: skip
            trips = [self.seen[n] for n in part.turns if n in self.seen] if part else []
            known.turns |= {turns(trip, number) for trip in trips for _, number in differences}
            span = found.spans.get(name)
            known.span = known.span | span if known.span and span else span
            for table, rows in part.tables.items() if part else ():
                known.rows = min(rows, known.rows[0] + sets * self.seen[table].size), rows


def spent() -> float:
    """Seconds of processor time, children included: a busy machine checks as much as an idle one."""
    return sum(os.times()[:4])
