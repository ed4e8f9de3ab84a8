"""SPLIT is several SLICEs while a program is rewritten, since rules see operations of one result, and SLICEs that share
a tensor out are one SPLIT in the end, whoever wrote them.
"""

from __future__ import annotations

from itertools import pairwise

from ..ir import rewrite
from ..ir.graph import Graph, Op, Value
from ..ir.kinds import KINDS
from ..ir.rules import Match

Part = tuple[int, int, int]  # of a tensor: axis, first element, elements


def apart(graph: Graph) -> None:
    """Every SPLIT into parts of known size as SLICEs, in place."""
    for program in rewrite.graphs(graph):
        for op in rewrite.walk(program):
            sizes = op.attrs.get("sizes", ())  # SPLIT and SPLIT_V have them
            if len(sizes) < 2 or not all(isinstance(n, int) for n in sizes):
                program.ops.append(op)
                continue
            (x,), axis, start = op.uses(), op.attrs["axis"], 0
            for result, size in zip(op.outputs, sizes, strict=True):
                begin = tuple(start if i == axis else 0 for i in range(x.rank))
                rewrite.define("SLICE", x, result, begin=begin, size=result.shape)
                start += size


def part(op: Op | None) -> Part | None:
    """What a SLICE takes, where it shortens one axis, by numbers; None for anything else."""
    if op is None or not op.is_a("SLICE"):
        return None
    begins, sizes, shape = op.attrs["begin"], op.attrs["size"], op.uses()[0].shape
    known = isinstance(begins, tuple) and isinstance(sizes, tuple)  # else an operand that run time makes
    cut = [i for i, (n, d) in enumerate(zip(sizes, shape, strict=True)) if n != d] if known else []
    if len(cut) != 1:
        return None
    begin, size = begins[cut[0]], sizes[cut[0]]
    return (cut[0], begin, size) if isinstance(begin, int) and isinstance(size, int) else None


def disjoint(parts: list[Part]) -> bool:
    """True for parts of one axis that do not overlap, in order."""
    return len({axis for axis, _, _ in parts}) == 1 and all(a + n <= c for (_, a, n), (_, c, _) in pairwise(parts))


def parts_of(m: Match, x: Value) -> dict[Op, Part] | None:
    """What is read of ``x``, where that is parts of one axis alone that do not overlap."""
    found = {reader: part(reader) for reader in m.view.readers(x)}
    known = {reader: p for reader, p in found.items() if reader is not None and p is not None}
    return known if len(known) == len(found) and disjoint(sorted(known.values())) else None


def together(graph: Graph) -> None:
    """SLICEs that share a tensor out as one SPLIT, in place."""
    for program in rewrite.graphs(graph):
        readers: dict[Value, dict[Op, Part]] = {}
        for op in program.ops:
            if (p := part(op)) is not None:
                readers.setdefault(op.uses()[0], {})[op] = p
        joined: dict[Op, list[Op]] = {}  # by the first of them in the program
        for x, each in readers.items():
            ordered = sorted(each, key=each.__getitem__)
            if _whole(x, [each[op] for op in ordered]) and _alike(x, ordered):
                first = next(iter(each))
                joined[first] = ordered
        gone = {op for ordered in joined.values() for op in ordered}
        program.ops = [
            _split(joined[op]) if op in joined else op for op in program.ops if op in joined or op not in gone
        ]


def _whole(x: Value, parts: list[Part]) -> bool:
    return disjoint(parts) and len(parts) > 1 and sum(n for _, _, n in parts) == x.shape[parts[0][0]]


def _alike(x: Value, slices: list[Op]) -> bool:
    """True where SPLIT knows the dtype and rank, and no part has other quantisation parameters than the tensor."""
    kind = KINDS["SPLIT"]
    quants = [op.outputs[0].quant for op in slices]
    same = all(q is x.quant or (q is not None and x.quant is not None and q.same(x.quant)) for q in quants)
    return same and kind.takes(x.dtype) and x.rank <= kind.max_rank


def _split(slices: list[Op]) -> Op:
    """One operation for all; it has the origin of the first of them."""
    parts = [p for op in slices if (p := part(op)) is not None]
    sizes, axis = tuple(n for _, _, n in parts), parts[0][0]
    name = "SPLIT" if len(set(sizes)) == 1 else "SPLIT_V"
    results = [op.outputs[0] for op in slices]
    made = Op(KINDS[name], slices[0].inputs[:], results, {"sizes": sizes, "axis": axis}, slices[0].origin)
    for result in results:
        result.producer = made
    return made
