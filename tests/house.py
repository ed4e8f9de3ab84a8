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
import ast
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.later import NEW

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "onnx2tf_lite"
FILE, FUNCTION = 450, 60  # the most lines of a file and of a function
DEFINITIONS = ("ir/kinds/", "targets/")  # of the IR and of devices: where operator names may stand in tables
QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENT = re.compile(r"(?<![\w/.*<{])[\w.-]+(?:/[\w.-]+)*\.md\b|\b[a-z]+(?:-[a-z]+)+(?=,? sections?\b)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """A source file; ``name`` is its path below the package."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def blocks(self) -> list[Any]:
        """Functions and classes with their complexity."""
        from radon.complexity import cc_visit

        return list(cc_visit(self.text))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def public(self) -> bool:
        """No part of the path begins with an underscore (``__init__`` may)."""
        return not any(re.match(r"_(?!_)", part) for part in self.name.split("/"))

    def at(self, node: ast.AST | int, what: object = "") -> str:
        return f"{self.name}:{node if isinstance(node, int) else getattr(node, 'lineno', 0)} {what}".rstrip()

    def functions(self) -> Iterator[Function]:
        return (n for n in ast.walk(self.tree) if isinstance(n, Function))


@dataclass(frozen=True)
class Tree:
    """A package below ``root``, and the vocabulary of its IR."""

    root: Path
    package: str
    kinds: frozenset[str]

    @cached_property
    def files(self) -> list[File]:
        home = self.root / self.package
        return [File(p.relative_to(home).as_posix(), p.read_text()) for p in sorted(home.rglob("*.py"))]

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Module -> modules that it imports, at any depth of its code; imports for the type checker alone are none."""
        import grimp

        sys.path.insert(0, str(self.root))
        try:
            graph = grimp.build_graph(self.package, exclude_type_checking_imports=True, cache_dir=None)
        finally:
            sys.path.remove(str(self.root))
        return {m: set(graph.find_modules_directly_imported_by(m)) for m in graph.modules}


@dataclass(frozen=True)
class Figure:
    """What was found: a number, and the places it comes from."""

    value: int
    places: tuple[str, ...] = ()


Places = Iterator[str]


# ---- size ------------------------------------------------------------------------------------------------------------


def lines(tree: Tree) -> Figure:
    """Lines of all files but the new rooms'."""
    return _sum((f.name, f.lines) for f in tree.files if not f.name.startswith(NEW))


def lines_new(tree: Tree) -> Figure:
    """... and of these."""
    return _sum((f.name, f.lines) for f in tree.files if f.name.startswith(NEW))


def code(tree: Tree) -> Figure:
    """Lines that hold code: neither blank nor comment nor docstring."""
    return _sum((f.name, len(_code_lines(f))) for f in tree.files if not f.name.startswith(NEW))


def code_new(tree: Tree) -> Figure:
    """... in the new rooms."""
    return _sum((f.name, len(_code_lines(f))) for f in tree.files if f.name.startswith(NEW))


def _sum(pairs: Iterator[tuple[str, int]]) -> Figure:
    files = dict(pairs)
    rooms = Counter[str]()
    for name, size in files.items():
        rooms[name.partition("/")[0]] += size
    folders = Counter({f"{room}/": size for room, size in rooms.items() if not room.endswith(".py")})
    places = [*folders.most_common(), *Counter(files).most_common()]
    return Figure(sum(files.values()), tuple(f"{name} {size}" for name, size in places))


def _code_lines(file: File) -> set[int]:
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(file.text).readline) if t.type not in QUIET]
    held = {n for t in tokens for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.Module, ast.ClassDef, Function)) and ast.get_docstring(node, clean=False) is not None:
            held -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return held


def long_files(tree: Tree) -> Places:
    return (f.at(1, f"{f.lines} lines") for f in tree.files if f.lines > FILE)


def long_functions(tree: Tree) -> Places:
    for file in tree.files:
        for function in file.functions():
            if _length(function) > FUNCTION:
                yield file.at(function, f"{function.name}, {_length(function)} lines")


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def grade_d(tree: Tree) -> Places:
    """Functions and classes of cyclomatic complexity 21 to 30, as radon counts."""
    return _graded(tree, "D")


def grade_ef(tree: Tree) -> Places:
    """... and above 30."""
    return _graded(tree, "EF")


def _graded(tree: Tree, grades: str) -> Places:
    from radon.complexity import cc_rank

    for file in tree.files:
        for block in file.blocks:
            if cc_rank(block.complexity) in grades:
                yield file.at(block.lineno, f"{block.fullname}, complexity {block.complexity}")


