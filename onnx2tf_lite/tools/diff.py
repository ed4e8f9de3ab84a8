"""Show in what two models differ: interface, nodes, constants, and what they compute.

Nodes are the same where they make the same tensors, or have the same name; what then is left over is compared in order.
Where both models take the same inputs they are run in ONNX Runtime on seeded ones.  The exit code is 0 only where
nothing differs; doc strings and producers are not looked at.

examples:
  onnx-tune diff before.onnx after.onnx
  onnx-tune diff before.onnx after.onnx --html diff.html       the same with a picture of the second model
  onnx-tune diff before.onnx after.onnx --json diff.json --no-run
"""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from ..commands import Log, command, flag, option
from ..errors import naming
from ..model.lazy import np, onnx
from ..model.read import read_model
from ..model.tensors import fetch, to_array
from ..model.types import dtype_word, type_text
from ..model.walk import Scope, constants, scopes, title
from ..model.write import write_text
from ..record import record
from ._options import QUIET

if TYPE_CHECKING:
    from ._verify import Results

MOST = 40  # lines of a kind that are printed
MOST_PAIRS = 1 << 18  # of nodes that have nothing but their order in common


SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@record
class Change:
    """One difference: ``kind`` (a key of :data:`SUBJECTS`), ``what`` (a key of :data:`SIGNS`), the address, and how."""

    kind: str
    what: str
    where: str
    how: str = ""

    def __str__(self) -> str:
        return f"{SIGNS[self.what]} {self.where}" + (f": {self.how}" if self.how else "")


@dataclass
class Differences:
    """``run`` says what came of running both; ``marks``, of the model before and of that after: address of a tensor ->
    what happened to the node that makes it."""

    changes: list[Change] = field(default_factory=list)
    run: str = ""
    marks: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))

    def note(self, kind: str, what: str, where: str, how: str = "") -> None:
        """Add one."""
        self.changes.append(Change(kind, what, where, how))

    def to_json(self) -> dict[str, object]:
        """The differences and what the run said."""
        return {"changes": [asdict(c) for c in self.changes], "run": self.run}


#: Kinds of differences, in words.
SUBJECTS = {
    "interface": "inputs, outputs, versions, metadata",
    "node": "nodes",
    "constant": "constants",
    "output": "results",
}


@naming("diff")
def diff(
    before: str = "", after: str = "", *, html: str = "", json: str = "", run: bool = True, non_verbose: bool = False
) -> Differences:
    """Compare two models; ``html`` and ``json`` are files to write.

    :raises ToolError: a file that cannot be read or written.
    """
    models = read_model(before), read_model(after)
    found = compare(*models)
    if run:
        found.run = _ran(*models, found)
    names = f"{Path(before).name} and {Path(after).name}"
    if html:
        write_text(html, _page(names, models, found))
    if json:
        write_text(json, json_format.dumps(found.to_json(), indent=1))
    _say(Log(non_verbose, "-" if "-" in (html, json) else ""), found)
    return found


def compare(before: onnx.ModelProto, after: onnx.ModelProto) -> Differences:
    """What differs without running anything."""
    found = Differences()
    _interface(before, after, found)
    old, new = ({s.path: s for s in scopes(m)} for m in (before, after))
    for path in [*old, *(p for p in new if p not in old)]:
        if path in old and path in new:
            seen = len(found.changes)
            _Pairs(old[path], new[path], found).note()
            if len(found.changes) > seen:
                _mark_owners(old[path], found.marks[0])
                _mark_owners(new[path], found.marks[1])
        else:
            found.note("node", "removed" if path in old else "added", path, "a body or function")
    return found


def _mark_owners(scope: Scope, marks: dict[str, str]) -> None:
    """The nodes around a body in which something differs are changed too."""
    while scope.owner is not None and scope.outer is not None:
        for name in scope.owner.output:
            marks.setdefault(scope.outer.address(name), "changed")
        scope = scope.outer


def _interface(before: onnx.ModelProto, after: onnx.ModelProto, found: Differences) -> None:
    def ends(model: onnx.ModelProto) -> dict[str, str]:
        graph, held = model.graph, constants(model.graph)
        said = {f"input {v.name}": type_text(v.type) for v in graph.input if v.name not in held}
        said |= {f"output {v.name}": type_text(v.type) for v in graph.output}
        said |= {f"opset of {o.domain or 'ai.onnx'}": str(o.version) for o in model.opset_import}
        return (
            said | {"IR version": str(model.ir_version)} | {f"metadata {p.key}": p.value for p in model.metadata_props}
        )

    for where, how in _unequal(ends(before), ends(after)):
        found.note("interface", *where, how)


