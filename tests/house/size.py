"""Size and complexity: lines, files, functions, handlers, and what the formatter may not touch."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator

from tests.house.source import Figure, File, Function, Places, Tree, is_handler, length
from tests.later import NEW

FILE, FUNCTION = 450, 60  # the most lines of a file and of a function
QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


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
            if length(function) > FUNCTION:
                yield file.at(function, f"{function.name}, {length(function)} lines")


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
    handlers = [(file, f) for file in tree.files for f in file.functions() if is_handler(file, f)]
    sizes = [(length(f) - (f.body[0].lineno - f.lineno), file.at(f, f.name)) for file, f in handlers]
    if len(sizes) < 2:
        return Figure(0)
    found = statistics.quantiles([size for size, _ in sizes], n=100, method="inclusive")[percentile - 1]
    return Figure(round(found), tuple(f"{place}, {size} lines" for size, place in sorted(sizes, reverse=True)))
