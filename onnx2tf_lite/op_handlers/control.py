"""If, Loop and Scan.

Bodies are lowered by the same walk as the model.  A carried value whose extents differ between iterations gets fresh
symbols, and so does a result of If whose branches disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim, Shape
from ..ir.graph import Graph, Value, constant, content_of, current_graph
from ._loops import add_inputs, nested, put, share_extents, while_loop, zeros
from .lower import Scope, _operand, lower_nodes
from .registry import Unsupported, op

ENDLESS = 2**31 - 1  # a trip count from here on is no limit


def _lower(model: gs.Graph, scope: Scope) -> list[Value]:
    """The outputs of a body lowered into the current graph."""
    problems: list[Problem] = []
    lower_nodes(model, scope, problems)
    if problems:
        raise ConversionError(*problems)
    results = [(tensor, _operand(scope, tensor)) for tensor in model.outputs]
    missing = [tensor.name for tensor, value in results if value is None]
    if missing:
        raise Unsupported(f"body output {', '.join(missing)} is not computed", "check the model with onnx.checker")
    return [_as_declared(value, tensor.shape) for tensor, value in results if value is not None]


def _as_declared(value: Value, declared: Sequence[int | str | None] | None) -> Value:
    """A body output with the fixed extents that the model promises for it."""
    if declared is None or len(declared) != value.rank:
        return value
    pairs = zip(declared, value.shape, strict=True)
    return b.reshape(value, [d if isinstance(d, int) and d >= 0 and isinstance(v, dims.Expr) else v for d, v in pairs])


def _known(value: Value | None) -> Dim | None:
    """The number or extent that a scalar is, where that is known before run time."""
    content = None if value is None else content_of(value)
    return None if content is None or content.size != 1 else content.ravel()[0]


def _visible() -> set[str]:
    """Symbols that the graph being built can read."""
    graph = current_graph()
    values = [*graph.inputs, *(v for node in graph.ops for v in node.outputs)]
    return {s for v in values for s in dims.symbols(v.shape)} | set(graph.definitions)


def _fresh() -> Dim:
    return current_graph().fresh_symbol("extent")


def _settled(values: Sequence[Value], graph: Graph) -> list[Value]:
    """Outputs of a body: each a value of its own, no constant and no input."""
    seen: set[Value] = set(graph.inputs)
    result = []
    for value in values:
        if value.is_constant or value in seen:
            value = b.emit("IDENTITY", value, shape=value.shape)
        seen.add(value)
        result.append(value)
    return result


# ------------------------------------------------------------------------------------------------ If


@op("If")
def if_(condition: Value, *, then_branch: gs.Graph, else_branch: gs.Graph, scope: Scope) -> Sequence[Value]:
    """The results of one branch; a condition that is known leaves only that branch."""
    known = _known(condition)
    if isinstance(known, (bool, int, np.bool_)):
        return _lower(then_branch if known else else_branch, scope)
    squeezed = _squeezed(condition, then_branch, else_branch, scope)
    if squeezed is not None:
        return [squeezed]
    scopes = []
    for model, name in ((then_branch, "then"), (else_branch, "else")):
        with nested(name) as graph:
            scopes.append(Scope(graph, scope))
            graph.outputs = _settled(_lower(model, scopes[-1]), graph)
    then, otherwise = (s.graph for s in scopes)
    results = [_joined(*pair) for pair in zip(then.outputs, otherwise.outputs, strict=True)]
    operands = [b.reshape(condition, ()), *_same_inputs(scopes), *share_extents([then, otherwise])]
    return b.emit_all("IF", operands, then=then, otherwise=otherwise, results=results)


def _squeezed(condition: Value, then: gs.Graph, otherwise: gs.Graph, scope: Scope) -> Value | None:
    """torch's ``squeeze(dim)`` of a computed extent: If(extent == 1, Squeeze(x), x), or None.

    TFLite fixes ranks, so the extent is taken to be 1, and SPLIT_V stops the program where it is not.
    """
    if [[n.op for n in g.nodes] for g in (then, otherwise)] != [["Squeeze"], ["Identity"]]:
        return None
    node = then.nodes[0]
    x, axes = scope.find(node.inputs[0].name), [_operand(scope, t) for t in node.inputs[1:]]
    if x is None or otherwise.nodes[0].inputs[0].name != node.inputs[0].name or len(axes) != 1 or axes[0] is None:
        return None
    content = content_of(axes[0])
    if content is None or content.size != 1 or not _compares(condition, x.shape[int(content.item())]):
        return None
    axis = b.axis_of(int(content.item()), x.rank)
    (kept,) = b.emit_all("SPLIT_V", [x], sizes=(1,), axis=axis)
    return b.reshape(kept, x.shape[:axis] + x.shape[axis + 1 :])


def _compares(condition: Value, extent: Dim) -> bool:
    """True where ``condition`` is "extent == 1" of an extent that is no input's own (that the user can fix)."""
    while condition.producer is not None and condition.producer.kind.name in ("RESHAPE", "CAST"):
        condition = condition.producer.inputs[0]  # type: ignore[assignment]
    test = condition.producer
    if test is None or test.kind.name != "EQUAL" or dims.symbols([extent]) == {str(extent)}:
        return False
    return {_known(v) for v in test.inputs} == {1, extent}


