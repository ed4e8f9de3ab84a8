"""Layers of the original model as one model of independent parts: the reference's side of ``alone``.

A part is the nodes between the tensors at which a layer of the file begins and the tensor at which it ends.  Parts read
their operands as inputs of the model, share its weights, and know nothing of each other.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from ...model.read import view_model
from ...model.tensors import inline, is_external, refer, reference, set_base
from ...model.walk import tensors
from ...record import record
from ..feeds.operands import TAKES_ANY
from .tidy import tidy

SHAPE_ONLY = {"Shape", "Size"}
#: Operators that look rows of a table up: operand with the places.
LOOKUPS = {"Gather": 1}
T = onnx.TensorProto
NARROW = {T.UINT8, T.INT8, T.UINT16, T.INT16, T.UINT32, T.UINT64}
MOVES = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
#: Zeros beside a tensor count in a maximum over it where it has negative numbers: a file may know that it has none.
SIGNED = {"Pad", "MaxPool"}
DISCRETE = {"NonMaxSuppression"}  # a rounding of made boxes decides what is kept, and all that follows


@record
class ModelPart:
    """A layer in the original model.

    ``nodes`` by their places in the graph; ``reads`` the tensors at which it begins, ``measured`` those of which only
    the shape counts; ``free``: it takes any floats; ``tables``: operand -> rows of the table that it points into;
    ``operators`` that it consists of, those of bodies included; ``weights``: initializers that it reads;
    ``turns``: operands that say how often a loop turns; ``least``: extent to which images are made smaller for it (see
    ``crop``), 0 for none.
    """

    target: str
    nodes: tuple[int, ...]
    reads: tuple[str, ...]
    measured: tuple[str, ...]
    free: bool
    tables: Mapping[str, int]
    operators: frozenset[str]
    weights: tuple[str, ...]
    turns: frozenset[str] = frozenset()
    least: int = 0

    def operand(self, name: str) -> str:
        """The input of the model of parts for a tensor at which this one begins."""
        kind = "any" if self.free else "turns" if name in self.turns else "like"
        return f"{kind}{self.least or ''}/{name}"


class Parts:
    """The parts of one model."""

    def __init__(self, source: Path | onnx.ModelProto, folder: Path | None = None):
        """``folder`` of what a ``source`` that is no file refers to."""
        self.folder = source.resolve().parent if isinstance(source, Path) else folder
        self.model = viewed(source) if isinstance(source, Path) else source
        graph = self.model.graph
        self.weights = {t.name: t for t in graph.initializer}
        self.sparse = {t.values.name: t for t in graph.sparse_initializer}
        self.nodes = list(graph.node)
        for node in self.nodes:
            if node.op_type == "Constant" and (value := _value(node)) is not None:
                self.weights[node.output[0]] = value
        self.producers = {t: i for i, n in enumerate(self.nodes) for t in n.output if t}
        self.inputs = {i.name for i in graph.input} - set(self.weights)

    def part(self, target: str, stops: Collection[str], known: Collection[str]) -> ModelPart | None:
        """The nodes between ``stops`` and ``target``; None where they begin at other tensors than these.

        ``known`` tensors have a shape that is known: where nothing but that is read, a part begins there too.
        """
        nodes, reads, measured, weights = set[int](), dict[str, None](), dict[str, None](), dict[str, None]()
        queue, seen = [target], {target}
        while queue:
            tensor = queue.pop()
            if tensor != target and tensor in stops:
                reads[tensor] = None
                continue
            if tensor in self.weights or tensor in self.sparse:
                weights[tensor] = None
                continue
            if tensor not in self.producers:
                return None  # an input of the model that the file's layer does not read
            index = self.producers[tensor]
            node = self.nodes[index]
            nodes.add(index)
            found = list(needs(node))
            if node.op_type in SHAPE_ONLY and node.input[0] in known and node.input[0] not in stops:
                measured[node.input[0]] = None
                continue
            fresh = [t for t in found if t not in seen]
            seen.update(fresh)
            queue += fresh
        order = tuple(sorted(nodes))
        operators = frozenset(op for i in order for op in _operators(self.nodes[i]))
        if operators & DISCRETE:
            return None
        varying = [self.nodes[i] for i in self._varying(order, reads)]
        takes = {op for n in varying for op in _operators(n)}
        free = takes <= TAKES_ANY and not takes >= SIGNED and not any(n.domain or _counts(n) for n in varying)
        beginnings = tuple(reads), self._measured(measured, reads, order)
        tables, turns = self._tables(order, reads), self._turns(order, reads)
        return ModelPart(target, order, *beginnings, free, tables, operators, tuple(weights), turns)

    def _varying(self, order: Sequence[int], reads: Collection[str]) -> list[int]:
        """The nodes whose results depend on what a part reads: others make constants, such as weights of integers."""
        found, varies = list[int](), set(reads)
        for index in order:
            if not varies.isdisjoint(needs(self.nodes[index])):
                varies.update(self.nodes[index].output)
                found.append(index)
        return found

    def _measured(self, names: Iterable[str], reads: Collection[str], order: Sequence[int]) -> tuple[str, ...]:
        """Of the tensors whose shape is read those that the part neither reads nor makes, and so has."""
        made = {t for i in order for t in self.nodes[i].output}
        return tuple(n for n in names if n not in reads and n not in made)

    def _tables(self, order: Sequence[int], reads: Collection[str]) -> dict[str, int]:
        """For what is read and points into a constant table, also through operators that only move it."""
        origin = {name: name for name in reads}
        tables: dict[str, int] = {}
        for index in order:
            node = self.nodes[index]
            if node.op_type in MOVES and node.input[0] in origin:
                origin[node.output[0]] = origin[node.input[0]]
            place = LOOKUPS.get(node.op_type)
            if place is None or node.input[place] not in origin or node.input[0] not in self.weights:
                continue
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            dims = self.weights[node.input[0]].dims
            if -len(dims) <= axis < len(dims):
                name = origin[node.input[place]]
                tables[name] = min(dims[axis], tables.get(name, dims[axis]))
        return tables

    def _turns(self, order: Sequence[int], reads: Collection[str]) -> frozenset[str]:
        """What is read and says how often a Loop turns, also through operators that only move it."""
        origin = {name: name for name in reads}
        found = set[str]()
        for node in (self.nodes[i] for i in order):
            if node.op_type in MOVES and node.input[0] in origin:
                origin[node.output[0]] = origin[node.input[0]]
            if node.op_type == "Loop" and node.input[0] in origin:
                found.add(origin[node.input[0]])
        return frozenset(found)

    def results(self, part: ModelPart) -> Iterator[str]:
        """Of all its nodes."""
        return (n for i in part.nodes for n in self.nodes[i].output if n)

    def bytes_of(self, part: ModelPart) -> int:
        """Of its weights."""
        sizes = (self.weights[n] for n in part.weights if n in self.weights)
        return sum(4 * int(np.prod(t.dims, dtype=np.int64)) for t in sizes)

    def assemble(
        self, parts: Sequence[ModelPart], kinds: Mapping[str, tuple[np.dtype, tuple[int, ...]]]
    ) -> onnx.ModelProto:
        """The model of the parts; weights that lie in files stay there.

        Its inputs are called as :meth:`ModelPart.operand` says, its outputs as :func:`result`; ``kinds`` are dtypes and
        shapes of the inputs.
        """
        model = onnx.ModelProto(ir_version=max(self.model.ir_version, 4))  # from there on weights are no inputs
        model.opset_import.extend(self.model.opset_import)
        model.functions.extend(self.model.functions)
        graph = model.graph
        graph.name = "parts"
        weights = dict.fromkeys(n for p in parts for n in p.weights)
        for name in weights:
            if name in self.sparse:
                graph.sparse_initializer.append(self.sparse[name])
                continue
            self.refer(name, graph)
        for name, (dtype, shape) in kinds.items():
            elem = onnx.helper.np_dtype_to_tensor_dtype(dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, elem, shape))
        for number, part in enumerate(parts):
            names = {n: part.operand(n) for n in (*part.reads, *part.measured)}
            for index in part.nodes:
                for name in self.nodes[index].output:
                    if name and name not in names:
                        names[name] = result(number, name)
            for index in part.nodes:
                outputs = self.nodes[index].output
                node = graph.node.add()
                node.CopyFrom(self.nodes[index])
                rename(node, names)
                for i, name in enumerate(outputs):  # a result at which the part begins is made once more, unread
                    node.output[i] = name and result(number, name)
            graph.output.append(onnx.ValueInfoProto(name=result(number, part.target)))
        tidy(model)
        return model

    def refer(self, name: str, graph: onnx.GraphProto) -> None:
        """An initializer of another graph."""
        tensor = graph.initializer.add()
        tensor.CopyFrom(self.weights[name])
        tensor.name = name


def viewed(path: Path) -> onnx.ModelProto:
    """The model, whose large weights stay in their files, for a session that is told the folder of ``path``."""
    model = view_model(path)
    for tensor in filter(is_external, tensors(model)):
        said = reference(tensor)
        refer(tensor, os.path.relpath(os.path.join(said["basepath"], said["location"]), path.resolve().parent), said)
    return model


def inline_all(model: onnx.ModelProto, folder: Path | None) -> None:
    """Bring all that lies in files of a ``folder`` into the model."""
    for tensor in filter(is_external, tensors(model)):
        if folder is not None:
            set_base(tensor, str(folder))
        inline(tensor)


def _counts(node: onnx.NodeProto) -> bool:
    """True where floats become integers of a small range, outside of which that is not defined."""
    return node.op_type == "Cast" and any(a.name == "to" and a.i in NARROW for a in node.attribute)


def _value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    return next((a.t for a in node.attribute if a.name == "value"), None)


def result(number: int, name: str) -> str:
    """A tensor of a part."""
    return f"{number}/{name}"


def needs(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its bodies from outside included."""
    yield from (n for n in node.input if n)
    for body in _bodies(node):
        own = {t.name for t in (*body.input, *body.initializer)} | {t for n in body.node for t in n.output}
        for inner in body.node:
            yield from (n for n in needs(inner) if n not in own)
        yield from (t.name for t in body.output if t.name not in own)


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """The operands of a node under other names, those that its bodies read from outside included."""
    for i, name in enumerate(node.input):
        node.input[i] = names.get(name, name)
    for body in _bodies(node):
        own = {t.name for t in (*body.input, *body.initializer)} | {t for n in body.node for t in n.output}
        outside = {k: v for k, v in names.items() if k not in own}
        for inner in body.node:
            rename(inner, outside)
        for output in body.output:
            if output.name in outside:  # an output that is a tensor from outside goes through a node
                body.node.add(op_type="Identity", input=[outside[output.name]], output=[output.name])


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _operators(node: onnx.NodeProto) -> Iterator[str]:
    """A node's operator, and those in its bodies."""
    yield node.op_type
    for body in _bodies(node):
        for inner in body.node:
            yield from _operators(inner)