def _unequal(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], str]]:
    """((what happened, key), the values) of every key that differs."""
    for key in [*old, *(k for k in new if k not in old)]:
        if key not in new:
            yield ("removed", key), old[key]
        elif key not in old:
            yield ("added", key), new[key]
        elif old[key] != new[key]:
            yield ("changed", key), f"{old[key]} -> {new[key]}"


class _Pairs:
    """The nodes of a graph before and after that belong together."""

    def __init__(self, before: Scope, after: Scope, found: Differences):
        self.scope, self.found = after, found
        self.held = constants(before.graph), constants(after.graph)
        self.nodes = tuple(
            [(title(n, i), n) for i, n in enumerate(s.graph.node) if not (n.output and n.output[0] in held)]
            for s, held in zip((before, after), self.held, strict=True)
        )
        self.pairs = dict(self._pairs())
        self.alias: dict[str, str] = {}
        for i, j in self.pairs.items():
            self.alias |= dict(zip(self.nodes[0][i][1].output, self.nodes[1][j][1].output, strict=False))
        self.seen: set[tuple[str, str]] = set()

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """By what they make, then by name, then by what they read of nodes that belong together, then in order."""
        left = [dict.fromkeys(range(len(nodes))) for nodes in self.nodes]
        alias: dict[str, str] = {}

        def pair(i: int, j: int) -> tuple[int, int]:
            del left[0][i], left[1][j]
            alias.update(zip(self.nodes[0][i][1].output, self.nodes[1][j][1].output, strict=False))
            return i, j

        for key in (lambda n: (n.op_type, *n.output), lambda n: n.name):
            places = [{key(self.nodes[k][i][1]): i for i in left[k]} for k in (0, 1)]
            yield from (pair(places[0][name], places[1][name]) for name in places[0] if name and name in places[1])
        reading = {self._reads(1, j, {}): j for j in left[1]}
        for i in list(left[0]):
            j = reading.get(self._reads(0, i, alias), -1)
            if j in left[1]:
                yield pair(i, j)
        rest = [list(some) for some in left]
        if len(rest[0]) * len(rest[1]) <= MOST_PAIRS:
            kinds = [[self.nodes[k][i][1].op_type for i in rest[k]] for k in (0, 1)]
            for a, b, size in SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_matching_blocks():
                yield from (pair(rest[0][a + k], rest[1][b + k]) for k in range(size))

    def _reads(self, side: int, index: int, alias: Mapping[str, str]) -> tuple[str, ...]:
        node, held = self.nodes[side][index][1], self.held[side]
        return (node.op_type, *("constant" if i in held else alias.get(i, i) for i in node.input))

    def note(self) -> None:
        """Tell what differs."""
        for i, (name, node) in enumerate(self.nodes[0]):
            if i not in self.pairs:
                self._mark(0, node, "removed")
                self.found.note("node", "removed", self.scope.address(name), node.op_type)
        made = {j: i for i, j in self.pairs.items()}
        for j, (name, node) in enumerate(self.nodes[1]):
            if j not in made:
                self._mark(1, node, "added")
                self.found.note("node", "added", self.scope.address(name), node.op_type)
                continue
            other = self.nodes[0][made[j]][1]
            if how := "; ".join(self._differs(other, node)):
                self._mark(0, other, "changed")
                self._mark(1, node, "changed")
                self.found.note("node", "changed", self.scope.address(name), how)

    def _mark(self, side: int, node: onnx.NodeProto, what: str) -> None:
        self.found.marks[side].update({self.scope.address(o): what for o in node.output if o})

    def _differs(self, old: onnx.NodeProto, new: onnx.NodeProto) -> Iterator[str]:
        if (old.domain, old.op_type) != (new.domain, new.op_type):
            yield f"{old.op_type} -> {new.op_type}"
        attributes = ({a.name: _text(a) for a in n.attribute if a.type not in (a.GRAPH, a.GRAPHS)} for n in (old, new))
        for (_, name), how in _unequal(*attributes):
            yield f"{name} {how}"
        for k in range(max(len(old.input), len(new.input))):
            a, b = (n.input[k] if k < len(n.input) else "" for n in (old, new))
            if a in self.held[0] and b in self.held[1]:
                yield from self._constants(a, b)
            elif self.alias.get(a, a) != b:
                yield f"input {k} {a or 'absent'} -> {b or 'absent'}"

    def _constants(self, a: str, b: str) -> Iterator[str]:
        how = _values(self.held[0][a], self.held[1][b])
        if how and (a, b) not in self.seen:
            self.seen.add((a, b))
            self.found.note("constant", "changed", self.scope.address(b), how)
        if how:
            yield f"constant {b}"


