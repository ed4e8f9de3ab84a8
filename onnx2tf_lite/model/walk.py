"""Walking and editing a ModelProto: main graph, bodies of If, Loop and Scan, model-local functions.

Everything works on the protobuf messages themselves, so whatever an edit does not touch stays as it was.  Names obey
ONNX's scoping: a body sees the tensors of the graphs around it, and uses of a tensor are followed into bodies.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeVar, Union

from ..errors import ToolError
from .lazy import onnx
from .tensors import nbytes

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
    from typing_extensions import TypeIs

#: Bodies in bodies, which everybody follows by recursion; protobuf ends at a hundred messages, three for each body.
DEPTH = 24
GraphLike = Union["GraphProto", "FunctionProto"]
_Item = TypeVar("_Item")


@dataclass(eq=False)
class Scope:
    """A graph, a body or a function.  ``path`` addresses it: "" is the main graph, ``if0/then_branch`` a body,
    ``domain::name`` a function; ``outer`` is the graph around a body and ``owner`` the node whose body it is."""

    graph: GraphLike
    path: str = ""
    outer: Scope | None = None
    owner: NodeProto | None = None

    @property
    def in_function(self) -> bool:
        """Does it belong to a model-local function?"""
        return is_function(self.graph) or (self.outer is not None and self.outer.in_function)

    def address(self, name: str) -> str:
        """A name of this scope as users say it: ``if0/then_branch:name``."""
        return f"{self.path}:{name}" if self.path else name


def scopes(model: ModelProto) -> list[Scope]:
    """The main graph, then its bodies, outermost first, then each function and its bodies."""
    found = list(_below(Scope(model.graph)))
    for function in model.functions:
        found += _below(Scope(function, f"{function.domain}::{function.name}"))
    return found


def _below(scope: Scope) -> Iterator[Scope]:
    yield scope
    for index, node in enumerate(scope.graph.node):
        for key, body in bodies(node):
            path = f"{scope.path}/{title(node, index)}/{key}".lstrip("/")
            yield from _below(Scope(body, path, scope, node))


def one_domain(model: ModelProto) -> None:
    """Let ONNX's own domain, which may be called ai.onnx, be called nothing everywhere: in imports and nodes."""
    nodes = (node for scope in scopes(model) for node in scope.graph.node)
    for entry in chain(model.opset_import, nodes, *(f.opset_import for f in model.functions)):
        if entry.domain == "ai.onnx":
            entry.domain = ""


def opset_of(model: ModelProto, scope: Scope, domain: str = "") -> int:
    """The version of a domain that the nodes of a scope are of: a function has imports of its own; 0 for none."""
    while scope.outer is not None:
        scope = scope.outer
    home = scope.graph if is_function(scope.graph) else model
    return max((e.version for e in home.opset_import if e.domain == domain), default=0)


def title(node: NodeProto, index: int | None = None) -> str:
    """What a node is called: its name, else its operator and where it is."""
    place = f"#{index}" if index is not None else f"({', '.join(n for n in node.output if n)})"
    return node.name or f"{node.op_type}{place}"


def bodies(node: NodeProto) -> list[tuple[str, GraphProto]]:
    """(attribute, graph) of every body of a node."""
    found: list[tuple[str, GraphProto]] = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append((attribute.name, attribute.g))
        if attribute.graphs:
            found += [(f"{attribute.name}[{i}]", g) for i, g in enumerate(attribute.graphs)]
    return found


def is_function(graph: GraphLike) -> TypeIs[FunctionProto]:
    """Is it a FunctionProto (names only, no initializers)?"""
    return isinstance(graph, onnx.FunctionProto)


def inputs(graph: GraphLike) -> list[str]:
    """Names of the inputs, without initializers that an old model lists there."""
    if is_function(graph):
        return list(graph.input)
    held = {t.name for t in graph.initializer}
    return [v.name for v in graph.input if v.name not in held]


def outputs(graph: GraphLike) -> list[str]:
    """Names of the outputs."""
    return list(graph.output) if is_function(graph) else [v.name for v in graph.output]


def initializers(graph: GraphLike) -> dict[str, TensorProto]:
    """The dense initializers by name."""
    return {} if is_function(graph) else {t.name: t for t in graph.initializer}


def constants(graph: GraphLike) -> dict[str, TensorProto]:
    """Initializers, and tensors of Constant nodes by the name of their output, to be changed where they lie."""
    found = initializers(graph)
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
    return found


