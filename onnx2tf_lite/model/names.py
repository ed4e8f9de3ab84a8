"""Names of a model: looked up with suggestions, made unique."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..errors import ambiguous, unknown
from .walk import GraphLike, Scope, _below, constants, defined, initializers, inputs, outputs, scopes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def names_in(model_or_graph: ModelProto | GraphLike) -> set[str]:
    """Every name of a tensor or node, in all bodies: what a fresh name must not be."""
    if hasattr(model_or_graph, "graph"):
        found = [s.graph for s in scopes(model_or_graph)]
    else:
        found = [s.graph for s in _below(Scope(model_or_graph))]
    return {n for g in found for n in [*defined(g), *outputs(g), *(x.name for x in g.node)] if n}


def fresh(name: str, taken: set[str]) -> str:
    """``name``, or with a number behind it; the result is added to ``taken``."""
    candidate, k = name, 0
    while candidate in taken:
        k += 1
        candidate = f"{name}_{k}"
    taken.add(candidate)
    return candidate


#: kind -> the names of that kind in a graph
NAMES: dict[str, Callable[[GraphLike], Iterable[str]]] = {
    "node": lambda g: (n.name for n in g.node),
    "tensor": defined,
    "initializer": initializers,
    "constant": constants,
    "graph input": inputs,
    "graph output": outputs,
}


def known(model: ModelProto, kind: str) -> list[tuple[Scope, str]]:
    """Every (scope, name) of a kind; inputs and outputs are those of the main graph."""
    where = scopes(model)[:1] if kind.startswith("graph ") else scopes(model)
    return [(s, n) for s in where for n in dict.fromkeys(NAMES[kind](s.graph)) if n]


def find(model: ModelProto, kind: str, name: str, flag: str) -> tuple[Scope, str]:
    """Look a name up: in the main graph, then in bodies and functions; ``path:name`` addresses one of these exactly.

    Raises ToolError: unknown, with the nearest names, or in several bodies, with their addresses.
    """
    places = known(model, kind)
    here = [p for p in places if p[1] == name]
    main = [p for p in here if not p[0].path]
    found = main or here or [p for p in places if p[0].path and p[0].address(p[1]) == name]
    if len(found) == 1 or main:
        return found[0]
    if found:
        raise ambiguous(flag, kind, name, [s.address(n) for s, n in found])
    raise unknown(flag, kind, name, [s.address(n) for s, n in places])


def match(model: ModelProto, kind: str, pattern: str, flag: str) -> list[tuple[Scope, str]]:
    """All names that a glob (``*``, ``?``, ``[..]``) matches, in any graph; the address is matched too.  A name without
    such characters, or one that exists as it is written, is looked up as by :func:`find`.  ToolError for no match."""
    places = known(model, kind)
    if not set("*?[") & set(pattern) or any(n == pattern for _, n in places):
        return [find(model, kind, pattern, flag)]
    found = [(s, n) for s, n in places if fnmatch.fnmatchcase(n, pattern) or fnmatch.fnmatchcase(s.address(n), pattern)]
    if not found:
        raise unknown(flag, kind, pattern, [s.address(n) for s, n in places])
    return found


def node_named(scope: Scope, name: str) -> NodeProto:
    """The node of a scope with that name."""
    found: NodeProto = next(n for n in scope.graph.node if n.name == name)
    return found
