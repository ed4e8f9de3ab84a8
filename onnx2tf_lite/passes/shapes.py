"""Shapes: what the user overrides, where the graph is cut, and symbolic inference of all the rest."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem, ToolError, did_you_mean
from ..model.edit import Dim, Tensor, detach, graphs, needs, set_outputs, tensors
from ..model.inference import infer_shapes
from ..model.surgeon import describe, to_proto
from .manager import Pass, PassOptions, PassResult, plural


class Shapes(Pass):
    """Apply batch and input shape overrides, cut at the named tensors, infer every shape symbolically."""

    name = "shapes"

    def __init__(self, options: PassOptions | None = None, again: bool = False):
        super().__init__(options)
        self.again = again
        """Everything was inferred before: only where an extent was left open can it be told anything now."""

    def call(self, graph: gs.Graph) -> PassResult:
        """Apply the overrides and cuts of the options, then infer."""
        notes = []
        o = self.options
        removed = (o.input_names or o.output_names) and cut(graph, o.input_names, o.output_names)
        if removed:
            notes.append(f"cut: {plural(removed, 'node(s)')} removed")
        fixed = override(graph, o.batch_size, o.input_shapes)
        if fixed:
            notes.append("fixed the shape of " + ", ".join(fixed))
        known = 0 if self.again and not fixed and _complete(graph) else infer(graph, trust=not fixed)
        if known:
            notes.append(f"inferred {plural(known, 'shape(s)')}")
        return PassResult(graph, bool(notes), notes)


def override(graph: gs.Graph, batch_size: int | None, input_shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Give the inputs the dimensions the user wants; returns the names of those that changed.

    Raises ConversionError for unknown inputs, and for dimensions that contradict the model's or each other.
    """
    inputs, problems = {t.name: t for t in graph.inputs}, list[Problem]()
    wanted = _asked(inputs, batch_size, input_shapes, problems)
    changed, symbols = [], dict[str, int]()
    for name, asked in wanted.items():
        wanted[name] = _joined(name, inputs[name].shape, asked, symbols, problems)
    if problems:
        raise ConversionError(*problems)
    for name, tensor in inputs.items():  # a symbol means the same everywhere
        old = tensor.shape
        new = wanted.get(name, old)
        tensor.shape = None if new is None else [symbols.get(d, d) for d in new]
        if tensor.shape != (None if old is None else list(old)):
            changed.append(f"{name} {_text(tensor.shape)}")
    return changed


def _asked(
    inputs: dict[str, Tensor], batch_size: int | None, shapes: dict[str, tuple[int, ...]], problems: list[Problem]
) -> dict[str, list[Dim]]:
    """The shapes that the user gives, and those that his batch size makes."""
    for name in [name for name in shapes if name not in inputs]:
        problems.append(Problem(f"input '{name}'", "the model has no such input", did_you_mean(name, inputs)))
    wanted: dict[str, list[Dim]] = {name: list(dims) for name, dims in shapes.items() if name in inputs}
    if batch_size is None:
        return wanted
    for name, tensor in inputs.items():
        if tensor.shape and name not in wanted and not isinstance(tensor.shape[0], int):
            wanted[name] = [batch_size, *tensor.shape[1:]]
    if not wanted and not any(t.shape and t.shape[0] == batch_size for t in inputs.values()):
        said = ", ".join(f"{t.name}: {_text(t.shape)}" for t in inputs.values())
        problems.append(Problem("batch size", f"no input has a free first dimension ({said})"))
    return wanted


def _joined(
    name: str, known: list[Dim] | None, asked: list[Dim], symbols: dict[str, int], problems: list[Problem]
) -> list[Dim]:
    """The model's dimensions with the sizes that are asked for; ``symbols`` learns which names these give a size."""
    old = [None] * len(asked) if known is None else known
    pairs = list(zip(old, asked, strict=False))
    if len(old) != len(asked) or any(_number(a) and _number(b) and a != b for a, b in pairs):
        what = f"{_text(asked)} contradicts the model's {_text(old)}"
        problems.append(Problem(f"input '{name}'", what, "only free dimensions can be given a size"))
        return asked
    new = [b if _number(b) or isinstance(b, str) else a for a, b in pairs]
    for a, b in zip(old, new, strict=True):
        if isinstance(a, str) and isinstance(b, int) and symbols.setdefault(a, b) != b:
            problems.append(Problem(f"input '{name}'", f"dimension '{a}' is {symbols[a]} elsewhere and {b} here"))
    return new


def _number(dim: Dim) -> bool:
    return isinstance(dim, int) and dim >= 0


def _text(dims: Iterable[Dim] | None) -> str:
    return "[?]" if dims is None else "[" + ",".join("?" if d is None else str(d) for d in dims) + "]"