def fmt_skip(tree: Tree) -> Places:
    """Statements that the formatter may not touch."""
    for file in tree.files:
        for number, line in enumerate(file.text.splitlines(), 1):
            if re.search(r"# fmt: (skip|off)", line):
                yield file.at(number)


def handler_median(tree: Tree) -> Figure:
    """Lines of the body of a handler of an ONNX operator, the median."""
    return _handlers(tree, 50)


def handler_p90(tree: Tree) -> Figure:
    """... and the 90th percentile."""
    return _handlers(tree, 90)


def _handlers(tree: Tree, percentile: int) -> Figure:
    handlers = [(file, f) for file in tree.files for f in file.functions() if _is_handler(file, f)]
    sizes = [(_length(f) - (f.body[0].lineno - f.lineno), file.at(f, f.name)) for file, f in handlers]
    if len(sizes) < 2:
        return Figure(0)
    found = statistics.quantiles([size for size, _ in sizes], n=100, method="inclusive")[percentile - 1]
    return Figure(round(found), tuple(f"{place}, {size} lines" for size, place in sorted(sizes, reverse=True)))


def _is_handler(file: File, function: Function) -> bool:
    """Registered by a decorator of the registry: ``@op("Relu")``."""
    calls = [d.func for d in function.decorator_list if isinstance(d, ast.Call)]
    return file.name.startswith("op_handlers/") and any(isinstance(c, ast.Name) and c.id == "op" for c in calls)


# ---- types and texts -------------------------------------------------------------------------------------------------


def any_types(tree: Tree) -> Places:
    """Uses of typing.Any."""
    for file in tree.files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Name) and node.id == "Any":
                yield file.at(node)


def strict_errors(tree: Tree) -> Places:
    """What ``mypy --strict`` says."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--ignore-missing-imports"]
    done = subprocess.run([*command, tree.package], cwd=tree.root, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"mypy failed:\n{done.stdout}{done.stderr}")
    return (line for line in done.stdout.splitlines() if ": error:" in line)


def undocumented(tree: Tree) -> Places:
    """Public functions and methods without a docstring; the operator of a handler is its documentation."""
    for file in tree.files:
        for function in _public(file.tree) if file.public else ():
            if ast.get_docstring(function) is None and not _is_handler(file, function):
                yield file.at(function, function.name)


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[Function]:
    """Functions at the top of a module and in its public classes."""
    for node in parent.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def absent_documents(tree: Tree) -> Places:
    """Documents that the source cites and that the repository does not have."""
    there = {p.relative_to(tree.root).as_posix() for p in tree.root.rglob("*.md")}
    for file in tree.files:
        for number, line in enumerate(file.text.splitlines(), 1):
            for name in DOCUMENT.findall(line):
                if not any(path == name or path.endswith("/" + name) for path in there):
                    yield file.at(number, name)


# ---- concepts --------------------------------------------------------------------------------------------------------


def name_tables(tree: Tree) -> Places:
    """Collections of two operator names of the IR or more, outside the definitions; the outermost one counts."""
    return (f"{place} {names} names" for place, names in _tables(tree))


def name_entries(tree: Tree) -> Figure:
    """... and the names in them."""
    found = list(_tables(tree))
    return Figure(sum(names for _, names in found), tuple(f"{place} {names} names" for place, names in found))


def _tables(tree: Tree) -> Iterator[tuple[str, int]]:
    for file in tree.files:
        if not file.name.startswith(DEFINITIONS):
            pending: list[ast.AST] = [file.tree]
            while pending:
                node = pending.pop()
                count = _names_in(node, tree.kinds)
                if count >= 2:
                    yield file.at(node), count
                else:
                    pending += ast.iter_child_nodes(node)


def _names_in(node: ast.AST, kinds: frozenset[str]) -> int:
    """Operator names in a literal collection, or in a text that is nothing but names."""
    if isinstance(node, ast.Constant):
        words = node.value.split() if isinstance(node.value, str) else []
        return len(words) if all(w in kinds for w in words) else 0
    if not isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
        return 0
    return sum(_names_in(child, kinds) for child in ast.iter_child_nodes(node))


def name_tests(tree: Tree) -> Places:
    """Tests of an operator's name, instead of one of its traits."""
    for file in tree.files:
        for node in ast.walk(file.tree) if not file.name.startswith(DEFINITIONS) else ():
            if isinstance(node, ast.Compare) and _asks_name([node.left, *node.comparators], tree.kinds):
                yield file.at(node, ast.unparse(node))
            elif isinstance(node, ast.Match) and _asks_name([node.subject], tree.kinds):
                yield file.at(node, f"match {ast.unparse(node.subject)}")


