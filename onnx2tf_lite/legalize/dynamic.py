"""Shapes that only run time knows: symbolic attributes become i32 tensors that the program computes.

Runs last, on physical shapes.  An extent is read where it is cheapest: from the shape of a value that has it as an
axis (preferably an operand of the very operation), else where ``graph.definitions`` says, else by arithmetic on its
symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ConversionError, mistake
from ..ir import build, dims, rewrite
from ..ir.dims import Atom, Dim, DimFunction, Expr
from ..ir.graph import Graph, Op, Value, constant
from ..ir.kinds.movement import end_mask

CANDIDATES = 4  # values remembered per extent; operands of the operation are always considered
CALLS = {"//": build.floor_div, "%": build.floor_mod, "min": build.minimum, "max": build.maximum}


def materialise(graph: Graph, infers: bool = False) -> Graph:
    """Replace every symbolic attribute of ``graph`` and its bodies, in place; DIMS operations disappear.

    ``infers``: RESHAPE finds an extent that has to be computed by itself, beside others that may be 0, too: TFLite's
    does, TensorFlow's does not.
    """
    for part in rewrite.graphs(graph):
        _materialise(part, infers)
    return graph


def _materialise(graph: Graph, infers: bool) -> None:
    stage = _Extents(graph)
    replaced: dict[Value, Value] = {}
    for op in rewrite.walk(graph):
        op.replace_uses(replaced)
        if op.kind.operator is None:
            _replace_dims(graph, stage, op, replaced)
            continue
        if "end" in op.attrs:
            op.attrs["end_mask"] = end_mask(op.attrs)  # to be read off the bounds while they are dims
        if infers and op.kind.is_view and not op.kind.permutes:
            op.attrs["shape"] = _inferred(op, op.attrs["shape"])
        for name in _symbolic_operands(op):
            op.attrs[name] = _attribute(stage, op, name)
        graph.ops.append(op)
        for value in op.outputs:
            stage.offer(value)
    graph.definitions = {}
    graph.tensors = {n: replaced.get(v, v) for n, v in graph.tensors.items()}
    for name, place in graph.placements.items():
        if place.value in replaced:
            graph.placements[name] = replace(place, value=replaced[place.value])
    graph.sweep()


def _replace_dims(graph: Graph, stage: _Extents, op: Op, replaced: dict[Value, Value]) -> None:
    (result,) = op.outputs
    vector = stage.vector(op.attrs["dims"], ())
    if result in graph.outputs or result in stage.defining:
        rewrite.define("IDENTITY", vector, result, shape=result.shape)
    else:
        replaced[result] = vector


def _symbolic_operands(op: Op) -> list[str]:
    """Attributes that TFLite takes as a tensor and that hold symbolic extents."""
    return [
        name
        for name in op.kind.operands or ()
        if isinstance(name, str) and not isinstance(op.attrs[name], Value) and not dims.is_static(_flat(op.attrs[name]))
    ]


def _inferred(op: Op, shape: Any) -> Any:
    """-1 for an extent that is none of the operand's."""
    (x,) = op.inputs
    if isinstance(shape, Value) or 0 in shape or sum(isinstance(d, Expr) for d in shape) < 2:
        return shape
    new = next((i for i, d in enumerate(shape) if isinstance(d, Expr) and d not in x.shape), None)  # type: ignore[union-attr]
    return tuple(-1 if i == new else d for i, d in enumerate(shape))


def _flat(attribute: Any) -> list[Dim]:
    if not isinstance(attribute, tuple):
        return [attribute]
    return [d for entry in attribute for d in _flat(entry)]


def _attribute(stage: _Extents, op: Op, name: str) -> Any:
    """The attribute with constants that mean the same, or as a run-time tensor."""
    attribute = op.attrs[name]
    shortcut = op.kind.run_time.get(name)
    attribute = shortcut(op, attribute) if shortcut else attribute
    flat = _flat(attribute)
    if dims.is_static(flat):
        return attribute
    vector = stage.vector(flat, op.inputs)
    if not isinstance(attribute, tuple):
        return build.reshape(vector, ())
    return build.reshape(vector, np.shape(np.array(attribute, object)))


