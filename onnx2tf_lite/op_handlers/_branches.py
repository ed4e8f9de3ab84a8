"""What If becomes: an IF with two bodies, and a :class:`Choice` for each result that the branches do not agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Shape
from ..ir.graph import Graph, Value, content_of, current_graph, current_origin
from ._loops import add_inputs, nested, share_extents
from ._structures import Choice, Item, form, parts, rebuilt, told
from .lower import Bindings, _operand, lower_nodes
from .registry import UnsupportedError

Side = Callable[[Bindings], list[Item]]  # lowers a branch into the scope of a body


def lower_body(model: gs.Graph, scope: Bindings) -> list[Item]:
    """The outputs of a body lowered into the current graph."""
    problems: list[Problem] = []
    lower_nodes(model, scope, problems)
    if problems:
        raise ConversionError(*problems)
    results = [(tensor, _operand(scope, tensor)) for tensor in model.outputs]
    missing = [tensor.name for tensor, value in results if value is None]
    if missing:
        raise UnsupportedError(f"body output {', '.join(missing)} is not computed", "check the model with onnx.checker")
    return [_as_declared(value, tensor.shape) for tensor, value in results if value is not None]


def _as_declared(value: Item, declared: Sequence[int | str | None] | None) -> Item:
    """A body output with the fixed extents that the model promises for it."""
    if not isinstance(value, Value) or declared is None or len(declared) != value.rank:
        return value
    pairs = zip(declared, value.shape, strict=True)
    return b.reshape(value, [d if isinstance(d, int) and d >= 0 and isinstance(v, dims.Expr) else v for d, v in pairs])


def known(value: Value | None) -> Dim | None:
    """The number or extent that a scalar is, where that is known before run time."""
    content = None if value is None else content_of(value)
    return None if content is None or content.size != 1 else content.ravel()[0]


def visible() -> set[str]:
    """Symbols that the graph being built can read."""
    graph = current_graph()
    values = [*graph.inputs, *(v for node in graph.ops for v in node.outputs)]
    return {s for v in values for s in dims.symbols(v.shape)} | set(graph.definitions)


def fresh() -> Dim:
    return current_graph().fresh_symbol("extent")


def settled(values: Sequence[Value], graph: Graph) -> list[Value]:
    """Outputs of a body: each a value of its own, no constant and no input."""
    seen: set[Value] = set(graph.inputs)
    result = []
    for value in values:
        if value.is_constant or value in seen:
            value = b.emit("IDENTITY", value, shape=value.shape)
        seen.add(value)
        result.append(value)
    return result


def choose(condition: Value, sides: tuple[Side, Side], scope: Bindings) -> list[Item]:
    """The results of one of two branches, which run time chooses."""
    condition = b.reshape(condition, ())
    sides = _once(sides[0]), _once(sides[1])
    scopes, results = [], []
    for side, name in zip(sides, ("then", "else"), strict=True):
        with nested(name) as graph:
            scopes.append(Bindings(graph, scope))
            results.append(side(scopes[-1]))
            values = scopes[-1].values.items()
            graph.tensors = {n: v for n, v in values if isinstance(v, Value) and not v.is_constant}
            origin = current_origin()
            graph.body_of = f"{origin.outputs[0]}/{name}_branch" if origin else ""
    whys = [_disagreement(*pair) for pair in zip(*results, strict=True)]
    for inner, items in zip(scopes, results, strict=True):
        with nested(inner.graph) as graph:
            graph.outputs = settled(
                [v for item, why in zip(items, whys, strict=True) if not why for v in parts(item)], graph
            )
    then, otherwise = (s.graph for s in scopes)
    joined: list[Value] = []
    if then.outputs:
        types = [_joined(*pair) for pair in zip(then.outputs, otherwise.outputs, strict=True)]
        operands = [condition, *_same_inputs(scopes), *share_extents([then, otherwise])]
        joined = b.emit_all("IF", operands, then=then, otherwise=otherwise, results=types)
    pieces = iter(joined)
    return [
        rebuilt(item, pieces) if not why else Choice(condition, (_only(sides[0], k), _only(sides[1], k)), why, _sink)
        for k, (item, why) in enumerate(zip(results[0], whys, strict=True))
    ]


def _once(side: Side) -> Side:
    """Two readers in one body share what the branch computes."""
    done: list[tuple[Bindings, list[Item]]] = []

    def lowered(scope: Bindings) -> list[Item]:
        found = next((items for seen, items in done if seen is scope), None)
        if found is None:
            found = side(scope)
            done.append((scope, found))
        return found

    return lowered


def _only(side: Side, index: int) -> Callable[[Bindings], Item]:
    return lambda scope: side(scope)[index]


def _disagreement(a: Item, c: Item) -> str:
    """Why no tensors can be the result of both branches; nothing where they can."""
    pairs = list(zip(parts(a), parts(c), strict=False))
    if form(a) == form(c) and all(x.rank == y.rank and x.dtype == y.dtype for x, y in pairs):
        return ""
    return f"the branches give {told(a)} and {told(c)}: different ranks, dtypes or lengths"


def _joined(a: Value, c: Value) -> tuple[Shape, np.dtype]:
    """Shape and dtype of a result: extents that the branches do not share, or that only they know, are new symbols."""
    readable = visible()
    pairs = zip(a.shape, c.shape, strict=True)
    return tuple(x if x == y and dims.symbols([x]) <= readable else fresh() for x, y in pairs), a.dtype


def _same_inputs(scopes: Sequence[Bindings]) -> list[Value]:
    """Give all bodies the same inputs, in one order: what any of them reads from outside.  The operands."""
    outer = {name: pair[0] for scope in scopes for name, pair in scope.captured.items()}
    for scope in scopes:
        extra = {name: add_inputs(scope.graph, [v])[0] for name, v in outer.items() if name not in scope.captured}
        scope.graph.inputs = [extra[n] if n in extra else scope.captured[n][1] for n in outer]
    return list(outer.values())


def _sink(node: gs.Node, choices: dict[str, Choice], scope: Bindings, opset: int) -> list[Item | None]:
    """A node that reads results of an If on which the branches disagree, lowered into the branches themselves.

    They are lowered once more for each such reader; in the end their results, which no-one else reads, vanish.
    """
    condition = next(iter(choices.values())).condition
    alike = {name: choice for name, choice in choices.items() if choice.condition is condition}
    part = gs.Graph([node], outputs=[t for t in node.outputs if not t.is_empty()], opset=opset)

    def through(side: int) -> Side:
        def lowered(inner: Bindings) -> list[Item]:
            inner.values.update({name: choice.branches[side](inner) for name, choice in alike.items()})
            return lower_body(part, inner)

        return lowered

    results = iter(choose(condition, (through(0), through(1)), scope))
    return [None if t.is_empty() else next(results) for t in node.outputs]