def _joined(a: Value, c: Value) -> tuple[Shape, np.dtype]:
    """Shape and dtype of a result: extents that the branches do not share, or that only they know, are new symbols."""
    if a.dtype != c.dtype or a.rank != c.rank:
        raise Unsupported(f"the branches give {a} and {c}: different ranks or dtypes",
                          "fix the input shapes so that the condition is known before run time")  # fmt: skip
    known = _visible()
    pairs = zip(a.shape, c.shape, strict=True)
    return tuple(x if x == y and dims.symbols([x]) <= known else _fresh() for x, y in pairs), a.dtype


def _same_inputs(scopes: Sequence[Scope]) -> list[Value]:
    """Give all bodies the same inputs, in one order: what any of them reads from outside.  The operands."""
    outer = {name: pair[0] for scope in scopes for name, pair in scope.captured.items()}
    for scope in scopes:
        extra = {name: add_inputs(scope.graph, [v])[0] for name, v in outer.items() if name not in scope.captured}
        scope.graph.inputs = [extra[n] if n in extra else scope.captured[n][1] for n in outer]
    return list(outer.values())


# ------------------------------------------------------------------------------------------------ Loop, Scan

# (scope of the body, i32 iteration, condition, carried values) -> condition, new carried values and scan elements
Body = Callable[[Scope, Value, Value, list[Value]], tuple[Value, list[Value]]]


@op("Loop")
def loop(trips: Value | None = None, condition: Value | None = None, *carried: Value, body: gs.Graph,
         scope: Scope) -> list[Value]:  # fmt: skip
    """Body: (i64 iteration, condition, *carried) -> (condition, *carried, *scan elements)."""

    def step(inner: Scope, i: Value, go_on: Value, states: list[Value]) -> tuple[Value, list[Value]]:
        given = [b.cast(i, np.int64), go_on, *states]
        inner.values.update({t.name: v for t, v in zip(body.inputs, given, strict=True)})
        again, *rest = _lower(body, inner)
        return b.reshape(again, ()), rest

    limit = None if trips is None else b.reshape(b.cast(trips, np.int32), ())
    if isinstance(number := _known(trips), int) and number >= ENDLESS:
        limit = None
    return _repeat(scope, step, list(carried), limit, condition)


@op("Scan")
def scan(*operands: Value, body: gs.Graph, num_scan_inputs: int, scan_input_axes: Sequence[int] | None = None,
         scan_input_directions: Sequence[int] | None = None, scan_output_axes: Sequence[int] | None = None,
         scan_output_directions: Sequence[int] | None = None, scope: Scope) -> list[Value]:  # fmt: skip
    """Body: (*carried, *elements of the scan inputs) -> (*carried, *scan elements)."""
    count = len(operands) - num_scan_inputs
    carried, sequences = list(operands[:count]), operands[count:]
    axes, back = scan_input_axes or (0,) * num_scan_inputs, scan_input_directions or (0,) * num_scan_inputs
    moved = [b.move_axis(v, a, 0) for v, a in zip(sequences, axes, strict=True)]
    moved = [b.reverse(v, [0]) if r else v for v, r in zip(moved, back, strict=True)]
    names = [current_graph().fresh_name("scan") for _ in moved]
    scope.values.update(zip(names, moved, strict=True))

    def step(inner: Scope, i: Value, go_on: Value, states: list[Value]) -> tuple[Value, list[Value]]:
        elements = [b.gather(inner.find(name), i) for name in names]
        inner.values.update({t.name: v for t, v in zip(body.inputs, [*states, *elements], strict=True)})
        return go_on, _lower(body, inner)

    limit = b.reshape(b.dims_value([moved[0].shape[0]]), ())
    results = _repeat(scope, step, carried, limit, None)
    outs = len(results) - count
    ways = zip(results[count:], scan_output_axes or (0,) * outs, scan_output_directions or (0,) * outs, strict=True)
    return results[:count] + [b.move_axis(b.reverse(v, [0]) if r else v, 0, a) for v, a, r in ways]


