"""The child's side of ``alone``: some layers on some sets of operands, in the original model and in the file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..feeds.operands import TAKES_ANY, Seen, draw
from ..figures.judge import Difference, Tolerance
from ..figures.measure import Array, change, narrow
from ..files.flatfile import FlatFile
from ..original.parts import ModelPart, result
from ..original.reference import EXACT, NoReferenceError, Reference, Session, jitter
from ..whole.shared import Results, Shared
from . import eightbits, saturation
from .channels import ChannelRange, channel_axis, span
from .compared import Comparison
from .crop import cropped, smaller
from .isolate import Layer, Layers, Runs, is_order

JITTERS = 3
KERNELS = "builtin kernels"  # those whose steps of 8 bits are the larger ones
LONGER = 4  # how often a layer is made longer until both sides begin at the same tensors
FEW = 64  # results, below which one set of operands leaves much to chance


@dataclass
class Outcome:
    """What came of some layers.

    ``layers``: those of the file as they were run, some of them longer than asked for; ``parts``: the same in the
    original model; ``differences`` by runtime and number of the set of operands; ``spans`` of the results of each
    channel; ``branches``: IF operator -> which ways it went; ``errors`` of each channel of layers on weights of eight
    bits.
    """

    layers: dict[str, Layer] = field(default_factory=dict)
    parts: dict[str, ModelPart] = field(default_factory=dict)
    differences: dict[str, dict[tuple[str, int], Difference]] = field(default_factory=dict)
    spans: dict[str, ChannelRange | None] = field(default_factory=dict)
    branches: dict[int, set[bool]] = field(default_factory=dict)
    errors: dict[str, dict[tuple[str, int], Array]] = field(default_factory=dict)
    saturated: set[str] = field(default_factory=set)


@dataclass
class Trial:
    """``seen``: what operands were end to end, ``values`` the same themselves where they are at hand; ``usual``: how
    large the results are over all samples, see :func:`judge.compare`: so large they would be on operands of that range
    too, but that few of them may be nothing by chance."""

    reference: Reference
    layers: Layers
    limit: Tolerance
    seen: Mapping[str, Seen]
    values: Mapping[str, Array]
    symbols: Mapping[str, int]
    usual: Mapping[str, float] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    tables: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.compared = Comparison(self.reference, self.layers, self.limit, self.symbols)

    def made(self, layers: Sequence[Layer], runtimes: Sequence[str], numbers: Sequence[int]) -> Outcome:
        """On operands made for them; layers for which that is not possible are left out.

        :raises NoReferenceError: the reference refuses one of the parts.
        :raises FileError: a runtime does.
        """
        pairs = self.pairs(layers)
        found = Outcome({n: x for n, (x, _) in pairs.items()}, {n: p for n, (_, p) in pairs.items()})
        if not pairs:
            return found
        expected = self.expected(list(found.parts.values()), numbers)
        for name in [n for n in pairs if any(self._strange(n, e[n]) for e in expected)]:
            del found.layers[name], found.parts[name]
        found.spans = {n: span([e[n] for e in expected], p) for n, p in found.parts.items()}
        self.compare(found, runtimes, numbers, expected, self.halves(found, numbers, expected))
        self.forgive(found, runtimes, numbers, expected)
        self.by_channels(found, numbers, expected)
        found.saturated = self.saturated(found, runtimes[-1], numbers)
        return found

    def saturated(self, found: Outcome, runtime: str, numbers: Sequence[int]) -> set[str]:
        """The layers that differ on operands that lead beyond the scales inside."""
        names = {n for n, pairs in found.differences.items() if any(d.what for d in pairs.values())}
        some = ((n, self.operands(replace(found, layers={n: found.layers[n]}), k)) for n in names for k in numbers)
        target = self.layers.target
        return {n for n, operands in some if saturation.saturates(target, found.layers[n], operands, runtime)}

    def as_seen(self, layers: Sequence[Layer], runtimes: Sequence[str]) -> Outcome:
        """On the values end to end, which tell less and are always at hand."""
        found = Outcome({x.name: x for x in layers if x.name not in self.reference.random})
        expected = [{n: self.values[n] for n in found.layers}]
        self.compare(found, runtimes, (0,), expected)
        if any(d.what for pairs in found.differences.values() for d in pairs.values()):
            parts = {x.name: p for x in layers if (p := self.part(x, True)[0])}
            self.forgive(replace(found, parts=parts), runtimes, (0,), expected)
        return found

    # ------------------------------------------------------------------------------------------ operands

    def operand(self, name: str, part: ModelPart | None, number: int) -> Array:
        """In ONNX order; of round ``number``, or without a part as end to end."""
        if part is None:
            return self.values[name]
        seen = cropped(self.seen[name], part.least)
        return draw(name, seen, number, part.free, self.tables.get(name, 0), name in part.turns, self.ends(name))

    def ends(self, name: str) -> tuple[float, float] | None:
        """The least and the greatest number that a tensor of a quantised model can be, where the file has it in the
        same steps: what saturates does so on both sides."""
        index = self.layers.index(name) if name in self.reference.steps else None
        tensor = self.layers.target.file.tensors[index] if index is not None else None
        if tensor is None or not tensor.quantised or tensor.scale.size != 1:
            return None
        info = np.iinfo(tensor.dtype)
        low, high = tensor.real(np.array([info.min, info.max], tensor.dtype))
        return float(low), float(high)

    def given(self, name: str, part: ModelPart, number: int, shake: int, seen: bool, rounding: str = "") -> Array:
        """An operand of a part of the original model: what the one of the file stands for there; shaken unless 0."""
        index = self.layers.index(name)
        dtype = self.seen[name].dtype if name in self.seen else self.values[name].dtype
        if index is None:
            drawn = self.values[name]
        else:
            first = self.layers.counterpart[index]
            drawn = self.operand(first, None if seen else part, number)
            if first != name or self.layers.target.file.tensors[index].quantised:
                shape = self.values[name].shape if seen else cropped(self.seen[name], part.least).shape
                stored = self.layers.store(first, narrow(drawn), self.symbols)
                drawn = self.layers.restore(name, stored, shape, dtype, self.symbols)
        return np.asarray((jitter(drawn, shake, rounding) if shake else drawn).astype(dtype, copy=False), order="C")

    # ------------------------------------------------------------------------------------------ the original model

    def pairs(self, layers: Sequence[Layer]) -> dict[str, tuple[Layer, ModelPart]]:
        """The layers that begin at the same tensors on both sides, if need be after they were made longer."""
        found = dict[str, tuple[Layer, ModelPart]]()
        for asked in layers:
            layer: Layer | None = asked
            beyond = set[int]()
            for _ in range(LONGER):
                if layer is None:
                    break
                part, other = self.part(layer)
                if part is not None and not other:
                    found[layer.name] = layer, replace(part, least=self._least(layer, part))
                    break
                beyond |= other
                layer = self.layers.layer(asked.name, beyond)
        return found

    def _least(self, layer: Layer, part: ModelPart) -> int:
        ends = [self.layers.place(n, self.seen[n].shape) for n in (*part.reads, *layer.reads, layer.name)]
        if not set(part.reads) <= set(layer.reads) or not all(is_order(place) for place in ends):
            return 0
        return smaller(self.reference.parts, part, self.layers.target.file, layer.segment, self.seen)

    def part(self, layer: Layer, seen: bool = False) -> tuple[ModelPart | None, set[int]]:
        """The layer in the original model, and the tensors at which only the file's begins.

        ``seen``: the values of any tensor, also of one that the file's layer does not read, are at hand.
        """
        model, boundary = self.reference.parts, layer.segment.boundary
        names = {a for t in boundary for a in self.layers.aliases[t]}
        part = model.part(layer.name, names | model.inputs if seen else names, self.seen)
        if part is not None and self.reference.drawn.intersection(model.results(part)):
            part = None
        if part is None or seen:
            return part, set(() if seen else boundary)
        tensors = self.layers.target.file.tensors
        like = self.layers.target.kind == "quantised" or not part.operators <= TAKES_ANY
        integers = any(tensors[t].quantised for t in (*boundary, layer.segment.target))
        if integers or (like and not self.compared.rounds_to_bytes(layer)):
            part = replace(part, free=False)  # larger numbers than it was made for are cut off
        firsts = (self.layers.counterpart.get(self.layers.index(n) or -1, n) for n in part.turns)
        part = replace(part, turns=part.turns.union(firsts))
        met = {self.layers.index(n) for n in part.reads}
        return part, {t for t in boundary if self.layers.counterpart[t] in layer.values and t not in met}

    def expected(
        self,
        parts: Sequence[ModelPart],
        numbers: Sequence[int],
        shakes: Sequence[int] = (0,),
        seen: bool = False,
        rounding: str = "",
    ) -> Results:
        """The results of each set of operands, of each of the ways in which it is shaken; ``rounding``: see
        :meth:`Reference.open`."""
        self.tables |= self._tables(parts)
        known = None if seen else self.recipe(parts, numbers, shakes, rounding)
        if known in self.shared.results:
            return self.shared.results[known]
        session, outputs = self.session(parts, seen, rounding)
        found = []
        for number in numbers:
            for shake in shakes:
                feeds = {p.operand(n): self.given(n, p, number, shake, seen, rounding)
                         for p in parts for n in (*p.reads, *p.measured)}  # fmt: skip
                results = session.run(feeds)
                found.append({p.target: narrow(results[o]) for p, o in zip(parts, outputs, strict=True)})
        if known:
            self.shared.keep(known, found)
        return found

    def recipe(
        self, parts: Sequence[ModelPart], numbers: Sequence[int], shakes: Sequence[int], rounding: str
    ) -> Hashable:
        """All that results on made operands depend on, whatever the file; None where that is more."""
        made: list[Hashable] = [tuple(numbers), tuple(shakes), rounding]
        for part in parts:
            made += [part.target, part.nodes, part.reads, part.measured, part.free, part.turns, part.least]
            for name in (*part.reads, *part.measured):
                index = self.layers.index(name)
                tensor = None if index is None else self.layers.target.file.tensors[index]
                if tensor is not None and tensor.quantised:
                    return None
                first = name if index is None else self.layers.counterpart[index]
                made += [tensor is None, first, self.tables.get(first, 0)]
                for alias in (first, name) if first != name else ():
                    place = self.layers.place(alias, cropped(self.seen[alias], part.least).shape)
                    made += [place.split, place.perm, place.shape, place.factor, place.value.shape]
                    made.append(tensor and tensor.dtype)
        return tuple(made)

    def session(self, parts: Sequence[ModelPart], seen: bool, rounding: str) -> tuple[Session, list[str]]:
        """The parts of the original model, loaded, and the names of their results.

        :raises NoReferenceError: the reference refuses one of them.
        """
        kinds = {
            p.operand(n): (self.seen[n].dtype, self.values[n].shape if seen else cropped(self.seen[n], p.least).shape)
            for p in parts
            for n in (*p.reads, *p.measured)
        }
        outputs = [result(k, p.target) for k, p in enumerate(parts)]
        whole = self.reference.parts
        model = whole.assemble(parts, kinds)
        masked = frozenset(n for n in outputs if n.partition("/")[2] in self.reference.masked)
        made = replace(self.reference, source=model, outputs=outputs, notes=[], masked=masked, folder=whole.folder)
        session = made.open(rounding=rounding)
        if made.engine != self.reference.engine and len(parts) > 1:  # the slow one is for that part which is refused
            raise NoReferenceError(made.notes[-1])
        return session, outputs

    def _tables(self, parts: Iterable[ModelPart]) -> dict[str, int]:
        """Rows of the (smallest) table that an operand points into, by the first name of the operand."""
        found: dict[str, int] = {}
        for name, rows in (pair for p in parts for pair in p.tables.items()):
            index = self.layers.index(name)
            if index is not None:
                first = self.layers.counterpart[index]
                found[first] = min(rows, found.get(first, rows))
        return found

    def _strange(self, name: str, array: Array) -> bool:
        """NaN or infinity where end to end there is none: the operands are outside of what the layer is made for."""
        return array.dtype.kind == "f" and self.seen[name].finite and not np.isfinite(array).all()

    # ------------------------------------------------------------------------------------------ the file

    def compare(
        self,
        found: Outcome,
        runtimes: Sequence[str],
        numbers: Sequence[int],
        expected: Results,
        slack: Mapping[tuple[str, int], float] | None = None,
    ) -> None:
        """Run the layers of ``found`` and note how they differ."""
        layers = list(found.layers.values())
        runs = Runs(self.layers, layers)
        noisy = {n for n, part in found.parts.items() if part.free}
        eight = {x.name for x in layers if x.name in noisy and self.compared.rounds_to_bytes(x)}
        for number, right in zip(numbers, expected, strict=True):
            operands = self.operands(found, number)
            for runtime in runtimes:
                results, went = runs.results(operands, runtime, last=number == numbers[-1])
                for op, flag in went:
                    found.branches.setdefault(op, set()).add(flag)
                for layer, got in zip(layers, results, strict=True):
                    allowed = slack.get((layer.name, number), 0.0) if slack else 0.0
                    whole, wanted = self.compared.sides(layer.name, got, right[layer.name])
                    part = found.parts.get(layer.name)
                    made = part is not None and (part.free or whole.size > FEW)
                    usual = 0.0 if made else self.usual.get(layer.name, 0.0)
                    difference = self.compared.difference(layer, whole, wanted, allowed, usual)
                    found.differences.setdefault(layer.name, {})[runtime, number] = difference
                    if layer.name in eight and whole.shape == wanted.shape and whole.ndim:
                        axis = channel_axis(whole.ndim, found.parts[layer.name])
                        found.errors.setdefault(layer.name, {})[runtime, number] = eightbits.channels(
                            whole - wanted, axis
                        )

    def operands(self, found: Outcome, number: int) -> list[Array]:
        """What the layers of the file read, one after the other."""
        stored, operands = dict[str, Array](), list[Array]()
        for layer in found.layers.values():
            part = found.parts.get(layer.name)
            for name in layer.reads:
                key = part.operand(name) if part else name
                if key not in stored:
                    drawn = narrow(self.operand(name, part, number))
                    stored[key] = self.layers.store(name, drawn, self.symbols)
                operands.append(stored[key])
        return operands

    def forgive(self, found: Outcome, runtimes: Sequence[str], numbers: Sequence[int], expected: Results) -> None:
        """Compare those that differ once more, with what rounding does to the layer in the original model allowed."""
        bad = [n for n, pairs in found.differences.items() if n in found.parts and any(d.what for d in pairs.values())]
        if not bad or self.layers.target.kind == "quantised":
            return
        seen = expected[0].get(bad[0]) is self.values.get(bad[0])
        slack = {(n, k): d for n in bad for k, d in self.inexact(found.parts[n], numbers, expected, seen).items()}
        for rounding in ("", "float16"):
            names = [n for n in bad if self.rounding(found.layers[n]) == rounding]
            moved = self.moved(found, names, numbers, expected, seen, rounding, JITTERS) if names else {}
            slack |= {key: max(slack.get(key, 0.0), d) for key, d in moved.items()}
        if any(slack.values()):
            parts = {} if seen else {n: found.parts[n] for n in bad}
            again = Outcome({n: found.layers[n] for n in bad}, parts)
            self.compare(again, runtimes, numbers, expected, slack)
            found.differences |= again.differences

    def inexact(self, part: ModelPart, numbers: Sequence[int], expected: Results, seen: bool) -> dict[int, float]:
        """How far the reference itself is from what the layer means, for each set of operands: float32 loses more of
        the sum of a million squares than any other rounding does.  Nothing where ONNX Runtime has no kernels in
        float64."""
        try:
            exact = self.expected([part], numbers, seen=seen, rounding=EXACT)
        except NoReferenceError:
            return {}
        n = part.target
        return {k: change(e[n], was[n]) for k, e, was in zip(numbers, exact, expected, strict=True)}

    def halves(self, found: Outcome, numbers: Sequence[int], expected: Results) -> dict[tuple[str, int], float]:
        """What rounding does to layers on 16-bit constants in one draw: nearly all of them need that, so it is not
        waited for; few need more, which :meth:`forgive` draws."""
        names = [n for n in found.parts if self.rounding(found.layers[n])]
        if not names or self.layers.target.kind == "quantised":
            return {}
        return self.moved(found, names, numbers, expected, False, "float16", 1)

    def rounding(self, layer: Layer) -> str:
        """``float16`` for a layer that reads constants of 16 bits, itself or in bodies, or what others read too and is
        made of such."""
        file, operators = self.layers.target.file, layer.segment.operators
        read = {t for i in operators for t in file.operators[i].inputs if t >= 0}
        makers = [file.producers[t] for t in read if t in file.producers]
        read |= {maker.inputs[0] for maker in makers if len(maker.inputs) == 1}
        halves = any(file.tensors[t].constant and file.tensors[t].dtype == np.float16 for t in read)
        return "float16" if halves or not file.on_halves.isdisjoint(operators) else ""

    def moved(
        self,
        found: Outcome,
        names: Sequence[str],
        numbers: Sequence[int],
        expected: Results,
        seen: bool,
        rounding: str,
        draws: int,
    ) -> dict[tuple[str, int], float]:
        """How far each layer of the original model moves when all that it reads is rounded as the file rounds it.

        Kernels compute in float32, so operands are good to a unit in its last place; ``float16``: constants are good to
        2^-11 of each.  A layer is a function f of its operands x and its weights w, the file makes f(x, w (1 + e)) with
        some |e| <= 2^-11 (or of weights that were multiplied by others before that).  What that does is measured and
        not bounded by norms, which know nothing of cancellation: the largest change of any element over some draws of
        such e, one for each operand and each large weight.  That is a few standard deviations of what any rounding of
        this size does, since all elements and draws take part; :data:`judge.SLACK` times it is allowed.
        """
        parts = [found.parts[n] for n in names]
        shaken = self.expected(parts, numbers, range(1, draws + 1), seen, rounding)
        return {
            (n, number): max(change(e[n], expected[k][n]) for e in shaken[k * draws : (k + 1) * draws])
            for n in names
            for k, number in enumerate(numbers)
        }

    # ------------------------------------------------------------------------------------------ eight bits

    def by_channels(self, found: Outcome, numbers: Sequence[int], expected: Results) -> None:
        """Hold layers on weights of eight bits to what rounding does to each of their channels, whatever share that is
        of a result: few numbers that cancel out are mostly rounding."""
        usual = {n: dict(found.differences[n]) for n in found.errors}
        suspects = [n for n, pairs in usual.items() if all(math.isfinite(d.sqnr) or not d.what for d in pairs.values())]
        for draws in eightbits.DRAWS:
            if not suspects:
                return
            few = replace(found, layers={n: found.layers[n] for n in suspects})
            limits = self.limits(few, draws, numbers, expected)
            for n in suspects:
                for key, error in found.errors[n].items():
                    what, known = eightbits.beyond(error, limits[n, key[1]]), usual[n][key]
                    used = max(known.used, 1.0) if what else min(known.used, 1.0)
                    asked = eightbits.ASKED if what else ""
                    found.differences[n][key] = replace(known, what=what, asked=asked, used=used)
            suspects = [n for n in suspects if any(d.what for d in found.differences[n].values())]

    def limits(
        self, found: Outcome, draws: int, numbers: Sequence[int], expected: Results
    ) -> dict[tuple[str, int], Array]:
        """What each channel of some layers may differ by, for each set of operands."""
        layers, file = list(found.layers.values()), self.layers.target.file
        assert isinstance(file, FlatFile)
        rows = [eightbits.by_row(file, x.segment) for x in layers for _ in x.reads]
        given = [self.operands(found, number) for number in numbers]
        plain = Runs(self.layers, layers)
        before = [plain.results(operands, KERNELS)[0] for operands in given]
        moves: dict[tuple[str, int], list[Array]] = {}
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            moved_file = partial(file.extract, weights=partial(eightbits.moved_weights, rng=rng))
            runs = Runs(self.layers, layers, moved_file)
            for number, operands, was, right in zip(numbers, given, before, expected, strict=True):
                moved = [eightbits.moved_operand(a, row, rng) for a, row in zip(operands, rows, strict=True)]
                for x, *ends in zip(layers, runs.results(moved, KERNELS)[0], was, strict=True):
                    now, then = (self.compared.sides(x.name, end, right[x.name])[0] for end in ends)
                    axis = channel_axis(now.ndim, found.parts[x.name])
                    moves.setdefault((x.name, number), []).append(eightbits.channels(now - then, axis))
        right_of = {(x.name, k): right[x.name] for k, right in zip(numbers, expected, strict=True) for x in layers}
        return {
            (n, k): eightbits.allowed(
                m, eightbits.steps(file, found.layers[n].segment, m[0].size), eightbits.floor(right_of[n, k])
            )
            for (n, k), m in moves.items()
        }