def cut(graph: gs.Graph, input_names: Iterable[str], output_names: Iterable[str]) -> int:
    """Keep what lies between the named tensors; returns the number of nodes removed.

    Raises ConversionError for names that do not exist, and where the outputs depend on other inputs too.
    """
    input_names, output_names = list(input_names), list(output_names)
    named: dict[str, Tensor] = {t.name: t for t in [*graph.inputs, *graph.outputs]}
    named.update((t.name, t) for n in graph.nodes for t in n.outputs if t.name)
    unknown = [n for n in [*input_names, *output_names] if n not in named]
    if unknown:
        what = "no such tensor in the model"
        raise ConversionError(*(Problem(f"'{n}'", what, did_you_mean(n, named)) for n in unknown))
    before = _surface(graph)
    infer(graph)
    outputs = [named[n] for n in output_names] or list(graph.outputs)
    ends = {id(named[n]) for n in input_names}
    needed, reached = _between(outputs, ends)
    left = [t.name for t in graph.inputs if id(t) in reached - ends]
    if input_names and left:
        what = "the outputs also depend on the inputs " + ", ".join(left)
        raise ConversionError(Problem("cut", what, "name these too, or cut where they are separated"))
    graph.inputs, graph.outputs = [named[n] for n in input_names] or graph.inputs, outputs
    _keep(graph, needed)
    after = _surface(graph)
    return 0 if after == before else max(before[0] - after[0], 1)


def _surface(graph: gs.Graph) -> tuple[int, list[str], list[str]]:
    return len(graph.nodes), [t.name for t in graph.inputs], [t.name for t in graph.outputs]


def _keep(graph: gs.Graph, needed: set[int]) -> None:
    """Remove all nodes but these, and what makes the inputs."""
    for node in graph.nodes:
        if id(node) not in needed:
            detach(node)
    graph.nodes = [n for n in graph.nodes if id(n) in needed]
    for tensor in graph.inputs:  # also an output of a node that is still needed for its other outputs
        for node in list(tensor.inputs):
            set_outputs(node, [gs.Variable.empty() if t is tensor else t for t in node.outputs])


def _between(outputs: list[Tensor], ends: set[int]) -> tuple[set[int], set[int]]:
    """The nodes, and the tensors, that the outputs need when the ``ends`` are given; all by id."""
    needed, reached, stack = set[int](), set[int](), list(outputs)
    while stack:
        tensor = stack.pop()
        if id(tensor) in reached:
            continue
        reached.add(id(tensor))
        for node in () if id(tensor) in ends else tensor.inputs:
            if id(node) not in needed:
                needed.add(id(node))
                stack += needs(node)
    return needed, reached


def infer(graph: gs.Graph, trust: bool = True) -> int:
    """onnx's inference with data propagation; returns how many tensors it told something new about.

    With `trust` the result of a foreign operator keeps the shape that the model declares.  Of other declared shapes
    only the rank is believed where inference cannot confirm them: exporters leave the extents of the example input
    behind in dynamic models, and ONNX Runtime only warns about it.  ConversionError for a model that contradicts
    itself.
    """
    proto = to_proto(graph, big="as_inputs", infos=False)
    try:
        done = infer_shapes(proto)
    except ToolError as error:
        remedy = "the model contradicts itself; is an override wrong?"
        raise ConversionError(Problem("model", error.what, remedy)) from error
    found: dict[str, onnx.TypeProto] = {}
    _collect(done.graph, found)
    users = _symbols(graph)
    given = {id(t) for t in graph.inputs}
    everything = {id(t): t for g in graphs(graph) for t in tensors(g)}
    news = 0
    for key, tensor in everything.items():
        if key in given or not tensor.name or isinstance(tensor, gs.Constant):
            continue
        dtype, old = tensor.dtype, tensor.shape
        tensor.shape = None
        if tensor.name in found:
            describe(tensor, found[tensor.name])
        if trust and tensor.shape is None and old is not None:
            foreign = any(n.domain for n in tensor.inputs)
            tensor.shape = _known(old, users) if foreign else [None] * len(old)
        same = old == tensor.shape or _known(old, users) == _known(tensor.shape, users)
        news += dtype != tensor.dtype or not same
    return news


def _symbols(graph: gs.Graph) -> set[str]:
    """The names that the model gives to extents."""
    return {d for t in graph.inputs for d in t.shape or () if isinstance(d, str)}


def _complete(graph: gs.Graph) -> bool:
    """Is every tensor known, its extents by numbers and the model's own names?"""
    users, every = _symbols(graph), {id(t): t for g in graphs(graph) for t in tensors(g)}.values()
    return all(_decided(t, users) for t in every if t.name and not isinstance(t, gs.Constant))


def _decided(tensor: Tensor, users: set[str]) -> bool:
    dims = _known(tensor.shape, users)
    return tensor.dtype is not None and dims is not None and None not in dims


def _made_up(dim: Dim, users: set[str]) -> bool:
    """Is this a symbol that inference invented? It means the same in all tensors of one inference, and only there."""
    return dim is None or (isinstance(dim, str) and dim.startswith("unk__") and dim not in users)


def _known(dims: list[Dim] | None, users: set[str]) -> list[Dim] | None:
    return None if dims is None else [None if _made_up(d, users) else d for d in dims]


def _collect(proto: onnx.GraphProto, found: dict[str, onnx.TypeProto]) -> None:
    for info in [*proto.value_info, *proto.output]:
        found[info.name] = info.type
    for node in proto.node:
        for a in node.attribute:
            if a.HasField("g"):
                _collect(a.g, found)
