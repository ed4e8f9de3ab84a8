"""Imports: circles, and what the contracts forbid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict

from tests.house.source import Places, Tree


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
