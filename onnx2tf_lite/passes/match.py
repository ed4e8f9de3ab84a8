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
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from .edit import Edit, Tensor, producer, scalar, standard

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


@dataclass
class Match:
    """What a pattern was found as: tensors by name, and the nodes it covers, the root last."""

    root: gs.Node
    bound: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[gs.Node] = field(default_factory=list)

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
    patterns: tuple[str, ...]
    check: Check
    rewrite: Rewrite

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(parse(p)[0].op for p in self.patterns)


def find(pattern: str, node: gs.Node, near: set[int] | None = None) -> Match | None:
    """The match with `node` as its root; `near` collects the nodes that agreed in any attempt."""
    root, lets = parse(pattern)
    if node.op != root.op or not standard(node):
        return None
    for bound, nodes in _call(root, node, {}, [], lets, near if near is not None else set()):
        return Match(node, bound, list({id(n): n for n in nodes}.values()))
    return None


State = tuple[dict[str, Tensor], list[gs.Node]]


def _call(want: Call, node: gs.Node, bound: dict, nodes: list, lets: dict, near: set[int]) -> Iterator[State]:
    args = list(node.inputs)
    if len(args) != len(want.args):
        return
    near.add(id(node))
    orders = [want.args, want.args[::-1]] if want.op in COMMUTE and len(args) == 2 else [want.args]
    for order in orders:
        states: list[Iterator[State]] = [iter([(bound, nodes)])]
        yield from _arguments(list(zip(order, args, strict=True)), states[0], lets, near, node)


def _arguments(pairs: list, states: Iterator[State], lets: dict, near: set[int], node: gs.Node) -> Iterator[State]:
    if not pairs:
        for bound, nodes in states:
            yield bound, [*nodes, node]
        return
    (want, tensor), *rest = pairs
    for bound, nodes in states:
        for state in _tensor(want, tensor, bound, nodes, lets, near):
            yield from _arguments(rest, iter([state]), lets, near, node)


def _tensor(want: Any, tensor: Tensor, bound: dict, nodes: list, lets: dict, near: set[int]) -> Iterator[State]:
    if isinstance(want, float):
        number = scalar(tensor)
        close = CLOSE_16 if number is not None and np.dtype(tensor.dtype).itemsize == 2 else CLOSE
        if number is not None and abs(number - want) <= close * max(abs(want), 1e-6):
            yield bound, nodes
    elif isinstance(want, Call):
        maker = producer(tensor)
        if maker is not None and maker.op == want.op and standard(maker) and maker.outputs[0] is tensor:
            yield from _call(want, maker, bound, nodes, lets, near)
    elif want in bound:
        if bound[want] is tensor:
            yield bound, nodes
    elif want.startswith("#") and not isinstance(tensor, gs.Constant):
        return
    elif want in lets:
        yield from _tensor(lets[want], tensor, {**bound, want: tensor}, nodes, lets, near)
    else:
        yield {**bound, want: tensor}, nodes


def outside_readers(match: Match, edit: Edit) -> str | None:
    """A result inside the pattern that someone else reads: fusing would compute it twice."""
    covered = {id(n) for n in match.nodes}
    for node in match.nodes:
        for tensor in node.outputs if node is not match.root else ():
            if id(tensor) in edit.outputs or any(id(u) not in covered for u in tensor.outputs):
                return f"'{tensor.name}' is read elsewhere"
    return None
