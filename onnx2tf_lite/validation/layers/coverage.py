"""What a check has seen of a file: which layers, which branches, which share of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..files.parted import Parted, Tensor
from ..original.reference import Reference
from ..reports.report import Coverage, Gap
from .alone import Alone, Bench

#: Operators whose first operand is a table that the second one points into.
LOOKUPS = {"GATHER", "EMBEDDING_LOOKUP", "GatherV2"}
NOT_RUN = "its operators could not be run on their own"
DRAWS = "it draws random numbers"
EMPTY_RESULT = "its result has no elements"
NOT_LED = "no operands led there"
EMPTY: Mapping[int, Coverage] = {}


def cover(bench: Bench, found: Mapping[str, Alone], bodies: Mapping[int, Coverage] = EMPTY) -> Coverage:
    """Of a file's layers those that were run on their own, and what took part in that.

    ``bodies``: number of a subgraph -> what was reached of the layers in it.
    """
    layers, file = bench.layers, bench.target.file
    made = bench.reference.nodes  # an input that is also an output is no layer
    wanted = [n for i, n in layers.counterpart.items() if i in file.producers and n in made]
    why = {**dict.fromkeys(bench.reference.random, DRAWS), **layers.refused}
    why |= {n: EMPTY_RESULT for n in found if n in bench.seen and not bench.seen[n].size}
    found = {n: alone for n, alone in found.items() if why.get(n) != EMPTY_RESULT}
    result = Coverage(sum(n in found for n in wanted), len(wanted))
    result.gaps += [Gap(f"layer {n}", why.get(n, NOT_RUN)) for n in wanted if n not in found]
    depending = bench.reference.random.intersection(bench.reference.outputs) & found.keys()
    result.gaps += [Gap(f"output {n} from end to end", "it depends on random numbers") for n in sorted(depending)]
    shares = _shares(file, found)
    for tensor in _weights(file):
        size = int(np.prod([abs(d) for d in tensor.shape], dtype=np.int64))
        share = shares.get(tensor.index, 0.0)
        result.all_weights += size
        result.weights += round(share * size)
    result.gaps += list(_gaps(found))
    if (lost := [t.name for t in _weights(file) if t.index not in shares]) and found:
        result.gaps.append(Gap(f"weights {', '.join(lost[:5])}", "no layer that was run on its own reads them"))
    _branches(file, found, bodies, result)
    _turns(found, result)
    return result


def end_to_end(reference: Reference, layers: int, why: str) -> Coverage:
    """Of a file of ``layers`` that can be run from end to end only: nothing was seen on its own."""
    ifs = dict.fromkeys(name for name, op in reference.nodes.values() if op == "If")
    gaps = [Gap("any layer on its own", why)]
    gaps += [Gap(f"the branches of '{name}'", "but for those that the inputs led into") for name in ifs]
    return Coverage(0, layers, 0, 2 * len(ifs), 0, reference.size, gaps)


def _weights(file: Parted) -> list[Tensor]:
    """The constants that stand for real numbers, and tables of integers."""
    read = {t for op in file.operators for t in op.inputs if t >= 0}
    tables = {op.inputs[0] for op in file.operators if op.name in LOOKUPS}
    return [t for t in file.tensors if t.constant and t.index in read
            and (t.dtype.kind == "f" or t.quantised or t.index in tables)]  # fmt: skip


def _shares(file: Parted, found: Mapping[str, Alone]) -> dict[int, float]:
    """Constant -> which share of it has taken part in a result that was compared."""
    shares: dict[int, float] = {}
    for alone in found.values():
        shut = float(alone.closed.mean()) if alone.closed.size else 0.0
        for op in (file.operators[i] for i in alone.layer.segment.operators):
            for place, tensor in enumerate(op.inputs):
                share = len(alone.branches.get(op.index, ())) / 2 if op.branches else 1 - shut
                if place == 0 and op.name in LOOKUPS and alone.rows[1]:
                    share = alone.rows[0] / alone.rows[1]
                shares[tensor] = max(shares.get(tensor, 0.0), share)
    return shares


def _gaps(found: Mapping[str, Alone]) -> Iterator[Gap]:
    for name, alone in found.items():
        if count := int(alone.closed.sum()):
            what = f"{count} of {alone.closed.size} channels of layer {name}"
            yield Gap(what, "their result was the same number on every set of operands")
        looked, rows = alone.rows
        if looked < rows:
            yield Gap(f"{rows - looked} of {rows} rows of the table of layer {name}", "the time of the check was over")
        if alone.saturated and not alone.made:
            yield Gap(f"layer {name} beyond the values seen end to end", "made operands lead beyond the scales in it")


def _branches(file: Parted, found: Mapping[str, Alone], bodies: Mapping[int, Coverage], result: Coverage) -> None:
    """Of every IF both bodies; the weights in what they consist of, and in loops, count where they ran."""
    ran: dict[int, set[bool]] = {}
    for alone in found.values():
        for index in alone.layer.segment.operators:
            ran.setdefault(index, set()).update(alone.branches.get(index, ()))
    for body in file.below():
        reached = body.operator in ran and (not body.branch or body.way in ran[body.operator])
        if body.branch:
            _branch(result, reached, f"the branch for {str(body.way).lower()} of '{body.result}'")
        elif not reached:
            result.gaps.append(Gap(f"a loop of '{body.result}'", NOT_LED))
        if body.number in bodies:
            result.add(bodies[body.number])
        else:
            _inside(file, body.number, reached, bodies, result)


def _inside(file: Parted, number: int, ran: bool, bodies: Mapping[int, Coverage], result: Coverage) -> None:
    """Of a body that is no model of its own, and of those in it: which way an If went in there cannot be seen, so its
    branches count where their layers were run on their own."""
    size = file.elements(number)
    result.all_weights += size
    result.weights += size * ran
    for body in file.below(number):
        if body.branch:
            _branch(result, body.number in bodies, f"the branch for {str(body.way).lower()} of '{body.result}'")
        if body.number in bodies:
            result.add(bodies[body.number])
        else:
            _inside(file, body.number, ran and not body.branch, bodies, result)


def _branch(result: Coverage, reached: bool, what: str) -> None:
    result.all_branches += 1
    result.branches += reached
    if not reached:
        result.gaps.append(Gap(what, NOT_LED))


def _turns(found: Mapping[str, Alone], result: Coverage) -> None:
    """Of loops whose turns are counted at run time: none, one and several."""
    for name, alone in found.items():
        if alone.part and alone.part.turns:
            several = any(n > 1 for n in alone.turns)
            ways = {"no turn": 0 in alone.turns, "one turn": 1 in alone.turns, "several turns": several}
            for word, reached in ways.items():
                _branch(result, reached, f"{word} of the loop of '{name}'")
