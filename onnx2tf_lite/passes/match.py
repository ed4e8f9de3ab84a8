"""The pattern language (:mod:`onnx2tf_lite.match`) over ONNX: its operators by the names of the standard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import cached_property

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import Tensor

from .. import match
from ..match import Language, Pattern
from ..model.edit import GraphEdit, arg, producer, scalar
from ..record import record

ONNX = Language(lambda word: [word] if onnx.defs.has(word) else [], frozenset(("Add", "Mul", "Min", "Max")))
#: 0.7071 is written with between four and sixteen digits, and in float16 it is no better known than this.
CLOSE, CLOSE_16 = 2e-5, 1e-3
WORDS = re.compile(r"([A-Z]\w*(?:\|[A-Z]\w*)*)\(")  # the operators of a pattern, with their alternatives

Match = match.Match[Tensor, gs.Node]


@record
class OnnxView:
    """A graphsurgeon graph under edit, as the pattern language sees it."""

    edit: GraphEdit

    def operator(self, node: gs.Node) -> str:
        """Its op_type; "" outside the default domain."""
        return "" if node.domain else str(node.op)

    def operands(self, node: gs.Node) -> Sequence[Tensor | None]:
        """Its inputs, None where one is left out."""
        return [arg(node, i) for i in range(len(node.inputs))]

    def attributes(self, node: gs.Node) -> Mapping[str, object]:
        """Its attributes as they are written: a default is absent."""
        return dict(node.attrs)

    def producer(self, tensor: Tensor) -> gs.Node | None:
        """The node whose only output it is."""
        node = producer(tensor)
        return node if node is not None and len(node.outputs) == 1 else None

    def is_constant(self, tensor: Tensor) -> bool:
        """True for an initializer."""
        return isinstance(tensor, gs.Constant)

    def is_number(self, tensor: Tensor, wanted: float) -> bool:
        """True for a constant of one element that is ``wanted``, as precisely as exporters write numbers."""
        number = scalar(tensor)
        close = CLOSE_16 if tensor.dtype == np.float16 else CLOSE
        return number is not None and abs(number - wanted) <= close * max(abs(wanted), 1e-6)

    def readers(self, tensor: Tensor) -> Iterable[gs.Node | None]:
        """Its nodes, those in bodies too, and None for a graph output."""
        return [*tensor.outputs, *([None] if id(tensor) in self.edit.outputs else [])]


@record
class Fusion:
    """A row of the table of fusions: what exporters write as the patterns ``texts`` becomes, by ``rewrite``, one
    operator in the root's place.  ``check`` says why a match must not be rewritten; None: it may."""

    name: str
    what: str
    texts: tuple[str, ...]
    rewrite: Callable[[GraphEdit, Match], None]
    check: Callable[[Match], str | None] | None = None

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """The texts, parsed: that takes longer than converting a small model, of whose operators few have any."""
        return ONNX.patterns(*self.texts)

    def possible(self, operators: Set[str]) -> list[Pattern]:
        """The patterns that may be in a graph of these operators."""
        if not any(may_occur(text, operators) for text in self.texts):
            return []
        return [pattern for pattern in self.patterns if pattern.may_occur(operators)]

    def against(self, found: Match) -> str | None:
        """Why a match must not be rewritten."""
        inner = found.read_elsewhere()
        if inner is not None:
            return f"'{inner.name}' is read elsewhere"
        return self.check(found) if self.check else None


def may_occur(text: str, operators: Set[str]) -> bool:
    """False for a pattern, not yet parsed, and a graph of these operators, of which some are missing."""
    return not any(operators.isdisjoint(words.split("|")) for words in WORDS.findall(text))
