"""What the measures look at: a source tree, its files, and figures found in it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

DEFINITIONS = ("ir/kinds/", "targets/")  # of the IR and of devices: where operator names may stand in tables
Function = ast.FunctionDef | ast.AsyncFunctionDef
Places = Iterator[str]


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


def length(function: Function) -> int:
    """Lines of a function."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def is_handler(file: File, function: Function) -> bool:
    """Registered by a decorator of the registry: ``@op("Relu")``."""
    calls = [d.func for d in function.decorator_list if isinstance(d, ast.Call)]
    return file.name.startswith("op_handlers/") and any(isinstance(c, ast.Name) and c.id == "op" for c in calls)
