"""A small pattern language: an expression of operators, written as in a paper, found in the graph from its root up.

    Mul(x, Tanh(Softplus(x)))             a name binds a tensor, and the same name the same tensor
    Mul(Mul(x, 0.5), Add(Erf(t), 1))      a number matches a constant that consists of it
    d := Sub(x, ReduceMean(x, axes)); Div(d, Sqrt(Add(ReduceMean(Mul(d, d), axes2), #eps)))
                                          := names a part that is used twice; # binds a constant

Operands of Add, Mul, Min and Max match in either order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..model.edit import Edit, Tensor, producer, scalar

COMMUTE = frozenset(("Add", "Mul", "Min", "Max"))
#: 0.7071 is written with between four and sixteen digits, and in float16 it is no better known than this.
CLOSE, CLOSE_16 = 2e-5, 1e-3


@dataclass(frozen=True)
class Call:
    op: str
    args: tuple[Any, ...]


@cache
def parse(text: str) -> tuple[Call, dict[str, Call]]:
    """The root expression, and the named parts."""
    *lets, root = [part.strip() for part in text.split(";")]
    named = {name.strip(): _expression(body) for name, body in (let.split(":=") for let in lets)}
    return _expression(root), named


@cache
def operators(text: str) -> frozenset[str]:
    """What a graph must contain for the pattern to occur in it."""
    return frozenset(re.findall(r"(\w+)\(", text))


def _expression(text: str) -> Any:
    tokens = re.findall(r"[#\w.+-]+|[(),]", text)

    def term() -> Any:
        word = tokens.pop(0)
        if not tokens or tokens[0] != "(":
            return float(word) if re.match(r"[\d.+-]", word) else word
        tokens.pop(0)
        args = [term()]
        while tokens.pop(0) == ",":
            args.append(term())
        return Call(word, tuple(args))

    return term()


Bound = dict[str, Tensor]
Pair = tuple[Any, Tensor]


@dataclass
class Match:
    """What a pattern was found as: tensors by name, and the nodes it covers, the root first."""

    root: gs.Node
    bound: Bound
    nodes: list[gs.Node]

    def __getitem__(self, name: str) -> Tensor:
        return self.bound[name]

    def node(self, op: str) -> gs.Node:
        return next(n for n in self.nodes if n.op == op)


#: Says why a match must not be rewritten; None: it may.
Check = Callable[[Match], str | None]
Rewrite = Callable[[Edit, Match], None]


@dataclass(frozen=True)
class Fusion:
    """A row of the table of fusions."""

    name: str
    what: str
    patterns: tuple[str, ...]
    rewrite: Rewrite
    check: Check = lambda match: None

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(parse(p)[0].op for p in self.patterns)


def find(pattern: str, node: gs.Node, near: set[int] | None = None) -> Match | None:
    """The match with `node` as its root; `near` collects the nodes that agreed in any attempt."""
    root, lets = parse(pattern)
    near = set() if near is None else near

    def call(want: Call, node: gs.Node, rest: list[Pair], bound: Bound, nodes: list[gs.Node]) -> Iterator[Match]:
        if node.op != want.op or node.domain or len(node.inputs) != len(want.args):
            return
        near.add(id(node))
        for order in (want.args, want.args[::-1]) if want.op in COMMUTE else (want.args,):
            yield from pairs([*zip(order, node.inputs, strict=True), *rest], bound, [*nodes, node])

    def pairs(todo: list[Pair], bound: Bound, nodes: list[gs.Node]) -> Iterator[Match]:
        """All ways in which the rest of the pattern fits."""
        if not todo:
            yield Match(nodes[0], bound, nodes)
            return
        (want, tensor), *rest = todo
        if isinstance(want, Call):
            maker = producer(tensor)
            if maker is not None and maker.outputs[0] is tensor:
                yield from call(want, maker, rest, bound, nodes)
        elif isinstance(want, float):
            if _close(tensor, want):
                yield from pairs(rest, bound, nodes)
        elif want in bound:
            if bound[want] is tensor:
                yield from pairs(rest, bound, nodes)
        elif not want.startswith("#") or isinstance(tensor, gs.Constant):
            part = [(lets[want], tensor)] if want in lets else []
            yield from pairs([*part, *rest], {**bound, want: tensor}, nodes)

    return next(call(root, node, [], {}, []), None)


def _close(tensor: Tensor, want: float) -> bool:
    number = scalar(tensor)
    close = CLOSE_16 if tensor.dtype == np.float16 else CLOSE
    return number is not None and abs(number - want) <= close * max(abs(want), 1e-6)


def outside_readers(match: Match, edit: Edit) -> str | None:
    """A result inside the pattern that someone else reads: fusing would compute it twice."""
    covered = {id(n) for n in match.nodes}
    for node in match.nodes:
        for tensor in node.outputs if node is not match.root else ():
            if id(tensor) in edit.outputs or any(id(u) not in covered for u in tensor.outputs):
                return f"'{tensor.name}' is read elsewhere"
    return None
