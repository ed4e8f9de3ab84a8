"""The layout stage: views vanish, every operation gets its order, the fewest bytes are moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import ConversionError, mistake
from ..ir.dims import Expr, Shape, is_static
from ..ir.graph import Graph, Op, Origin, Placement, Value, building, current_graph, current_origin
from ..ir.kinds import KINDS
from ..ir.orders import AS_WRITTEN, Layout, Order, every_port, inverse, natural, permute, tensor
from ..record import record
from .candidates import Candidate, Vertex, as_written, discover, from_producers, from_readers
from .edges import channels_last, stored_orders
from .problem import CL, Labelling, Pin
from .scattered import scattered
from .views import Atoms, Axes, Key, key_of, order_for, pieces

TRANSPOSE_COST = 4096  # bytes that a transpose costs beyond the data it moves
UNKNOWN_EXTENT = 64  # stands for a symbolic dim other than the first when bytes are weighed


@record
class Transposition:
    """A TRANSPOSE that remains: the value, its bytes, and the two operations that disagree."""

    value: str
    nbytes: int
    producer: str
    consumer: str


@dataclass
class LayoutReport:
    """``cost_bytes`` is what the solver promises, ``emitted_bytes`` what the TRANSPOSEs in the program move."""

    transposes: list[Transposition] = field(default_factory=list)
    cost_bytes: int = 0
    emitted_bytes: int = 0
    conflicts: int = 0


def assign(graph: Graph, pins: Mapping[str, str] | None = None, rule: str = "auto") -> LayoutReport:
    """Lay out ``graph`` in place, its bodies too; fills ``graph.placements``.

    :param pins: input or output name -> ``"onnx"`` or ``"channels_last"``.
    :param rule: for the other inputs and outputs: see :func:`edges.stored_orders`.
    :raises ConversionError: a fault of the stage itself.
    """
    report = LayoutReport()
    for body in graph.subgraphs():  # a body's boundary is ONNX order on both sides
        _Layout(body, {}, report).run()
    _Layout(graph, stored_orders(graph, rule, pins or {}), report).run()
    if report.emitted_bytes != report.cost_bytes:  # the postcondition of layout assignment, always on
        what = f"{report.emitted_bytes} bytes of transposes were emitted, the solver promised {report.cost_bytes}"
        raise ConversionError(mistake("layout", what))
    return report


def _output_names(graph: Graph) -> list[str]:
    return graph.output_names or [f"{graph.name}:{i}" for i in range(len(graph.outputs))]


def weight(value: Value, shape: Shape) -> int:
    """Bytes of a value; an unknown batch counts as 1."""
    count = value.dtype.itemsize
    for axis, d in enumerate(shape):
        count *= (UNKNOWN_EXTENT if axis else 1) if isinstance(d, Expr) else int(d)
    return count


@record
class _Choice:
    """A labelling of all nodes, with the problem that it answers."""

    cost: int
    labels: list[int]
    problem: Labelling
    conflicts: int


class _Layout:
    def __init__(self, graph: Graph, ends: Mapping[str, Order], report: LayoutReport):
        self.graph, self.ends, self.report = graph, ends, report
        self.atoms = Atoms()
        self.views: dict[Value, tuple[Value, Axes]] = {}
        self.shapes: dict[Value, Shape] = {}  # of bases, as the handlers wrote them
        self.nodes: list[Vertex] = []
        self.made: dict[Value, str] = {}  # base -> who produced it
        self.stored: dict[Value, dict[Key, tuple[Value, Axes]]] = {}  # base -> orders that exist, the produced first
        self.reshaped: dict[tuple[Value, tuple[object, ...]], Value] = {}
        self.permuted: dict[tuple[int, Order], Value] = {}

    def run(self) -> None:
        self._read_views()
        self._build_nodes()
        discover(self.nodes)
        self._rewrite(self._solve())

    # ---------------------------------------------------------------- reading

    def _base(self, value: Value) -> None:
        self.views[value] = value, self.atoms.axes(value.shape)
        self.shapes[value] = value.shape

    def _read_views(self) -> None:
        """A view for every value; what cannot be a view of something is a base."""
        self.computing: list[Op] = []
        for value in self.graph.inputs:
            self._base(value)
        for op in self.graph.ops:
            view = self._view(op)
            if view is not None:
                self.views[op.outputs[0]] = view
                continue
            self.computing.append(op)
            for value in op.outputs:
                self._base(value)

    def _view(self, op: Op) -> tuple[Value, Axes] | None:
        if not op.kind.is_view or op.inputs[0] not in self.views:
            return None
        base, axes = self.views[op.inputs[0]]
        if op.kind.permutes:
            return base, permute(axes, op.attrs["perm"])
        reshaped = self.atoms.reshape(axes, op.outputs[0].shape)
        return None if reshaped is None else (base, reshaped)

    def _build_nodes(self) -> None:
        def view(value: Value) -> tuple[Value, Axes]:
            base, axes = self.views[value]
            return base, self.atoms.refined(axes)

        def boundary(name: str, port: int, value: Value) -> Vertex:
            order = self.ends.get(name, natural(value.rank))
            layout, candidate = Layout(channels_last=order != natural(value.rank)), Candidate({port: order})
            return Vertex(None, layout, {port: view(value)}, [candidate, candidate])

        for value in self.graph.inputs:
            self.nodes.append(boundary(value.name, ~0, value))
            self.made[value] = f"input '{value.name}'"
        for op in self.computing:
            layout = AS_WRITTEN if op.kind.is_view else op.kind.layout
            ports = {p: view(v) for p in every_port(op) if (v := tensor(op, p)) in self.views and v}
            self.nodes.append(Vertex(op, layout, ports))
            for value in op.outputs:
                self.made[value] = _label(op)
        for name, value in zip(_output_names(self.graph), self.graph.outputs, strict=True):
            if value in self.views:  # a body may return a constant
                self.nodes.append(boundary(name, 0, value))

    # ---------------------------------------------------------------- solving

    def _solve(self) -> list[Candidate]:
        """The chosen candidates: a minimum cut between the two candidates, then expansion moves until none helps.

        Each repetition is an expansion move: every operation may keep its candidate or take the one of the program as
        written (so that the stage never makes a program worse), of its producers, or of its readers.
        """
        best = self._cut()
        moves = [as_written, from_producers, from_readers]
        failed = 0
        while failed < len(moves) and best.cost >= TRANSPOSE_COST:  # below it nothing moves
            before = [node.candidates for node in self.nodes]
            for node, label in zip(self.nodes, best.labels, strict=True):
                node.candidates = [node.candidates[label]] * 2
            moves[failed](self.nodes)
            expanded = self._cut()
            if expanded.cost < best.cost:
                best, failed = expanded, 0
                continue
            failed += 1
            for node, candidates in zip(self.nodes, before, strict=True):
                node.candidates = candidates
        self.report.conflicts += best.conflicts
        for weighed, pins in best.problem.values[: len(self.shapes)]:  # those of TRANSPOSEs
            orders = {pin.keys[best.labels[pin.node]] for pin in pins}
            self.report.cost_bytes += (weighed - TRANSPOSE_COST) * (max(len(orders), 1) - 1)
        chosen = [node.candidates[label] for node, label in zip(self.nodes, best.labels, strict=True)]
        return [v for v in chosen if v is not None]

    def _cut(self) -> _Choice:
        problem = self._problem()
        labels, _, conflicts = problem.solve()
        cost, labels = min((problem.cost(choice), choice) for choice in (labels, [CL] * len(labels)))
        return _Choice(cost, labels, problem, conflicts)

    def _problem(self) -> Labelling:
        values: dict[Value, list[Pin]] = {base: [] for base in self.shapes}
        for index, node in enumerate(self.nodes):
            for port, (base, _) in node.ports.items():
                values[base].append(Pin(index, (node.key(0, port), node.key(1, port))))
        weighed = [(weight(v, self.shapes[v]) + TRANSPOSE_COST, pins) for v, pins in values.items()]
        weighed += scattered(self.nodes, lambda v: weight(v, self.shapes.get(v, v.shape)))
        return Labelling(len(self.nodes), weighed)

    # ---------------------------------------------------------------- rewriting

    def _rewrite(self, chosen: list[Candidate]) -> None:
        tensors = self.graph.tensors
        logical = {name: value.shape for name, value in tensors.items()}
        self.graph.ops = []
        outputs = iter(range(len(self.graph.outputs)))
        placed: dict[str, tuple[Value, Axes]] = {}
        with building(self.graph):
            for node, candidate in zip(self.nodes, chosen, strict=True):
                if node.op is not None:
                    self._rewrite_op(node, node.op, candidate)
                elif ~0 in node.ports:
                    self._produce(node, candidate, ~0)
                else:
                    index = next(i for i in outputs if self.graph.outputs[i] in self.views)
                    name, written = _output_names(self.graph)[index], self.graph.outputs[index]
                    value = self._output(self._fetch(node, candidate, 0, name), index)
                    self.graph.outputs[index] = value
                    if tensors.get(name) is written:  # not so where an input is handed through
                        placed[name] = value, node.axes(candidate, 0)
        for name, value in tensors.items():
            if value in self.views:  # else nothing reads it, and it is gone
                base, axes = self.views[value]
                stored = next(iter(self.stored[base].values()))
                self._place(name, logical[name], self.atoms.refined(axes), *placed.get(name, stored))
        for name, op_output in zip(self.graph.output_names, self.graph.outputs, strict=False):
            if name not in self.graph.placements and op_output.is_constant is False:
                shape, rank = op_output.shape, op_output.rank
                self.graph.placements[name] = Placement(op_output, shape, tuple(range(rank)), shape)
        self.graph.tensors = {}

    def _place(self, name: str, shape: Shape, axes: Axes, value: Value, physical: Axes) -> None:
        """Record how the ONNX tensor is read back: by whole axes where possible, else by atoms."""
        for hint in (self.ends.get(name, natural(len(axes))), channels_last(len(axes))):  # unit axes can be anywhere
            order = order_for(axes, key_of(physical), hint)
            if order is not None and value.shape == permute(shape, order):
                self.graph.placements[name] = Placement(value, value.shape, inverse(order), shape)
                return
        have = list(key_of(physical))
        perm = tuple(have.index(a) for a in key_of(axes))
        split = self.atoms.shape(tuple((a,) for a in have))
        self.graph.placements[name] = Placement(value, split, perm, shape)

    def _rewrite_op(self, node: Vertex, op: Op, candidate: Candidate) -> None:
        inputs = list(op.inputs)
        for port, value in enumerate(op.inputs):
            if value is None:
                continue
            if port in node.ports:
                inputs[port] = self._fetch(node, candidate, port, _label(op), op.origin)
            else:
                inputs[port] = self._permute_constant(value, candidate.orders.get(port, natural(value.rank)))
        attrs = node.layout.attrs(op, candidate.orders)
        if op.kind.is_view:
            attrs = dict(op.attrs)
        op.inputs, op.attrs = inputs, attrs
        self._permute_weights(node, op, candidate)
        for port in node.ports:
            if port < 0:
                self._produce(node, candidate, port)
        self.graph.ops.append(op)

    def _produce(self, node: Vertex, candidate: Candidate, port: int) -> None:
        base, _ = node.ports[port]
        axes = node.axes(candidate, port)
        base.shape = self.atoms.shape(axes)
        if base.rank > 1 and candidate.orders[port] != natural(base.rank):
            base.content = None
        if base.quant is not None and base.quant.axis is not None:
            base.quant = base.quant.along(candidate.orders[port].index(base.quant.axis))
        self.stored[base] = {key_of(axes): (base, axes)}

    def _fetch(
        self, node: Vertex, candidate: Candidate, port: int, consumer: str, origin: Origin | None = None
    ) -> Value:
        """The value at a port in the order and shape that the candidate wants."""
        base, _ = node.ports[port]
        axes = node.axes(candidate, port)
        key = key_of(axes)
        orders = self.stored[base]
        with building(current_graph(), origin):
            if key not in orders:
                orders[key] = self._move(base, axes, consumer)
            value, _ = orders[key]
            shape = self.atoms.shape(axes)
            if value.shape == shape:
                return value
            if (value, shape) not in self.reshaped:
                self.reshaped[value, shape] = self._emit("RESHAPE", value, shape=shape)
            return self.reshaped[value, shape]

    def _move(self, base: Value, want: Axes, consumer: str) -> tuple[Value, Axes]:
        """The one transpose of ``base`` into the order of ``want``, with as few RESHAPEs around it as can be."""
        value, have = next(iter(self.stored[base].values()))
        seen, order = pieces(have, want)
        if seen != have:
            value = self._emit("RESHAPE", value, shape=self.atoms.shape(seen))
        axes = permute(seen, order)
        moved = self._emit("TRANSPOSE", value, perm=order)
        nbytes = weight(base, self.shapes[base])
        self.report.transposes.append(Transposition(base.name, nbytes, self.made[base], consumer))
        self.report.emitted_bytes += nbytes
        return moved, axes

    def _emit(self, kind: str, value: Value, **attrs: object) -> Value:
        """A view that has become an operation; nothing is folded, a constant base stays where it is."""
        definition = KINDS[kind]
        ((shape, dtype),) = definition.results([value], attrs)
        quant = value.quant if value.quant is not None and value.quant.axis is None else None
        op = Op(definition, [value], [], attrs, current_origin())
        result = Value(self.graph.fresh_name(value.name.split("#")[0]), shape, dtype, producer=op, quant=quant)
        op.outputs.append(result)
        self.graph.ops.append(op)
        return result

    def _output(self, value: Value, index: int) -> Value:
        """A value that can be output ``index``: an input or another output needs an operation of its own."""
        taken = set(self.graph.inputs) | set(self.graph.outputs[:index])
        if value in taken and self.graph.output_names:
            value = self._emit("IDENTITY", value, shape=value.shape)
        if self.graph.output_names:
            name = self.graph.output_names[index]
            base = self.views[self.graph.outputs[index]][0]
            if any(v.name == name for v in self.graph.inputs):
                return value  # an input that is handed through has the name
            if base is not value and base.name == name:  # the same numbers in another shape or order
                base.name = self.graph.fresh_name(name)
            value.name = name
        return value

    # ---------------------------------------------------------------- constants

    def _permute_constant(self, value: Value, order: Order) -> Value:
        if value.data is None or order == natural(value.rank):
            return value
        cache = id(value), order
        if cache not in self.permuted:
            data = np.transpose(value.data, order)
            quant = value.quant and value.quant.along(
                None if value.quant.axis is None else order.index(value.quant.axis)
            )
            self.permuted[cache] = Value(value.name, data.shape, value.dtype, data=data, quant=quant)
        return self.permuted[cache]

    def _permute_weights(self, node: Vertex, op: Op, candidate: Candidate) -> None:
        """Columns (or rows and bias) of constant weights in the order in which the contents arrive (or leave)."""
        for port, key in candidate.inner.items():
            written = node.ports[port][1][-1]
            if key == written:
                continue
            sizes = [self.atoms.sizes[a] for a in written]
            if not is_static(sizes):
                raise AssertionError(f"{op}: constant weights against a symbolic extent")
            grid = np.arange(int(np.prod(sizes))).reshape(sizes)  # type: ignore[arg-type]
            index = grid.transpose([written.index(a) for a in key]).ravel()
            for i in (1,) if port == 0 else (1, 2):
                value = op.inputs[i]
                if value is not None and value.data is not None:
                    axis = 1 if port == 0 else 0
                    data, quant = np.take(value.data, index, axis=axis), value.quant
                    if quant is not None and quant.axis == axis:
                        quant = replace(quant, scale=quant.scale[index], zero_point=quant.zero_point[index])
                    op.inputs[i] = Value(value.name, data.shape, value.dtype, data=data, quant=quant)


def _label(op: Op) -> str:
    return str(op.origin) if op.origin else op.kind.name