def _text(attribute: onnx.AttributeProto) -> str:
    if attribute.HasField("t"):
        return f"{dtype_word(attribute.t.data_type)} {to_array(attribute.t).tolist()}"
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _values(old: onnx.TensorProto, new: onnx.TensorProto) -> str:
    """In what two constants differ; empty where they are equal to the bit."""
    kinds = [f"{dtype_word(t.data_type)}[{','.join(map(str, t.dims))}]" for t in (old, new)]
    if kinds[0] != kinds[1]:
        return " -> ".join(kinds)
    if old.data_type == onnx.TensorProto.STRING:
        return "" if list(old.string_data) == list(new.string_data) else f"{kinds[0]}: other texts"
    if fetch(old) == fetch(new):
        return ""
    a, b = (to_array(t).astype(np.complex128 if "complex" in kinds[0] else np.float64) for t in (old, new))
    with np.errstate(invalid="ignore"):
        far = float(np.nanmax(np.abs(a - b), initial=0.0))
    unequal = int(np.sum((a != b) & ~(np.isnan(a) & np.isnan(b))))
    nan = ", NaN in one of them" if np.any(np.isnan(a) != np.isnan(b)) else ""
    return f"{kinds[0]}: {unequal:,} of {a.size:,} elements, max|diff| {far:.2g}{nan}"


def _ran(before: onnx.ModelProto, after: onnx.ModelProto, found: Differences) -> str:
    """Run both on the inputs that the first runs with; what came of it, in words."""
    from . import _verify

    try:
        feeds, expected = _verify.sample(before)
        if not _verify.fits(after, feeds):
            return "not compared: the second model takes other inputs"
        got: Results = _verify.run(after, feeds)
    except _verify.NotRunError as error:
        return f"not compared: {error}"
    common = [n for n in expected if n in got]
    if not common:
        return "not compared: they have no output in common"
    for name in common:
        if what := _verify.difference({name: got[name]}, {name: expected[name]})[1]:
            found.note("output", "changed", name, what)
    equal = len(common) - sum(c.kind == "output" for c in found.changes)
    return f"{equal} of {len(common)} common outputs are equal (ONNX Runtime, seeded inputs)"


def _say(log: Log, found: Differences) -> None:
    for kind, words in SUBJECTS.items():
        some = [c for c in found.changes if c.kind == kind]
        if some:
            log.info(f"{len(some)} difference(s) of {words}")
        for change in some[:MOST]:
            log.plain(f"  {change}")
        if len(some) > MOST:
            log.plain(f"  ... and {len(some) - MOST} more (--json, --html)")
    if found.run:
        log.info(found.run)
    if not found.changes:
        log.info("no difference")


def _page(names: str, models: Sequence[onnx.ModelProto], found: Differences) -> str:
    from .view import graphs, page

    drawn = graphs(models[1], marks=found.marks[1], label="after")
    drawn += graphs(models[0], marks=found.marks[0], label="before")
    changes = [[SUBJECTS[c.kind], SIGNS[c.what], c.where, c.how] for c in found.changes]
    return page(names, drawn, [*changes, *([["run", "", found.run, ""]] if found.run else [])])


main = command(
    diff,
    option("before BEFORE", "a model"),
    option("after AFTER", "another one"),
    option("--html FILE", 'a page with both graphs, differences in colour; "-": standard output', default=""),
    option("--json FILE", 'the differences as JSON; "-": standard output', default=""),
    flag("--no-run", "do not run the models", action="store_false", dest="run"),
    QUIET,
    show=lambda found: int(bool(found.changes)),
)
