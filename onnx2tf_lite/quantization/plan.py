"""What is to be integers in a graph, in which width, with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..fusion import qdq
from ..ir import rewrite
from ..ir.graph import Graph, Op, Quant, Value, copy_graph
from ..ir.traits import FixedScale, Int8
from . import scales
from .positions import positions
from .recipes import I16
from .rounding import Moments

Range = tuple[float, float]
FIXED_16 = FixedScale(2**-15, 0)  # of the results of 16-bit kernels whose scale is fixed
MOVES = (Int8.MOVES, Int8.PADS)
ALIKE = (Int8.ONE_SCALE, Int8.RESAMPLES)  # kernels whose result has the parameters of the operand


def is_kernel(op: Op, dtype: np.dtype) -> bool:
    """True for an operator with float results that has an integer kernel of activations of ``dtype``; none has integers
    for infinite constants, such as masks of attention."""
    kind = op.kind
    if kind.int8 is None or kind.int8 in MOVES or len(op.outputs) != 1 or op.outputs[0].dtype != np.float32:
        return False
    if dtype == I16 and not kind.int16:
        return False
    constants = op.inputs[1:] if kind.weights is not None else ()
    if any(v is not None and v.data is not None and not np.isfinite(v.data).all() for v in op.inputs):
        return False
    return all(v is None or v.is_constant for v in constants)


def kernels(graph: Graph, dtype: np.dtype) -> list[Op]:
    """The operations that may become integer kernels of activations of ``dtype``."""
    stay = positions(graph).ops
    return [op for op in graph.ops if is_kernel(op, dtype) and op not in stay]


def is_integer(graph: Graph, dtype: np.dtype) -> bool:
    """True where the model has integers of its own, which leave no operator that activations of ``dtype`` are for:
    none that has an integer kernel, or those alone that its own parameters do not fit."""
    twin = copy_graph(graph)
    qdq(twin)
    parts = list(rewrite.graphs(twin))
    own = any(v.quant is not None for part in parts for op in part.ops for v in op.outputs)
    left = (op for part in parts for op in kernels(part, dtype))
    return own and all(any(v.made_by("DEQUANTIZE") for v in op.uses()) for op in left)


@dataclass
class Plan:
    """The integers of one graph.

    ``wanted``       dtype of the activations of an operation; None, or not there: it stays float
    ``ranges``       the numbers between which a tensor lies
    ``moments``      of the operands of linear operations, by the names of their results
    ``per_channel``  weights have a scale for each output channel
    ``ops``          those that become integer kernels, and the width of each
    """

    graph: Graph
    wanted: Mapping[Op, np.dtype | None]
    ranges: Mapping[Value, Range]
    per_channel: bool = True
    moments: Mapping[str, Moments] = field(default_factory=dict)
    ops: dict[Op, np.dtype] = field(default_factory=dict)
    computes: dict[Value, Op] = field(default_factory=dict)  # who computes a tensor, before and after annotation
    leaders: dict[Value, Value] = field(default_factory=dict)  # of tensors that share their parameters, to another one
    members: dict[Value, list[Value]] = field(default_factory=dict)
    aliases: dict[Value, Value] = field(default_factory=dict)
    widths: dict[Value, np.dtype] = field(default_factory=dict)  # of inputs

    def __post_init__(self) -> None:
        self.readers = self.graph.consumers()
        self.computes = {v: op for op in self.graph.ops for v in op.outputs}
        stay = positions(self.graph).ops
        self.ops = {
            op: d
            for op in self.graph.ops
            if (d := self.wanted.get(op)) is not None
            and is_kernel(op, d)
            and op not in stay
            and not self._is_quantised(op)
        }
        everything = [*self.graph.inputs, *self.computes]
        self._share(everything)
        while unknown := [op for op in self.ops if not all(map(self._known, self.tensors(op)))]:
            for op in unknown:
                del self.ops[op]
            self._share(everything)
        for op, dtype in self.ops.items():
            for value in self.tensors(op):
                if value in self.graph.inputs:
                    self.widths[value] = max(dtype, self.widths.get(value, dtype), key=lambda d: d.itemsize)

    # ------------------------------------------------------------------------------------------ who shares parameters

    def moves(self, op: Op) -> bool:
        """True for an operator whose result has the parameters of its first operand."""
        alike = op.kind.int8 in MOVES and len(op.outputs) == 1 and op.outputs[0].dtype == np.float32
        return alike and op.inputs[0] is not None and not op.inputs[0].is_constant  # not what is picked from a table

    def root(self, value: Value | None) -> Value | None:
        """The tensor whose numbers ``value`` has, before what only moves them; None for constants."""
        while value is not None:
            value = self.aliases.get(value, value)
            op = self.computes.get(value)
            if op is None or not self.moves(op):
                break
            value = op.inputs[0]
        return None if value is None or value.is_constant or value.dtype != np.float32 else value

    def _is_quantised(self, op: Op) -> bool:
        """True where the model itself has parameters for an operand: those are kept."""
        roots = [r for v in op.inputs if (r := self.root(v)) is not None]
        return any(r in self.computes and self.computes[r].is_a("DEQUANTIZE") for r in roots)

    def alias(self, value: Value, source: Value) -> None:
        """``value`` is what ``source`` is after a detour over integers."""
        self.aliases[value] = source

    def tensors(self, op: Op) -> list[Value]:
        """The roots of the activations that an operation reads and writes."""
        inputs = op.inputs[:1] if op.kind.weights is not None else op.inputs
        found = [self.root(v) for v in (*inputs, *op.outputs) if v is not None]
        return [v for v in found if v is not None]

    def _share(self, everything: list[Value]) -> None:
        """Unite the tensors that have the same parameters."""
        self.leaders = {}
        for op in self.graph.ops:
            source = self.root(op.inputs[0]) if op.inputs else None
            if source is not None and (op.kind.int8 is Int8.PADS or (op in self.ops and op.kind.int8 in ALIKE)):
                self._join(op.outputs[0], source)
        fixed = {self.leader(v) for v, op in self.computes.items() if op in self.ops and self._fixed(op)}
        for op, dtype in self.ops.items():
            if op.kind.int8 is not Int8.JOINS:
                continue
            for root in {r for v in op.inputs if (r := self.root(v)) is not None}:
                free = self.leader(root) not in fixed and self._only_reader(root) is op
                if free and self.width(root) == dtype:
                    self._join(op.outputs[0], root)
        self.members = {}
        for value in everything:
            self.members.setdefault(self.leader(value), []).append(value)

    def _fixed(self, op: Op) -> bool:
        return isinstance(op.kind.int8, FixedScale)

    def _only_reader(self, root: Value) -> Op | None:
        """The one operation that reads the numbers of ``root``, movement left aside; None where there are several."""
        found: set[Op] = set()
        queue = [root]
        while queue:
            value = queue.pop()
            if value in self.graph.outputs:
                return None
            for op in self.readers.get(value, ()):
                if self.moves(op):
                    queue.append(op.outputs[0])
                else:
                    found.add(op)
        return found.pop() if len(found) == 1 else None

    def leader(self, value: Value) -> Value:
        """The representative of the tensors that have the parameters of ``value``."""
        while value in self.leaders:
            value = self.leaders[value]
        return value

    def _join(self, first: Value, second: Value) -> None:
        a, c = self.leader(first), self.leader(second)
        if a is not c:
            self.leaders[c] = a

    # ------------------------------------------------------------------------------------------ parameters

    def width(self, root: Value) -> np.dtype | None:
        """The dtype in which a tensor exists; None where it is float."""
        op = self.computes.get(root)
        return self.widths.get(root) if op is None else self.ops.get(op)

    def group(self, value: Value) -> list[Value]:
        """The tensors that have the parameters of ``value``."""
        return self.members[self.leader(value)]

    def _known(self, value: Value) -> bool:
        group = self.group(value)
        return any(v in self.ranges for v in group) or any(self._fixed_of(v) is not None for v in group)

    def _fixed_of(self, value: Value) -> FixedScale | None:
        op = self.computes.get(value)
        return op.kind.int8 if op is not None and op in self.ops and isinstance(op.kind.int8, FixedScale) else None

    def outer(self, value: Value, dtype: np.dtype) -> Quant | None:
        """The parameters of an input or output of the graph; None where nothing is known of its numbers."""
        root = self.root(value)
        if root is None or self.leader(root) not in self.members or not self._known(root):
            return None
        return self.quant(root, dtype)

    def quant(self, value: Value, dtype: np.dtype) -> Quant:
        """The parameters of a tensor in ``dtype``; a fixed scale is that of the dtype in which it is computed."""
        group = self.group(value)
        known = [self.ranges[v] for v in group if v in self.ranges]
        for member in group:
            fixed = self._fixed_of(member)
            if fixed is not None and (self.width(member) == dtype or not known):
                fixed = FIXED_16 if dtype == I16 else fixed
                return Quant(np.array([fixed.scale], np.float32), np.array([fixed.zero_point], np.int64), dtype)
        return scales.of_range(min(r[0] for r in known), max(r[1] for r in known), dtype)