def constant_value(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node, whichever attribute it is written in; None for sparse ones and other nodes.  It is
    the attribute itself only where that is ``value``."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    [held] = node.attribute
    if held.name == "value":
        whole: TensorProto = held.t
        return whole
    kind = {"value_float": "FLOAT", "value_int": "INT64", "value_string": "STRING"}.get(held.name.removesuffix("s"))
    if kind is None:
        return None
    value = onnx.helper.get_attribute_value(held)
    dims = [len(value)] if held.name.endswith("s") else []
    return onnx.helper.make_tensor("", onnx.TensorProto.DataType.Value(kind), dims, value if dims else [value])


def all_constants(graph: GraphLike) -> dict[str, TensorProto]:
    """Name -> contents of every constant: initializers, and what Constant nodes hold in whichever attribute.

    To be read: numbers that lie in an attribute (``value_ints``) are a copy, unlike those of :func:`constants`.
    """
    nodes = {n.output[0]: value for n in graph.node if (value := constant_value(n)) is not None}
    return initializers(graph) | nodes


def add_constant(model: ModelProto, graph: GraphLike, tensor: TensorProto) -> None:
    """A new constant of a graph of the model: an initializer, in a function a node; before IR version 4 every
    initializer of the main graph has to be listed as an input, too."""
    if is_function(graph):
        graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], tensor.name, value=tensor))
        return
    graph.initializer.append(tensor)
    if model.ir_version < 4 and graph is model.graph:
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


def defined(graph: GraphLike) -> list[str]:
    """Every tensor the graph itself defines: inputs, initializers, results of nodes."""
    names = [*inputs(graph), *initializers(graph)]
    if not is_function(graph):
        names += [s.values.name for s in graph.sparse_initializer]
    return list(dict.fromkeys([*names, *(o for n in graph.node for o in n.output if o)]))


def producers(graph: GraphLike) -> dict[str, NodeProto]:
    """Tensor -> the node that makes it."""
    return {name: node for node in graph.node for name in node.output if name}


def reads(node: NodeProto) -> list[str]:
    """What a node reads: its inputs, and what its bodies capture."""
    return [n for n in node.input if n] + [n for _, body in bodies(node) for n in captures(body)]


def captures(body: GraphProto) -> list[str]:
    """The outer tensors that a body reads, each once."""
    own = set(defined(body))
    names = [n for node in body.node for n in reads(node)] + outputs(body)
    return list(dict.fromkeys(n for n in names if n not in own))


def consumers(graph: GraphLike) -> dict[str, list[NodeProto]]:
    """Tensor -> the nodes that read it, themselves or in their bodies, each once per node."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(reads(node)):
            found.setdefault(name, []).append(node)
    return found


def replace_uses(graph: GraphLike, mapping: dict[str, str], nodes: Iterable[NodeProto] | None = None) -> int:
    """Let the nodes (all, or the given ones) and their bodies read other tensors; the number of places changed.

    Outputs of ``graph`` itself are not touched: their names are the model's interface.  ToolError where a body has
    another tensor of a name that it would read.
    """
    count = 0
    for node in graph.node if nodes is None else nodes:
        for index, name in enumerate(node.input):
            if name in mapping:
                node.input[index] = mapping[name]
                count += 1
        for _, body in bodies(node):
            own = set(defined(body))
            visible = {old: new for old, new in mapping.items() if old not in own}
            if not visible:
                continue
            clash = own & set(visible.values()) if any(n in visible for n in captures(body)) else set()
            if clash:
                names = ", ".join(sorted(clash))
                raise ToolError(f"a body of {title(node)!r} has a tensor of its own called {names!r}: rename it first")
            count += replace_uses(body, visible)
            for info in body.output:
                if info.name in visible:
                    info.name = visible[info.name]
                    count += 1
    return count


def rename_tensors(everywhere: list[Scope], maps: dict[str, dict[str, str]]) -> None:
    """Rename tensors where they are defined and wherever they are used; ``everywhere`` are all :func:`scopes` of a
    model, ``maps`` the new names by the path of the scope that defines them."""
    visible: dict[int, dict[str, str]] = {}
    for scope in everywhere:
        outer = visible[id(scope.outer)] if scope.outer is not None else {}
        own = set(defined(scope.graph))
        visible[id(scope)] = {k: v for k, v in outer.items() if k not in own} | maps.get(scope.path, {})
    for scope in everywhere:
        _rename_here(scope.graph, visible[id(scope)])


def _rename_here(graph: GraphLike, new: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            if any(n in new for n in names):
                names[:] = [new.get(n, n) for n in names]
    entries: list[ValueInfoProto | TensorProto] = [*graph.value_info]
    if is_function(graph):
        graph.input[:] = [new.get(n, n) for n in graph.input]
        graph.output[:] = [new.get(n, n) for n in graph.output]
    else:
        entries += [*graph.input, *graph.output, *graph.initializer, *(s.values for s in graph.sparse_initializer)]
        for note in graph.quantization_annotation:
            note.tensor_name = new.get(note.tensor_name, note.tensor_name)
            for pair in note.quant_parameter_tensor_names:
                pair.value = new.get(pair.value, pair.value)
    for entry in entries:
        if entry.name in new:
            entry.name = new[entry.name]


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every TensorProto of the model: initializers and attributes, in bodies and functions too."""
    for scope in scopes(model):
        if not is_function(scope.graph):
            yield from scope.graph.initializer
            for sparse in scope.graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in scope.graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                yield from attribute.tensors


