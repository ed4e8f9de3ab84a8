"""The facts that several tables use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .node import Node, Operand
from .table import Fact

SAME = schema.Padding.SAME

STATIC = Fact(
    "shapes that are known before it runs",
    lambda n: all(-1 not in x.shape for x in n.operands),
    "fix the shapes of the inputs (-b 1, or -ois)",
)

FIRST_FREE = Fact(
    "extents that are known, but for the first one, which is taken as 1",
    lambda n: all(-1 not in x.shape[1:] for x in n.operands),
    "fix the shapes of the inputs (-ois)",
)


def rank(*allowed: int, remedy: str = "") -> Fact:
    """Operands with one of these numbers of axes at the most (a single number), or just these."""
    if len(allowed) == 1:
        return Fact(f"at most {allowed[0]} axes", lambda n: n.rank <= allowed[0], remedy, axes=allowed[0])
    words = " or ".join(map(str, allowed))
    return Fact(f"{words} axes", lambda n: len(_first(n).shape) in allowed, remedy)


def constant(index: int, what: str, fatal: bool = False) -> Fact:
    """Operand ``index`` is part of the file."""
    return Fact(f"constant {what}", lambda n: (x := n.input(index)) is None or x.constant, fatal=fatal)


def computed(index: int, what: str) -> Fact:
    """Operand ``index`` is not part of the file."""
    return Fact(f"{what} that are computed", lambda n: (x := n.input(index)) is not None and not x.constant)


def strides(most: int) -> Fact:
    """Of a window."""
    return Fact(f"strides of at most {most}", lambda n: max(window_strides(n)) <= most)


def axis(allowed: Callable[[Node, int], bool], words: str, index: int = 1) -> Fact:
    """The constant axes that are operand ``index``, counted from 0."""
    return Fact(words, lambda n: all(allowed(n, a) for a in axes(n, index)))


def numbers(low: int, high: int, what: str, read: Callable[[Node], Any]) -> Fact:
    """A number of the operator lies in a range."""
    return Fact(f"{what} of {low} to {high}", lambda n: low <= read(n) <= high)


def no_groups(remedy: str) -> Fact:
    """A convolution whose filter reads every channel."""
    return Fact("a convolution without groups", lambda n: groups(n) == 1, remedy)


def per_tensor(*but: str) -> Fact:
    """One scale for a tensor, but for filters of the operators in ``but``."""
    return Fact("one scale for each tensor", lambda n: n.name in but or not any(x.per_axis for x in n.operands))


NO_ACTIVATION = Fact("no fused activation", lambda n: not n.option("fusedActivationFunction"))
EQUAL_DILATION = Fact(
    "the same dilation over height and width",
    lambda n: n.option("dilationHFactor", 1) == n.option("dilationWFactor", 1),
)
SAME_SCALES = Fact(
    "the scale of the result for both operands",
    lambda n: all(_scale(x) == _scale(n.outputs[0]) for x in n.inputs if x is not None),
)


# ------------------------------------------------------------------------------------------------ what they read


def _first(node: Node) -> Operand:
    return next(x for x in node.operands)


def _scale(x: Operand) -> tuple[float, int] | None:
    return (float(x.tensor.scale[0]), int(x.tensor.zero[0])) if x.tensor.quantised else None


def window_strides(node: Node) -> tuple[int, int]:
    """Height and width."""
    return node.option("strideH", 1), node.option("strideW", 1)


def window(node: Node) -> tuple[int, int]:
    """Height and width of the window of a pool, or of a filter."""
    if node.option("filterHeight"):
        return node.option("filterHeight"), node.option("filterWidth")
    weights = node.input(1)
    return (weights.shape[1], weights.shape[2]) if weights is not None and len(weights.shape) == 4 else (1, 1)


def axes(node: Node, index: int = 1) -> list[int]:
    """A constant operand that names axes, counted from 0; none where it is computed."""
    data, operand = node.constant(index), node.input(int(index == 0))  # of SPLIT the axis comes first
    return [] if data is None or operand is None else [int(a) % len(operand.shape) for a in np.ravel(data)]


def groups(node: Node) -> int:
    """Of a CONV_2D: the shapes say it."""
    x, weights = node.input(0), node.input(1)
    return x.shape[3] // weights.shape[3] if x is not None and weights is not None and weights.shape[3] else 1


def no_activation(where: str) -> Fact:
    """What leaves out, or leaves to others, an activation that is fused to int32 arithmetic."""
    return Fact(
        f"no activation fused to plain integers ({where} leaves it out)",
        lambda n: n.outputs[0].type != "i32" or not n.option("fusedActivationFunction"),
    )