def _asks_name(sides: list[ast.expr], kinds: frozenset[str]) -> bool:
    """``op.kind.name in ...``, ``op.kind is KINDS["ADD"]``, ``name == "ADD"``."""
    texts = [ast.unparse(side) for side in sides]
    if any(text.endswith("kind.name") or re.fullmatch(r"(\w+\.)*KINDS\[.*\]", text) for text in texts):
        return True
    operator = any(isinstance(side, ast.Constant) and side.value in kinds for side in sides)
    return operator and any(text.endswith(("kind", "name")) for text in texts)


def duplicate_classes(tree: Tree) -> Places:
    """Names that two public classes share."""
    homes = defaultdict(list)
    for file in tree.files:
        for node in file.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(file.at(node))
    return (f"{name}: {', '.join(places)}" for name, places in sorted(homes.items()) if len(places) > 1)


# ---- arrows ----------------------------------------------------------------------------------------------------------


def room_circles(tree: Tree) -> Places:
    """Rooms (folders and files at the top of the package) that import each other, directly or round a corner."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in tree.imports.items():
        rooms[_room(module)] |= {_room(m) for m in imported} - {_room(module)}
    return _circles({k: v for k, v in rooms.items() if k})


def module_circles(tree: Tree) -> Places:
    """... and modules; a module imports its folder only where it takes something from the folder's ``__init__``."""
    return _circles(tree.imports)


def _room(module: str) -> str:
    return ".".join(module.split(".")[1:2])


def _circles(graph: dict[str, set[str]]) -> Places:
    """The strongly connected parts of more than one node."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, pending = set[str](), list(graph[start])
        while pending:
            if (node := pending.pop()) not in seen:
                seen.add(node)
                pending += graph.get(node, ())
        reach[start] = seen
    parts = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in graph if a in reach[a]}
    return (" <-> ".join(sorted(part)) for part in sorted(parts, key=sorted))


def arrows(tree: Tree) -> Places:
    """Imports that the contracts of pyproject.toml forbid: those still excused there, and those that break them."""
    config = (tree.root / "pyproject.toml").read_text()
    yield from (f"excused: {arrow}" for arrow in sorted(set(re.findall(r'"([\w.*]+ -> [\w.*]+)"', config))))
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    unfolded = os.environ | {"COLUMNS": "1000"}
    done = subprocess.run(command, cwd=tree.root, env=unfolded, capture_output=True, text=True)
    broken = re.findall(r"^-?\s+([\w.]+ -> [\w.]+ \(l\.\d.*\))$", done.stdout, re.MULTILINE)
    if done.returncode != int(bool(broken)):
        raise RuntimeError(f"import-linter failed:\n{done.stdout}{done.stderr}")
    yield from sorted(set(broken))


# ---- the table -------------------------------------------------------------------------------------------------------


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
    Measure("lines", "lines of the package without its new rooms", 29_000, lines),
    Measure("code", "... that are code", 20_500, code),
    Measure("lines-new", "lines of the rooms that came after these bars", None, lines_new),
    Measure("code-new", "... that are code", None, code_new),
    Measure("files", f"files above {FILE} lines", 0, long_files),
    Measure("functions", f"functions above {FUNCTION} lines", 0, long_functions),
    Measure("grade-d", "complexity of radon's grade D", 10, grade_d),
    Measure("grade-ef", "... of grade E or F", 0, grade_ef),
    Measure("fmt-skip", "statements kept from the formatter", 60, fmt_skip),
    Measure("handlers", "lines of a handler's body, median", 5, handler_median),
    Measure("handlers-p90", "... 90th percentile", 18, handler_p90),
    Measure("any", "uses of Any", 250, any_types),
    Measure("strict", "errors of mypy --strict", 0, strict_errors),
    Measure("docstrings", "public functions without a docstring", 0, undocumented),
    Measure("documents", "citations of absent documents", 0, absent_documents),
    Measure("tables", "tables of operator names outside the definitions", 12, name_tables),
    Measure("entries", "... names in them", None, name_entries),
    Measure("names", "tests of an operator's name", 5, name_tests),
    Measure("classes", "names of two public classes", 0, duplicate_classes),
    Measure("circles", "circles of imports between rooms", 0, room_circles),
    Measure("module-circles", "... between modules", 0, module_circles),
    Measure("arrows", "imports against the contracts", 0, arrows),
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


if __name__ == "__main__":
    raise SystemExit(main())