def live(graph: GraphLike, roots: Iterable[str] | None = None) -> set[str]:
    """The tensors that the graph's outputs, or ``roots``, depend on."""
    made, queue = producers(graph), [*(outputs(graph) if roots is None else roots)]
    found = set(queue)
    while queue:
        node = made.get(queue.pop())
        if node is not None:
            new = [n for n in (*reads(node), *(o for o in node.output if o)) if n not in found]
            found.update(new)
            queue += [n for n in new if n not in node.output]
    return found


def dead(graph: GraphLike) -> set[str]:
    """What is defined and not needed for any output: ask before an edit, and let :func:`sweep` keep it."""
    return set(defined(graph)) - live(graph)


@dataclass
class Swept:
    """What :func:`sweep` removed."""

    nodes: list[str] = field(default_factory=list)
    initializers: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    bytes: int = 0

    def __str__(self) -> str:
        parts = [f"{len(self.nodes)} node(s)", f"{len(self.initializers)} initializer(s), {self.bytes} bytes"]
        return ", ".join(parts + [f"input {n}" for n in self.inputs])


def sweep(graph: GraphLike, keep: Iterable[str] = (), prune_inputs: bool = False) -> Swept:
    """Remove the nodes and initializers that no output needs, except those that define something in ``keep``, and
    what these need; with ``prune_inputs`` unused graph inputs too."""
    needed = live(graph, [*outputs(graph), *keep])

    def idle(node: NodeProto) -> bool:
        return bool(node.output) and not any(n in needed for n in node.output if n)

    swept = Swept([title(n) for n in graph.node if idle(n)])
    remove(graph.node, idle)
    if is_function(graph):
        return swept
    unread = {t.name: nbytes(t) for t in graph.initializer if t.name not in needed}
    swept.initializers, swept.bytes = list(unread), sum(unread.values())
    swept.inputs = [v.name for v in graph.input if prune_inputs and v.name not in needed and v.name not in unread]
    gone = {*unread, *swept.inputs}
    remove(graph.initializer, lambda t: t.name in gone)
    remove(graph.sparse_initializer, lambda s: s.values.name not in needed)
    remove(graph.input, lambda v: v.name in gone)
    drop_stale(graph)
    return swept


def drop_stale(graph: GraphProto) -> None:
    """Remove value_info and annotations of tensors that the graph does not define any more."""
    here = set(defined(graph))
    remove(graph.value_info, lambda v: v.name not in here)
    remove(graph.quantization_annotation, lambda q: q.tensor_name not in here)


def remove(items: MutableSequence[_Item], unwanted: Callable[[_Item], bool]) -> int:
    """Delete the unwanted entries of a repeated field, in place."""
    count = 0
    for index in reversed(range(len(items))):
        if unwanted(items[index]):
            del items[index]
            count += 1
    return count


def sort(graph: GraphLike) -> bool:
    """Put the nodes in topological order; False where they are.  A cycle is a ToolError."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[n] for n in reads(node) if n in maker} for node in graph.node]
    if all(n < i for i, wanted in enumerate(needs) for n in wanted):
        return False
    order = _order(needs)
    if len(order) < len(needs):
        raise ToolError(f"this makes a cycle: {' -> '.join(title(graph.node[i]) for i in _cycle(needs, set(order)))}")
    copies = [onnx.NodeProto.FromString(graph.node[i].SerializeToString()) for i in order]
    del graph.node[:]
    graph.node.extend(copies)
    return True


def _order(needs: list[set[int]]) -> list[int]:
    """Numbers so that each follows those it needs, the smallest first; without what is in a cycle or behind one."""
    users: list[list[int]] = [[] for _ in needs]
    for i, wanted in enumerate(needs):
        for n in wanted:
            users[n].append(i)
    left = [len(wanted) for wanted in needs]
    ready, order = [i for i, n in enumerate(left) if n == 0], []
    while ready:
        order.append(heapq.heappop(ready))
        for user in users[order[-1]]:
            left[user] -= 1
            if left[user] == 0:
                heapq.heappush(ready, user)
    return order


def _cycle(needs: list[set[int]], done: set[int]) -> list[int]:
    path = [next(i for i in range(len(needs)) if i not in done)]
    while True:
        step = min(i for i in needs[path[-1]] if i not in done)
        if step in path:
            return [step, *reversed(path[path.index(step) :])]
        path.append(step)


# --- names -----------------------------------------------------------------------------------------------------------
