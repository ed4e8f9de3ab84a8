"""The pattern language over the smallest graph there is: nodes that hold their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from onnx2tf_lite.match import Language, Match, PatternError, find


@dataclass(eq=False)
class Node:
    """A node and its one result; a number is a constant."""

    op: str
    operands: list[Node | None] = field(default_factory=list)
    attrs: dict[str, object] = field(default_factory=dict)
    users: list[Node | None] = field(default_factory=list)


def node(op: str, *operands: Node | float | None, **attrs: object) -> Node:
    made = Node(op, [x if isinstance(x, Node | None) else Node(str(float(x))) for x in operands], attrs)
    for operand in made.operands:
        if operand is not None:
            operand.users.append(made)
    return made


class Nodes:
    """Nodes as the language sees them."""

    def operator(self, node: Node) -> str:
        return node.op

    def operands(self, node: Node) -> Sequence[Node | None]:
        return node.operands

    def attributes(self, node: Node) -> Mapping[str, object]:
        return node.attrs

    def producer(self, tensor: Node) -> Node | None:
        return tensor if tensor.operands else None

    def is_constant(self, tensor: Node) -> bool:
        return tensor.op[0] in "-0123456789"

    def is_number(self, tensor: Node, wanted: float) -> bool:
        return self.is_constant(tensor) and float(tensor.op) == wanted

    def readers(self, tensor: Node) -> Sequence[Node | None]:
        return tensor.users


SMALL = Language(lambda word: [word] if word in ("add", "sub", "mul", "exp", "join") else [], frozenset(("add", "mul")))


def first(root: Node, *texts: str) -> Match[Node, Node] | None:
    found = (find(p, root, Nodes()) for p in SMALL.patterns(*texts))
    return next((m for m in found if m), None)


X, Y = Node("x"), Node("y")
FOUND = {
    "a name is any tensor": ("exp(a)", node("exp", X)),
    "also one that is a constant": ("exp(a)", node("exp", 2)),
    "the same name is the same tensor": ("mul(a, a)", node("mul", X, X)),
    "a number": ("sub(a, -2.5)", node("sub", X, -2.5)),
    "a constant": ("sub(a, const(c))", node("sub", X, 7)),
    "commutative operands": ("mul(a, 2)", node("mul", 2, X)),
    "a choice that is taken back": ("add(mul(a, b), b)", node("add", X, node("mul", X, Y))),
    "one of several operators": ("add|sub(a, b)", node("sub", X, Y)),
    "of which one commutes": ("mul|sub(a, 2)", node("mul", 2, X)),
    "attributes": ("exp(a, base=e, fast=True)", node("exp", X, base="e", fast=True, other=1)),
    "an attribute that is not there": ("exp(a, base=None)", node("exp", X)),
    "further operands": ("join(a, ...)", node("join", X, Y, X)),
    "none of the operands": ("join(...)", node("join", X)),
    "a part in front": ("d = exp(a); mul(d, add(d, 1))", (lambda e: node("mul", e, node("add", e, 1)))(node("exp", X))),
    "a part where it stands": ("add(d := exp(a), d)", (lambda e: node("add", e, e))(node("exp", X))),
    "the same, read from the right": ("sub(d, d := exp(a))", (lambda e: node("sub", e, e))(node("exp", X))),
}
MISSED = {
    "another operator": ("exp(a)", node("sub", X, Y)),
    "two tensors of one name": ("mul(a, a)", node("mul", X, Y)),
    "another number": ("sub(a, 2)", node("sub", X, 3)),
    "no constant": ("sub(a, const(c))", node("sub", X, Y)),
    "operands that may not change places": ("sub(a, 2)", node("sub", 2, X)),
    "nor where only the other operator commutes": ("mul|sub(a, 2)", node("sub", 2, X)),
    "another attribute": ("exp(a, base=e)", node("exp", X, base="d")),
    "more operands": ("join(a)", node("join", X, Y)),
    "fewer operands": ("join(a, b, ...)", node("join", X)),
    "an operand that is left out": ("join(a, b)", node("join", X, None)),
    "an operator where a graph input is": ("exp(exp(a))", node("exp", X)),
}


@pytest.mark.parametrize(("text", "root"), FOUND.values(), ids=FOUND)
def test_found(text: str, root: Node) -> None:
    found = first(root, text)
    assert found is not None and found.root is root and found.read_elsewhere() is None


@pytest.mark.parametrize(("text", "root"), MISSED.values(), ids=MISSED)
def test_missed(text: str, root: Node) -> None:
    assert first(root, text) is None


def test_a_match_hands_out_tensors_and_nodes_by_name() -> None:
    inner = node("exp", X)
    root = node("add", 3, inner)
    found = first(root, "add(e := exp(a), const(c))")
    assert found is not None
    assert (found.a, found.e, found.op("e"), found.c.op) == (X, inner, inner, "3.0")
    assert found.nodes == (root, inner)


def test_a_match_refuses_unknown_names() -> None:
    found = first(node("exp", X), "exp(a)", "mul(a, b)")
    assert found is not None and found.get("b") is None
    with pytest.raises(AttributeError, match="the pattern has no 'c'; it has a, b"):
        _ = found.c
    with pytest.raises(AttributeError, match="the pattern has no 'c'"):
        found.get("c")
    with pytest.raises(AttributeError, match="'b' is not in the pattern that was found"):
        _ = found.b
    with pytest.raises(AttributeError, match="'a' is no operator"):
        found.op("a")


@pytest.mark.parametrize("reader", [Node("other"), None], ids=["another node", "the outside"])
def test_who_else_reads_a_part(reader: Node | None) -> None:
    inner = node("exp", X)
    inner.users.append(reader)
    root = node("add", inner, 1)
    found, shared = first(root, "add(exp(a), 1)"), first(root, "add(shared(exp(a)), 1)")
    assert found is not None and found.read_elsewhere() is inner
    assert shared is not None and shared.read_elsewhere() is None


def test_near_misses_are_traced() -> None:
    inner = node("exp", Y)
    root, near = node("mul", X, node("add", inner, 2)), set[int]()
    (pattern,) = SMALL.patterns("mul(a, add(exp(b), 1))")
    assert find(pattern, root, Nodes(), near) is None
    assert near == {id(root), id(root.operands[1]), id(inner)}


DEPTHS = [("exp(a)", 1), ("add(exp(exp(a)), mul(a, b))", 3), ("d = exp(a); add(d, 1)", 2)]


@pytest.mark.parametrize(("text", "depth"), DEPTHS)
def test_depth(text: str, depth: int) -> None:
    assert SMALL.patterns(text)[0].depth == depth


# text, what is wrong, the column
WRONG = [
    ("", "ends in an operator", 0),
    ("a", "expected an operator", 0),
    ("mul(a, exp(b)", "never closed", 3),
    ("mul(a, Exp(b))", "no operator 'Exp'", 7),
    ("add|plus(a, b)", "no operator 'plus'", 4),
    ("mul(a, b) c", "invalid syntax", 10),
    ("exp(a); exp(b)", "expected 'name = part'", 0),
    ("d = a; exp(d)", "expected an operator", 4),
    ("d = exp(a); add(d, d := exp(b))", "defined twice", 19),
    ("exp(a, base=exp(b))", "an attribute is a word or a number", 12),
    ("exp(root)", "means something else", 4),
    ("exp(a, **b)", "an attribute has a name", 9),
]


@pytest.mark.parametrize(("text", "what", "column"), WRONG, ids=[w[0] or "nothing" for w in WRONG])
def test_wrong_patterns_say_where(text: str, what: str, column: int) -> None:
    with pytest.raises(PatternError) as raised:
        SMALL.patterns(text)
    first_line, _, caret = str(raised.value).split("\n")
    assert what in first_line and caret.index("^") - 4 == column