class _Extents:
    """Where the extents of one graph can be read, and the i32 tensors that already hold them."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.definitions = graph.definitions
        self.defining = {value for value, _ in graph.definitions.values()}
        self.sources: dict[Dim, list[tuple[Value, int]]] = {}
        self.shapes: dict[Value, Value] = {}
        self.read: dict[Dim, list[tuple[Value, int]]] = {}  # those of ``shapes``
        self.vectors: dict[tuple[Dim, ...], Value] = {}
        self.cells: dict[Dim, Value] = {}
        for value in graph.inputs:
            self.offer(value)

    def offer(self, value: Value) -> None:
        """``value`` is computed from here on."""
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, Expr):
                known = self.sources.setdefault(dim, [])
                if len(known) < CANDIDATES:
                    known.append((value, axis))

    def vector(self, shape: Sequence[Dim], operands: Sequence[Value | None]) -> Value:
        """An i32 vector with these elements: slices of shapes and constants, joined."""
        key = tuple(shape)
        if key not in self.vectors:
            self.vectors[key] = self._multiple(key, operands) or self._joined(key, operands)
        return self.vectors[key]

    def _multiple(self, shape: tuple[Dim, ...], operands: Sequence[Value | None]) -> Value | None:
        """Extents with a common factor, none of which can be read: as one product."""
        factor = dims.common_factor(shape)
        known = any(d in self.cells or self._candidates(d, operands) for d in shape)
        if len(shape) == 1 or factor == 1 or known:
            return None
        return build.mul(self.vector([d // factor for d in shape], operands), constant(np.array([factor], np.int32)))

    def _joined(self, shape: Sequence[Dim], operands: Sequence[Value | None]) -> Value:
        parts, start = [], 0
        while start < len(shape):
            fixed, source, axis, count = self._run(shape, start, operands)
            if fixed:
                parts.append(constant(np.array(shape[start : start + fixed], np.int32)))
            if source is not None:
                parts.append(self._read(source, axis, count))
            elif count:
                parts.append(self.cell(shape[start + fixed]))
            start += fixed + count
        return build.concat(parts, 0)

    def _run(
        self, shape: Sequence[Dim], start: int, operands: Sequence[Value | None]
    ) -> tuple[int, Value | None, int, int]:
        """Constants until the next run of neighbouring axes of one value: their number, the value, its axis, length.

        Numbers at the ends of a run are constants, unless the run is the whole shape: so TensorFlow knows them too.
        """
        first = next((i for i in range(start, len(shape)) if isinstance(shape[i], Expr)), len(shape))
        if first == len(shape):
            return first - start, None, 0, 0
        best: tuple[int, Value | None, int, int] = (first - start, None, 0, 1)
        for value, axis in self._candidates(shape[first], operands):
            low = 0
            while first - low > start and axis > low and value.shape[axis - low - 1] == shape[first - low - 1]:
                low += 1
            pairs = zip(shape[first:], value.shape[axis:], strict=False)
            high = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(shape) - first, value.rank - axis))
            if low + high < len(shape):
                low = max((i for i in range(low + 1) if isinstance(shape[first - i], Expr)), default=0)
                high = max(i for i in range(1, high + 1) if isinstance(shape[first + i - 1], Expr))
            if best[1] is None or low + high > best[3]:
                best = (first - low - start, value, axis - low, low + high)
        return best if best[3] > 1 or shape[first] not in self.cells else (first - start, None, 0, 1)

    def _candidates(self, dim: Dim, operands: Sequence[Value | None]) -> list[tuple[Value, int]]:
        own = [(v, i) for v in operands if v is not None and v.data is None for i, d in enumerate(v.shape) if d == dim]
        read, known = self.read.get(dim, []), self.sources.get(dim, [])
        return [*(c for c in own if c[0] in self.shapes), *read, *own, *known]

    def _read(self, value: Value, axis: int, count: int) -> Value:
        if value not in self.shapes:
            self.shapes[value] = build.emit("SHAPE", value)
            for place, dim in enumerate(value.shape):
                if isinstance(dim, Expr):
                    self.read.setdefault(dim, []).append((value, place))
        part = build.slice_(self.shapes[value], (axis,), (count,))
        if count == 1:
            self.cells.setdefault(value.shape[axis], part)
        return part

    def cell(self, dim: Dim) -> Value:
        """``dim`` as an i32 vector of one element."""
        if not isinstance(dim, Expr):
            return constant(np.array([dim], np.int32))
        if dim not in self.cells:
            candidates = self._candidates(dim, ())
            if candidates:
                return self._read(*candidates[0], 1)
            self.cells[dim] = self._computed(dim)
        return self.cells[dim]

    def _computed(self, dim: Expr) -> Value:
        total: Value | None = None
        for monomial, factor in dim.terms:
            part: Value | None = None
            for atom in monomial:
                cell = self._atom(atom, dim)
                part = cell if part is None else build.mul(part, cell)
            if part is None:
                part = constant(np.array([factor], np.int32))
            elif factor != 1:
                part = build.mul(part, constant(np.array([factor], np.int32)))
            total = part if total is None else build.add(total, part)
        assert total is not None
        return total

    def _atom(self, atom: Atom, dim: Expr) -> Value:
        whole = Expr((((atom,), 1),))
        if whole != dim:
            return self.cell(whole)
        if isinstance(atom, DimFunction):
            return CALLS[atom.op](*map(self.cell, atom.args))
        if atom not in self.definitions:
            raise ConversionError(
                mistake(
                    f"graph '{self.graph.name}'",
                    f"the extent {atom} is needed at run time, but no value of this graph has it as an axis",
                )
            )
        value, index = self.definitions[atom]
        flat = build.reshape(build.cast(value, np.int32), (value.size,))
        return build.slice_(flat, (index,), (1,))
