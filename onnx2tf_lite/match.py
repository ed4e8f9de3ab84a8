"""The one pattern language: operators written as in a paper, found in a graph from the last of them up.

    Mul(x, Tanh(Softplus(x)))                  a name is a tensor, and the same name the same tensor
    Mul(Mul(x, 0.5), Add(Erf(t), 1))           a number is a constant that consists of it
    Clip(Add(Mul(x, const(a)), const(b)), 0, 1)       any constant
    d = Sub(x, m); Div(d, Sqrt(Abs(d)))        a part with a name; also where it stands: Relu(c := Conv(x, w))
    ADD|SUB(x, const(c))                       one of several operators
    ADD(x, 3, activation=RELU6)                attributes; one that is not mentioned may be anything
    CONV_2D(PAD(x), ...)                       further operands, however many
    TRANSPOSE(shared(TRANSPOSE(x)))            others may read this part; the results of the others nobody else reads

The grammar is that of Python's expressions.  The two operands of a commutative operator match in either order.  What an
operator, an attribute or a constant is, and who reads a tensor, a :class:`GraphView` says: the language knows no graph.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Protocol, TypeVar, Union

from .record import record

T = TypeVar("T")  # tensors of a graph
N = TypeVar("N")  # its nodes


class PatternError(ValueError):
    """A text that is no pattern, with the place where it stops being one."""

    def __init__(self, text: str, place: int, what: str):
        super().__init__(f"{what}\n    {text}\n    {' ' * place}^")


@record
class Name:
    """Any tensor, or any constant."""

    name: str
    constant: bool


@record
class Call:
    """The result of one of ``operators``; ``open`` where further operands may follow, ``shared`` where others may read
    it, ``commutative`` those of the operators whose two operands may change places."""

    operators: frozenset[str]
    operands: tuple[Term, ...]
    attributes: tuple[tuple[str, object], ...]
    open: bool
    commutative: frozenset[str]
    shared: bool = False


Term = Union[Name, Call, float]


@record
class Pattern:
    """A parsed text: its last operator, the parts that have a name, the names that a match may be asked for."""

    text: str
    root: Call
    parts: Mapping[str, Call]
    names: frozenset[str]

    @cached_property
    def depth(self) -> int:
        """Operators on the longest path of the pattern."""

        def below(term: Term) -> int:
            if isinstance(term, Name) and term.name in self.parts:
                return below(self.parts[term.name])
            return 1 + max(map(below, term.operands), default=0) if isinstance(term, Call) else 0

        return below(self.root)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every operator of the pattern."""

        def within(term: Term) -> Iterator[Call]:
            if isinstance(term, Call):
                yield term
                for operand in term.operands:
                    yield from within(operand)

        return tuple(call for top in (self.root, *self.parts.values()) for call in within(top))

    def may_occur(self, operators: Set[str]) -> bool:
        """False for a graph of these operators, of which some are missing."""
        return not any(call.operators.isdisjoint(operators) for call in self.calls)


@record
class Language:
    """The vocabulary of one kind of graph: ``operators`` is what a word stands for (nothing: it is unknown), and
    ``commutative`` are those whose two operands may change places."""

    operators: Callable[[str], Iterable[str]]
    commutative: frozenset[str]

    def patterns(self, *texts: str) -> tuple[Pattern, ...]:
        """The alternatives of a rule; each knows the names of all of them.  Raises :class:`PatternError`."""
        parsed = [_Parser(self, text).pattern() for text in texts]
        names = frozenset[str]().union(*(p.names for p in parsed))
        return tuple(replace(p, names=names) for p in parsed)


