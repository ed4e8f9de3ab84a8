"""Types, docstrings, and documents that are cited."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.house.source import Function, Places, Tree, is_handler

DOCUMENT = re.compile(r"(?<![\w/.*<{])[\w.-]+(?:/[\w.-]+)*\.md\b|\b[a-z]+(?:-[a-z]+)+(?=,? sections?\b)")


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
            if ast.get_docstring(function) is None and not is_handler(file, function):
                yield file.at(function, function.name)


RAISED = ("rule", "edit", "naming")  # decorators that say what their functions raise
SAID = re.compile(r"rais|error|refus", re.IGNORECASE)


def unsaid(tree: Tree) -> Places:
    """Public functions and methods that raise an error, and whose docstring says nothing of it."""
    for file in tree.files:
        for function in _public(file.tree) if file.public and not file.name.startswith("op_handlers/") else ():
            named = {ast.unparse(d).partition("(")[0] for d in function.decorator_list}
            if (
                _raises(function.body)
                and named.isdisjoint(RAISED)
                and not SAID.search(ast.get_docstring(function) or "")
            ):
                yield file.at(function, function.name)


def _raises(body: Sequence[ast.stmt]) -> bool:
    """Is an error raised that nobody in the function catches?"""
    for node in body:
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" not in ast.unparse(node):
            return True
        parts = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
        if isinstance(node, ast.Try):
            parts = [*parts[1:], *(h.body for h in node.handlers), *(() if node.handlers else parts[:1])]
        if isinstance(node, ast.Match):
            parts = [case.body for case in node.cases]
        if not isinstance(node, (Function, ast.ClassDef)) and any(map(_raises, parts)):
            return True
    return False


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
