"""The child's side of ``alone``: some layers on some sets of operands, in the original model and in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from . import quantised
from .channels import closed
from .crop import cropped, smaller
from .isolate import Layer, Layers, Runs, is_order
from .judge import Difference, Tolerance, compare
from .measure import Array, change
from .operands import Seen, draw
from .parts import ModelPart, Parts, result
from .precision import RESULT_SCALE
from .reference import UNQUANTISED, Reference, ReferenceFailed, Session, jitter
from .run import narrow

JITTERS = 3
HALF = 2.0**-11  # by which a float16 is rounded
LONGER = 4  # how often a layer is made longer until both sides begin at the same tensors
Expected = dict[str, Array]


@dataclass
class Outcome:
    """What came of some layers.

    ``layers``: those of the file as they were run, some of them longer than asked for; ``parts``: the same in the
    original model; ``differences`` by runtime and number of the set of operands; ``channels`` that never moved;
    ``branches``: IF operator -> which ways it went.
    """

    layers: dict[str, Layer] = field(default_factory=dict)
    parts: dict[str, ModelPart] = field(default_factory=dict)
    differences: dict[str, dict[tuple[str, int], Difference]] = field(default_factory=dict)
    channels: dict[str, Array | None] = field(default_factory=dict)
    branches: dict[int, set[bool]] = field(default_factory=dict)


@dataclass
class Trial:
    """``seen``: what operands were end to end, ``values`` the same themselves where they are at hand."""

    reference: Reference
    layers: Layers
    limit: Tolerance
    seen: Mapping[str, Seen]
    values: Mapping[str, Array]
    symbols: Mapping[str, int]
    tables: dict[str, int] = field(default_factory=dict)

    def made(self, layers: Sequence[Layer], runtimes: Sequence[str], numbers: Sequence[int]) -> Outcome:
        """On operands made for them; layers for which that is not possible are left out.

        :raises ReferenceFailed: the reference refuses one of the parts.
        :raises FileFailed: a runtime does.
        """
        pairs = self.pairs(layers)
        found = Outcome({n: x for n, (x, _) in pairs.items()}, {n: p for n, (_, p) in pairs.items()})
        if not pairs:
            return found
        expected = self.expected(list(found.parts.values()), numbers)
        for name in [n for n in pairs if any(self._strange(n, e[n]) for e in expected)]:
            del found.layers[name], found.parts[name]
        found.channels = {n: closed([e[n] for e in expected], p) for n, p in found.parts.items()}
        self.compare(found, runtimes, numbers, expected)
        self.forgive(found, runtimes, numbers, expected)
        return found

    def as_seen(self, layers: Sequence[Layer], runtimes: Sequence[str]) -> Outcome:
        """On the values end to end, which tell less and are always at hand."""
        found = Outcome({x.name: x for x in layers})
        expected = [{x.name: self.values[x.name] for x in layers}]
        self.compare(found, runtimes, (0,), expected)
        if any(d.what for pairs in found.differences.values() for d in pairs.values()):
            parts = {x.name: p for x in layers if (p := self.part(Parts(self.reference.source), x, True)[0])}
            self.forgive(replace(found, parts=parts), runtimes, (0,), expected)
        return found

    # ------------------------------------------------------------------------------------------ operands

    def operand(self, name: str, part: ModelPart | None, number: int) -> Array:
        """In ONNX order; of round ``number``, or without a part as end to end."""
        if part is None:
            return self.values[name]
        seen = cropped(self.seen[name], part.least)
        return draw(name, seen, number, part.free, self.tables.get(name, 0), name in part.turns)

    def given(self, name: str, part: ModelPart, number: int, shake: int, seen: bool) -> Array:
        """An operand of a part of the original model: what the one of the file stands for there."""
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
        return np.asarray((jitter(drawn, shake) if shake else drawn).astype(dtype, copy=False), order="C")

    # ------------------------------------------------------------------------------------------ the original model

    def pairs(self, layers: Sequence[Layer]) -> dict[str, tuple[Layer, ModelPart]]:
        """The layers that begin at the same tensors on both sides, if need be after they were made longer."""
        model, found = Parts(self.reference.source), dict[str, tuple[Layer, ModelPart]]()
        for asked in layers:
            layer: Layer | None = asked
            beyond = set[int]()
            for _ in range(LONGER):
                if layer is None:
                    break
                part, other = self.part(model, layer)
                if part is not None and not other:
                    found[layer.name] = layer, replace(part, least=self._least(model, layer, part))
                    break
                beyond |= other
                layer = self.layers.layer(asked.name, beyond)
        return found

    def _least(self, model: Parts, layer: Layer, part: ModelPart) -> int:
        ends = [self.layers.place(n, self.seen[n].shape) for n in (*part.reads, *layer.reads, layer.name)]
        if not set(part.reads) <= set(layer.reads) or not all(is_order(place) for place in ends):
            return 0
        return smaller(model, part, self.layers.target.file, layer.segment, self.seen)

    def part(self, model: Parts, layer: Layer, seen: bool = False) -> tuple[ModelPart | None, set[int]]:
        """The layer in the original model, and the tensors at which only the file's begins.

        ``seen``: the values of any tensor, also of one that the file's layer does not read, are at hand.
        """
        boundary = layer.segment.boundary
        names = {a for t in boundary for a in self.layers.aliases[t]}
        part = model.part(layer.name, names | model.inputs if seen else names, self.seen)
        if part is None or seen:
            return part, set(() if seen else boundary)
        tensors = self.layers.target.file.tensors
        if any(tensors[t].quantised for t in (*boundary, layer.segment.target)):
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
    ) -> list[Expected]:
        """The results of each set of operands, of each of the ways in which it is shaken; ``rounding``: see
        :meth:`Reference.open`."""
        self.tables |= self._tables(parts)
        session, outputs = self.session(parts, seen, rounding)
        found = []
        for number in numbers:
            for shake in shakes:
                feeds = {p.operand(n): self.given(n, p, number, shake, seen)
                         for p in parts for n in (*p.reads, *p.measured)}  # fmt: skip
                results = session.run(feeds)
                found.append({p.target: narrow(results[o]) for p, o in zip(parts, outputs, strict=True)})
        return found

    def session(self, parts: Sequence[ModelPart], seen: bool, rounding: str) -> tuple[Session, list[str]]:
        """The parts of the original model, loaded, and the names of their results.

        :raises ReferenceFailed: the reference refuses one of them.
        """
        kinds = {
            p.operand(n): (self.seen[n].dtype, self.values[n].shape if seen else cropped(self.seen[n], p.least).shape)
            for p in parts
            for n in (*p.reads, *p.measured)
        }
        outputs = [result(k, p.target) for k, p in enumerate(parts)]
        model = Parts(self.reference.source).assemble(parts, kinds)
        masked = frozenset(n for n in outputs if n.partition("/")[2] in self.reference.masked)
        made = replace(self.reference, source=model, outputs=outputs, notes=[], masked=masked)
        session = made.open(rounding=rounding)
        if made.engine != self.reference.engine and len(parts) > 1:  # the slow one is for that part which is refused
            raise ReferenceFailed(made.notes[-1])
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
        expected: Sequence[Expected],
        slack: Mapping[tuple[str, int], float] | None = None,
    ) -> None:
        """Run the layers of ``found`` and note how they differ."""
        layers = list(found.layers.values())
        runs = Runs(self.layers, layers)
        for number, right in zip(numbers, expected, strict=True):
            operands = self.operands(found, number)
            for runtime in runtimes:
                results, went = runs.results(operands, runtime)
                for op, flag in went:
                    found.branches.setdefault(op, set()).add(flag)
                for layer, got in zip(layers, results, strict=True):
                    allowed = slack.get((layer.name, number), 0.0) if slack else 0.0
                    difference = self.difference(layer.name, got, right[layer.name], allowed)
                    found.differences.setdefault(layer.name, {})[runtime, number] = difference

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

    def difference(self, name: str, got: Array, expected: Array, slack: float) -> Difference:
        """How a result of the file, as it is stored there, differs from the reference's, in ONNX order."""
        whole = self.layers.restore(name, got, expected.shape, expected.dtype, self.symbols)
        expected = quantised.reachable(self.layers.target, self.layers.target.program.names[name], expected)
        if self.layers.target.kind == "float16" and name in self.seen:  # where made operands cancel out, weights do not
            slack = max(slack, HALF * max(abs(self.seen[name].low), abs(self.seen[name].high)))
        return compare(whole, expected, self.limit, self.reference.steps.get(name), slack)

    def forgive(
        self, found: Outcome, runtimes: Sequence[str], numbers: Sequence[int], expected: Sequence[Expected]
    ) -> None:
        """Compare those that differ once more, with what rounding of the operands (and several times inside) does to
        the layer in the original model allowed."""
        bad = [n for n, pairs in found.differences.items() if n in found.parts and any(d.what for d in pairs.values())]
        if not bad or self.layers.target.kind == "quantised":
            return
        seen = expected[0].get(bad[0]) is self.values.get(bad[0])
        moved = self.expected([found.parts[n] for n in bad], numbers, range(1, JITTERS + 1), seen)
        slack = {
            (n, number): max(change(e[n], expected[k][n]) for e in moved[k * JITTERS : (k + 1) * JITTERS])
            for n in bad
            for k, number in enumerate(numbers)
        }
        if self.layers.target.kind == "float16":
            rounded = self.expected([found.parts[n] for n in bad], numbers, seen=seen, rounding="float16")
            slack = {(n, k): max(s, change(e[n], right[n]))
                     for k, e, right in zip(numbers, rounded, expected, strict=True)
                     for (n, number), s in slack.items() if number == k}  # fmt: skip
        if self.reference.steps:
            slack |= {
                key: max(slack[key], noise) for key, noise in self.noise(found, bad, numbers, expected, seen).items()
            }
        if any(slack.values()):
            parts = {} if seen else {n: found.parts[n] for n in bad}
            again = Outcome({n: found.layers[n] for n in bad}, parts)
            self.compare(again, runtimes, numbers, expected, slack)
            found.differences |= again.differences

    def noise(
        self, found: Outcome, names: Sequence[str], numbers: Sequence[int], expected: Sequence[Expected], seen: bool
    ) -> dict[tuple[str, int], float]:
        """What half-way cases may add up to in layers that round more than once, where one step says nothing.

        Both sides are as far from the real numbers as the quantisation noise of the layer (root mean square), and
        so differ by at most twice as much.
        """
        model, allowed = Parts(self.reference.source), dict[tuple[str, int], float]()
        for name in names:
            part = found.parts[name]
            if sum(model.nodes[i].op_type in RESULT_SCALE for i in part.nodes) < 2:
                continue
            with suppress(ReferenceFailed):
                real = self.expected([part], numbers, seen=seen, rounding=UNQUANTISED)
                for number, exact, rounded in zip(numbers, real, expected, strict=True):
                    wide = grid(model.nodes[model.producers[name]], exact[name], rounded[name], model.weights)
                    allowed[name, number] = 2 * float(np.sqrt(np.mean(np.square(wide - rounded[name]))))
        return allowed


def grid(node: NodeProto, real: Array, stored: Array, weights: Mapping[str, TensorProto]) -> Array:
    """Real numbers in the steps of a ``stored`` result of ``node``; as they are where that is real too.

    :raises ReferenceFailed: where the steps are not known.
    """
    if stored.dtype.kind == "f":
        return real.astype(np.float64)
    place = RESULT_SCALE.get(node.op_type)
    names = [] if place is None else [n for n in node.input[place : place + 2] if n]
    if not names or not set(names) <= set(weights):
        raise ReferenceFailed(f"the scale of '{node.output[0]}' is not constant")
    scale, zero = [*(numpy_helper.to_array(weights[n]).astype(np.float64) for n in names), np.zeros(())][:2]
    if scale.size > 1:
        raise ReferenceFailed(f"'{node.output[0]}' has a scale per channel")
    info = np.iinfo(stored.dtype)
    return np.asarray(np.clip(real / scale + zero, info.min, info.max))
