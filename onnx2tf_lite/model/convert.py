"""Every operator of a ModelProto in another opset: node by node, whatever does not change stays to the byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, TypeProto

from ..errors import ConversionError, ToolError
from .downgrade import ANEW, LOWEST, RULED, downgrade
from .edit import GraphEdit, Tensor
from .infer import infer
from .light import skeleton
from .names import names_in
from .opsets import TARGET
from .schema import operators
from .surgeon import Importer, LazyTensor, array_proto, attribute, describe, to_proto
from .tensors import fetch, is_external
from .types import types
from .upgrade import due, upgrade
from .walk import Scope, add_constant, all_constants, constant_value, dead, is_function, opset_of, scopes, sweep, title


def convert(model: ModelProto, opset: int) -> Counter[str]:
    """Bring the nodes of the default domain to ``opset``, in place, and not its number; returns how many of each
    operator were rewritten.

    Raises ToolError with every node that cannot be expressed.
    """
    now = opset_of(model, Scope(model.graph))
    if opset < min(now, LOWEST):
        raise ToolError(f"-os: {opset} is below {LOWEST}, where broadcasting was something else")
    unread, problems = dead(model.graph), list[str]()
    changed = _expand(model, now, opset)
    if opset < min(now, 9):  # until then Constant had floats only
        for scope in scopes(model):
            _initialize(model, scope)
    for place in _places(model):
        for node in list(place.scope.graph.node):
            if not node.domain:
                op = node.op_type
                try:
                    changed[op] += place.convert(node, opset)
                except ConversionError as error:
                    what = "; ".join(p.what for p in error.problems)
                    problems.append(f"{op} '{place.scope.address(title(node))}': {what}")
    if problems:
        more = f" ... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ToolError(f"opset {now} cannot become {opset}: " + "; ".join(problems[:10]) + more)
    sweep(model.graph, keep=unread)
    return +changed


@dataclass
class Place:
    """A graph of a model, and what is known there: the constants it can read, the types of tensors, its opset."""

    model: ModelProto
    scope: Scope
    held: dict[str, TensorProto]
    known: dict[str, TypeProto]
    opset: int
    taken: set[str]

    def convert(self, node: NodeProto, wanted: int) -> bool:
        """Bring a node to another opset; True where something changed."""
        if self.opset in (0, wanted):
            return False
        mine, graph = self._lift(node)
        if self.opset < wanted and not due(mine, self.opset, wanted):
            return False
        before, attrs = _facts(mine), dict(mine.attrs)
        edit = GraphEdit(graph, self.taken)
        form = upgrade(edit, mine, self.opset, wanted) or self.opset
        done, waiting = set[int](), [(mine, form)]
        while waiting:
            for one, version in waiting:
                downgrade(edit, one, version, wanted)
                done.add(id(one))
            edit.commit()
            waiting = [(n, TARGET) for n in graph.nodes if id(n) not in done]
        if len(graph.nodes) == 1 and _facts(mine) == before:
            return False
        self._settle(node, mine, graph, attrs)
        return True

    def _lift(self, node: NodeProto) -> tuple[gs.Node, gs.Graph]:
        """The node as a graph of its own."""
        tensors: dict[str, Tensor] = {}
        for name in dict.fromkeys([*node.input, *node.output]):
            if name in self.held and name not in node.output:
                proto = self.held[name]
                read = (lambda proto=proto: fetch(proto)) if is_external(proto) else None
                tensors[name] = gs.Constant(name, LazyTensor(proto, read))
            elif name:
                tensors[name] = gs.Variable(name)
                if name in self.known:
                    describe(tensors[name], self.known[name])
        sides = [[tensors[n] if n else gs.Variable.empty() for n in names] for names in (node.input, node.output)]
        attrs = {a.name: a if a.HasField("g") or a.graphs else Importer().attribute(a, {}, {}) for a in node.attribute}
        mine = gs.Node(node.op_type, node.name, attrs, *sides)
        return mine, gs.Graph([mine], outputs=[t for t in sides[1] if t.name], opset=self.opset)

    def _settle(self, node: NodeProto, mine: gs.Node, graph: gs.Graph, attrs: dict[str, object]) -> None:
        """Put what a node became in its place: what did not change of it keeps its documentation."""
        old = {a.name: AttributeProto.FromString(a.SerializeToString()) for a in node.attribute}
        home = self.scope.graph
        place = next(i for i, n in enumerate(home.node) if n is node)
        for shift, one in enumerate(graph.nodes):
            target = node if one is mine else NodeProto(name=one.name)
            target.op_type = one.op
            target.input[:], target.output[:] = [t.name for t in one.inputs], [t.name for t in one.outputs]
            del target.attribute[:]
            for key, held in one.attrs.items():
                same = one is mine and key in attrs and attrs[key] is held
                target.attribute.append(old[key] if same else attribute(key, held, lambda g: to_proto(g).graph))
            if one is not mine:
                home.node.insert(place + shift, target)
        for tensor in {t.name: t for n in graph.nodes for t in n.inputs if isinstance(t, gs.Constant)}.values():
            if tensor.name not in self.held:
                proto = array_proto(tensor)
                self.held[tensor.name] = proto
                add_constant(self.model, home, proto)


def _facts(node: gs.Node) -> tuple[object, ...]:
    """Operator, attributes, inputs and outputs, each by identity."""
    attrs = {name: id(held) for name, held in node.attrs.items()}
    return node.op, attrs, [id(t) for t in node.inputs], [id(t) for t in node.outputs]


def _places(model: ModelProto) -> Iterator[Place]:
    held, taken = dict[int, dict[str, TensorProto]](), names_in(model)
    for scope, inferred in zip(scopes(model), scopes(infer(model)), strict=True):
        outer = held[id(scope.outer)] if scope.outer is not None else {}
        held[id(scope)] = outer | all_constants(scope.graph)
        yield Place(model, scope, held[id(scope)], types(inferred.graph), opset_of(model, scope), taken)


def _expand(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """Put ONNX's own definitions in place of operators that are newer than ``opset``, and of those in these."""
    from onnx.inliner import inline_selected_functions

    since, expanded = operators() | ANEW, Counter[str]()

    def newer(node: NodeProto) -> bool:
        ours = not node.domain and node.op_type not in RULED
        return ours and since.get(node.op_type, [0])[0] > opset

    while found := Counter(n.op_type for s in scopes(model) for n in s.graph.node if newer(n)):
        copy, declared = skeleton(model), {v.name for v in model.graph.value_info}
        for tensor in model.graph.initializer:  # a definition asks for the types of all operands
            if tensor.name not in declared:
                info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
                copy.graph.value_info.append(info)
        try:
            made = inline_selected_functions(copy, [("", op) for op in found], False, True)
        except RuntimeError as error:
            said = str(error).rpartition("failed: ")[2].splitlines()[0]
            raise ToolError(f"onnx cannot write {', '.join(found)} in simpler operators: {said}") from error
        left = sorted({n.op_type for s in scopes(made) for n in s.graph.node} & set(found))
        if left:
            what = f"opset {opset} has no {', '.join(left)}, and ONNX has no definition in older operators"
            raise ToolError(f"opset {now} cannot become {opset}: {what}")
        bodies = {s.path: s.graph for s in scopes(model)}
        for scope in scopes(made):  # weights of bodies, which the copy did not have
            if not is_function(scope.graph) and scope.path in bodies:
                del scope.graph.initializer[:]
                scope.graph.initializer.extend(bodies[scope.path].initializer)
        for mine, theirs in [(model.graph, made.graph), *zip(model.functions, made.functions, strict=True)]:
            del mine.node[:]
            mine.node.extend(theirs.node)
        expanded += found
    return expanded


def _initialize(model: ModelProto, scope: Scope) -> None:
    """Constant nodes as initializers, where the graph can have some."""
    if is_function(scope.graph):
        return
    for node in list(scope.graph.node):
        tensor = constant_value(node)
        if tensor is not None:
            own = TensorProto.FromString(tensor.SerializeToString())
            own.name = node.output[0]
            scope.graph.node.remove(node)
            add_constant(model, scope.graph, own)