class _Parser:
    """Python's syntax tree of a text as a pattern."""

    def __init__(self, language: Language, text: str):
        self.language, self.text = language, text
        self.parts: dict[str, Call] = {}
        self.names: set[str] = set()

    def pattern(self) -> Pattern:
        try:
            statements = ast.parse(self.text).body
        except SyntaxError as error:
            raise PatternError(self.text, (error.offset or 1) - 1, error.msg) from None
        for statement in statements[:-1]:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name) as target], value=part):
                    self.define(target, name, part)
                case _:
                    raise self.error(statement, "expected 'name = part'")
        match statements[-1:]:
            case [ast.Expr(value=root)]:
                return Pattern(self.text, self.call(root), self.parts, frozenset(self.names))
        raise PatternError(self.text, 0, "a pattern ends in an operator")

    def term(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -float(number)
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.Call(func=ast.Name(id="const"), args=[ast.Name(id=name)], keywords=[]):
                return self.name(node, name, constant=True)
            case ast.NamedExpr(target=target, value=part):
                return self.define(target, target.id, part)
        return self.call(node)

    def name(self, node: ast.expr, name: str, *, constant: bool = False) -> Name:
        if hasattr(Match, name):
            raise self.error(node, f"'{name}' means something else to a match")
        self.names.add(name)
        return Name(name, constant)

    def define(self, node: ast.expr, name: str, part: ast.expr) -> Name:
        if name in self.parts:
            raise self.error(node, f"'{name}' is defined twice")
        self.parts[name] = self.call(part)
        return self.name(node, name)

    def call(self, node: ast.expr) -> Call:
        match node:
            case ast.Call(func=ast.Name(id="shared"), args=[part], keywords=[]):
                return replace(self.call(part), shared=True)
            case ast.BinOp(left=others, op=ast.BitOr(), right=ast.Call() as call):
                words = self.words(others) + self.words(call.func)
            case ast.Call() as call:
                words = self.words(call.func)
            case _:
                raise self.error(node, "expected an operator with its operands")
        more = bool(call.args) and isinstance(call.args[-1], ast.Constant) and call.args[-1].value is ...
        operands = tuple(map(self.term, call.args[:-1] if more else call.args))
        attributes = tuple(map(self.attribute, call.keywords))
        commutative = self.language.commutative.intersection(words if len(operands) == 2 and not more else ())
        return Call(frozenset(words), operands, attributes, more, commutative)

    def words(self, node: ast.expr) -> list[str]:
        match node:
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.words(left) + self.words(right)
            case ast.Name(id=word) if found := [*self.language.operators(word)]:
                return found
        raise self.error(node, f"there is no operator '{ast.unparse(node)}'")

    def attribute(self, keyword: ast.keyword) -> tuple[str, object]:
        match keyword:
            case ast.keyword(arg=None):
                raise self.error(keyword.value, "an attribute has a name")
            case ast.keyword(arg=str() as name, value=ast.Name(id=value) | ast.Constant(value=value)):
                return name, value
        raise self.error(keyword.value, "an attribute is a word or a number")

    def error(self, node: ast.stmt | ast.expr, what: str) -> PatternError:
        return PatternError(self.text, node.col_offset, what)


# ------------------------------------------------------------------------------------------------ matching


class GraphView(Protocol[T, N]):
    """What the language has to know of a graph."""

    def operator(self, node: N) -> str:
        """Its name, as the patterns write it; "" for a node that no pattern may touch."""

    def operands(self, node: N) -> Sequence[T | None]:
        """Its inputs, None where an optional one is absent."""

    def attributes(self, node: N) -> Mapping[str, object]:
        """Its attributes."""

    def producer(self, tensor: T) -> N | None:
        """The node whose only result the tensor is."""

    def is_constant(self, tensor: T) -> bool:
        """Is it known before the graph runs?"""

    def is_number(self, tensor: T, wanted: float) -> bool:
        """Is it a constant that consists of ``wanted``?"""

    def readers(self, tensor: T) -> Iterable[N | None]:
        """The nodes that read it, and None where something outside the graph does."""


class Match(Generic[T, N]):
    """What a pattern was found as: ``m.x`` is the tensor called x, ``m.op("c")`` the node that makes c, ``m.root`` the
    last node, ``m.nodes`` all of them, the root first."""

    __slots__ = ("_inner", "_names", "bound", "nodes", "root", "view")

    def __init__(self, names: frozenset[str], view: GraphView[T, N], found: Found[T, N]):
        self.bound, self.nodes, self._inner = found
        self.root, self.view, self._names = self.nodes[0], view, names

    def get(self, name: str) -> T | None:
        """The tensor of that name, None where the pattern that was found does not use it; AttributeError where no
        pattern of the rule does."""
        if name not in self._names:
            raise AttributeError(f"the pattern has no '{name}'; it has {', '.join(sorted(self._names)) or 'no names'}")
        return self.bound.get(name)

    def __getattr__(self, name: str) -> T:
        found = None if name.startswith("_") else self.get(name)
        if found is None:
            raise AttributeError(f"'{name}' is not in the pattern that was found")
        return found

    def op(self, name: str) -> N:
        """The node whose result has that name; AttributeError where there is none."""
        node = self.view.producer(getattr(self, name))
        if node is None:
            raise AttributeError(f"'{name}' is no operator of the pattern")
        return node

    def read_elsewhere(self) -> T | None:
        """A result inside the pattern that others read too and that is not marked with &: a rewrite would keep the node
        that makes it, and compute it twice."""
        covered = {id(node) for node in self.nodes}
        return next((t for t in self._inner if any(id(r) not in covered for r in self.view.readers(t))), None)


def find(pattern: Pattern, root: N, view: GraphView[T, N], near: set[int] | None = None) -> Match[T, N] | None:
    """The match with ``root`` as its last node; ``near`` collects the ids of the nodes that agreed in any attempt."""
    if view.operator(root) not in pattern.root.operators:
        return None
    found = _Search(pattern, view, near).node(pattern.root, root, (), ({}, (), ()))
    return None if found is None else Match(pattern.names, view, found)


Todo = tuple[tuple[Term, "T | None"], ...]  # what is still to be compared
Found = tuple[dict[str, T], tuple[N, ...], tuple[T, ...]]  # tensors by name, nodes, tensors that nobody else may read


@dataclass
class _Search(Generic[T, N]):
    """Backtracking: the rest is a list, so that a choice made early can be taken back late."""

    pattern: Pattern
    view: GraphView[T, N]
    near: set[int] | None

    def node(self, want: Call, node: N, rest: Todo[T], found: Found[T, N]) -> Found[T, N] | None:
        """The first way in which ``node`` is ``want`` and the rest fits."""
        view, operator = self.view, self.view.operator(node)
        if operator not in want.operators:
            return None
        operands = view.operands(node)
        if len(operands) != len(want.operands) and not (want.open and len(operands) > len(want.operands)):
            return None
        if want.attributes:
            have = view.attributes(node)
            for key, value in want.attributes:
                if have.get(key) != value:
                    return None
        if self.near is not None:
            self.near.add(id(node))
        bound, nodes, inner = found
        found = bound, (*nodes, node), inner
        straight = self.rest((*zip(want.operands, operands, strict=False), *rest), found)
        if straight is not None or operator not in want.commutative:
            return straight
        return self.rest((*zip(want.operands[::-1], operands, strict=True), *rest), found)

    def rest(self, todo: Todo[T], found: Found[T, N]) -> Found[T, N] | None:
        """The first way in which everything in ``todo`` fits."""
        bound, nodes, inner = found
        while todo:
            (want, tensor), todo = todo[0], todo[1:]
            if tensor is None:
                return None
            if isinstance(want, Name):
                known = bound.get(want.name)
                if known is None:
                    if want.constant and not self.view.is_constant(tensor):
                        return None
                    bound = {**bound, want.name: tensor}
                    want = self.pattern.parts.get(want.name, want)
                elif known is not tensor:
                    return None
            if isinstance(want, Call):
                node = self.view.producer(tensor)
                inner = inner if want.shared else (*inner, tensor)
                return None if node is None else self.node(want, node, todo, (bound, nodes, inner))
            if isinstance(want, float) and not self.view.is_number(tensor, want):
                return None
        return bound, nodes, inner
