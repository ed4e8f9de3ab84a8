"""The house in figures: size, complexity, types, names and arrows of the package, against the bars set for them.

    python -m tests.house                 # the table; exit code 1 where a bar is missed
    python -m tests.house names circles   # only these, with every place that counts
    python -m tests.house --json          # the same for programs

``lines`` and ``code`` count the features that the bars were set for; the rooms and files of ``tests.later`` came after
them and are counted by ``lines-new`` and ``code-new``.  Places of these four are the rooms with their sums, then the
files.  All other measures look at the whole package.  ``tests.ratchet`` keeps what was reached.

A measure is a function from the source tree to the places that count, or to a figure and its places; a row of MEASURES
gives it a name and its bar.  Everything is read from the source, nothing of the package is executed but the vocabulary.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.house import arrows, concepts, size, texts
from tests.house.source import Figure, Places, Tree

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "onnx2tf_lite"


@dataclass(frozen=True)
class Measure:
    """A row: a figure must not be above its bar."""

    name: str
    what: str
    bar: int | None  # None: for information
    take: Callable[[Tree], Figure | Places]

    def of(self, tree: Tree) -> Figure:
        found = self.take(tree)
        if isinstance(found, Figure):
            return found
        places = tuple(found)
        return Figure(len(places), places)

    def missed(self, figure: Figure) -> bool:
        return self.bar is not None and figure.value > self.bar


MEASURES = [
    Measure("lines", "lines of the package without its new rooms", 29_000, size.lines),
    Measure("code", "... that are code", 20_500, size.code),
    Measure("lines-new", "lines of the rooms that came after these bars", None, size.lines_new),
    Measure("code-new", "... that are code", None, size.code_new),
    Measure("files", f"files above {size.FILE} lines", 0, size.long_files),
    Measure("functions", f"functions above {size.FUNCTION} lines", 0, size.long_functions),
    Measure("grade-d", "complexity of radon's grade D", 10, size.grade_d),
    Measure("grade-ef", "... of grade E or F", 0, size.grade_ef),
    Measure("fmt-skip", "statements kept from the formatter", 60, size.fmt_skip),
    Measure("handlers", "lines of a handler's body, median", 5, size.handler_median),
    Measure("handlers-p90", "... 90th percentile", 18, size.handler_p90),
    Measure("any", "uses of Any", 250, texts.any_types),
    Measure("strict", "errors of mypy --strict", 0, texts.strict_errors),
    Measure("docstrings", "public functions without a docstring", 0, texts.undocumented),
    Measure("raises", "... whose docstring says nothing of the errors it raises", 0, texts.unsaid),
    Measure("documents", "citations of absent documents", 0, texts.absent_documents),
    Measure("tables", "tables of operator names outside the definitions", 12, concepts.name_tables),
    Measure("entries", "... names in them", None, concepts.name_entries),
    Measure("names", "tests of an operator's name", 5, concepts.name_tests),
    Measure("patterns", "names of operators in code that looks for a pattern", None, concepts.patterns),
    Measure("classes", "names of two public classes", 0, concepts.duplicate_classes),
    Measure("circles", "circles of imports between rooms", 0, arrows.room_circles),
    Measure("module-circles", "... between modules", 0, arrows.module_circles),
    Measure("arrows", "imports against the contracts", 0, arrows.arrows),
]


def product() -> Tree:
    """The package of this repository."""
    from onnx2tf_lite.ir.kinds import KINDS

    return Tree(ROOT, PACKAGE, frozenset(KINDS))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__.partition("\n")[0])
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help="only these, with their places")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    args = parser.parse_args(argv)
    known = [m.name for m in MEASURES]
    if unknown := set(args.measures) - set(known):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {' '.join(known)}")
    if absent := [m for m in ("grimp", "importlinter", "mypy", "radon") if find_spec(m) is None]:
        parser.error(f"not installed: {', '.join(absent)}; they come with pip install '.[test]'")
    tree = product()
    rows = [(m, m.of(tree)) for m in MEASURES if m.name in (args.measures or known)]
    if args.json:
        print(json.dumps({m.name: {"value": f.value, "bar": m.bar, "places": f.places} for m, f in rows}, indent=1))
    else:
        _print(rows, places=bool(args.measures))
    return int(any(m.missed(f) for m, f in rows))


def _print(rows: list[tuple[Measure, Figure]], places: bool) -> None:
    for measure, figure in rows:
        bar = "" if measure.bar is None else f"at most {measure.bar:6,}"
        mark = "  MISSED" if measure.missed(figure) else ""
        print(f"{measure.name:15} {measure.what:52} {figure.value:7,}  {bar}{mark}")
        for place in figure.places if places else ():
            print(f"    {place}")
    print(f"{len(rows)} measures, {sum(m.missed(f) for m, f in rows)} missed")