def _repeat(
    scope: Scope, step: Body, carried: list[Value], limit: Value | None, condition: Value | None
) -> list[Value]:
    """Final carried values, then the scan outputs [iterations, ...], of a WHILE.

    Its state: iteration, condition, carried values, what the body reads from outside, scan buffers, limit.  A buffer
    has all its rows from the start where their number is known, else it grows by one in each iteration.
    """
    condition = constant(np.bool_(True)) if condition is None else b.reshape(condition, ())
    inner, again, results = _traced(scope, step, carried)
    body, elements = inner.graph, results[len(carried) :]
    if any(not dims.symbols(e.shape) <= _visible() for e in elements):
        raise Unsupported("a scan output has extents that are only known inside the loop", "fix the input shapes")
    rows = _known(limit)
    endless = _known(condition) == 1 and (again is body.inputs[1] or _known(again) == 1)
    grows = rows is None or not endless
    # the kernel cannot begin with an empty buffer: a growing one has a first row that is dropped in the end
    buffers = [zeros((1 if grows else rows, *e.shape), e.dtype) for e in elements]  # type: ignore[arg-type]
    captured = list(inner.captured.values())
    state = [*carried, *(outer for outer, _ in captured), *buffers, *([] if limit is None else [limit])]
    with nested(body):
        room = add_inputs(body, buffers, grows)
        limits = add_inputs(body, state[len(state) - (limit is not None) :])
        i = body.inputs[0]
        filled = [_appended(r, e) if grows else put(r, i, e) for r, e in zip(room, elements, strict=True)]
        again, *carried_on = _settled([again, *results[: len(carried)]], body)
        body.outputs = [i + 1, again, *carried_on, *(into for _, into in captured), *filled, *limits]
    with nested("until") as test:
        i, go_on, *rest = add_inputs(test, body.inputs)
        test.outputs = [b.logical_and(go_on, b.less(i, rest[-1])) if limit is not None
                        else b.emit("IDENTITY", go_on, shape=())]  # fmt: skip
    known = _visible()
    shapes = [tuple(d if dims.symbols([d]) <= known else _fresh() for d in v.shape) for v in body.inputs]
    final = while_loop([constant(np.int32(0)), condition, *state], test, body, shapes)[2:]
    first = len(carried) + len(captured)
    scans = final[first : first + len(buffers)]
    return final[: len(carried)] + [b.narrow(v, 0, 1, v.shape[0] - 1) if grows else v for v in scans]


def _appended(buffer: Value, element: Value) -> Value:
    return b.concat([buffer, b.reshape(element, (1, *element.shape))], 0)


def _traced(scope: Scope, step: Body, carried: list[Value]) -> tuple[Scope, Value, list[Value]]:
    """The body lowered for shapes of the carried values that hold in every iteration; its condition and results.

    Extents that an iteration changes are fresh symbols; which ones those are is found by trying.
    """
    changing: set[tuple[int, int]] = set()
    while True:
        with nested("loop") as graph:
            i = graph.add_input(f"{graph.name}/i", (), np.dtype(np.int32))
            go_on = graph.add_input(f"{graph.name}/condition", (), np.dtype(bool))
            states = []
            for k, v in enumerate(carried):
                shape = tuple(_fresh() if (k, axis) in changing else d for axis, d in enumerate(v.shape))
                states.append(graph.add_input(f"{graph.name}/state{k}", shape, v.dtype))
            inner = Scope(graph, scope)
            again, results = step(inner, i, go_on, states)
        found = {(k, axis) for k, pair in enumerate(zip(states, results, strict=False)) for axis in _changed(*pair)}
        if found <= changing:
            return inner, again, results
        changing |= found


def _changed(before: Value, after: Value) -> list[int]:
    """Axes whose extent an iteration changes."""
    if before.rank != after.rank or before.dtype != after.dtype:
        raise Unsupported(f"a carried value enters an iteration as {before} and leaves it as {after}",
                          "keep rank and dtype of loop state constant")  # fmt: skip
    return [axis for axis, (d, e) in enumerate(zip(before.shape, after.shape, strict=True)) if d != e]
