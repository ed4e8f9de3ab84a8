"""Concepts that stand in one place: tables and tests of operator names, names of classes."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.house.source import DEFINITIONS, Figure, Places, Tree


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
    """Operator names in a literal collection, or in a text that is nothing but names or pairs ``name=something``.

    A dictionary that has other texts among its keys is about something else, of which some are called like operators.
    """
    if isinstance(node, ast.Constant):
        words = re.split(r"[\s|]+", node.value.strip()) if isinstance(node.value, str) else []
        return len(words) if all(w.partition("=")[0] in kinds for w in words) else 0
    if not isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
        return 0
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Dict) and any(_is_text(key) and not _names_in(key, kinds) for key in node.keys if key):
        children = list(node.values)
    return sum(_names_in(child, kinds) for child in children)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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


def patterns(tree: Tree) -> Places:
    """Operators that code looks for by name: ``op.is_a("SLICE")``, ``value.made_by("SLICE")``."""
    for file in tree.files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".is_a", ".made_by")):
                yield file.at(node, ast.unparse(node))


def duplicate_classes(tree: Tree) -> Places:
    """Names that two public classes share."""
    homes = defaultdict(list)
    for file in tree.files:
        for node in file.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(file.at(node))
    return (f"{name}: {', '.join(places)}" for name, places in sorted(homes.items()) if len(places) > 1)
