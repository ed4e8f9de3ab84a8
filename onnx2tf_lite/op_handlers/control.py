"""If, Loop and Scan.

Bodies are lowered by the same walk as the model.  A carried value whose extents differ between iterations gets fresh
symbols, and so does a result of If whose branches disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from ..ir import build as b
from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Value, content_of
from ..ir.traits import Elements
from ..model.edit import captures
from ._branches import choose, known, lower_body
from ._repeat import UNROLLED, ReshapedError, grown, kept, repeat, unroll
from ._structures import Item, told
from .lower import Bindings, _operand
from .registry import UnsupportedError, op

ENDLESS = 2**31 - 1  # a trip count from here on is no limit


@op("If")
def if_(condition: Value, *, then_branch: gs.Graph, else_branch: gs.Graph, scope: Bindings) -> Sequence[Item]:
    """The results of one branch; a condition that is known leaves only that branch."""
    flag = known(condition)
    if isinstance(flag, (bool, int, np.bool_)):
        return lower_body(then_branch if flag else else_branch, scope)
    squeezed = _squeezed(condition, then_branch, else_branch, scope)
    if squeezed is not None:
        return [squeezed]
    sides = (lambda inner: lower_body(then_branch, inner)), (lambda inner: lower_body(else_branch, inner))
    return choose(condition, sides, scope)


def _squeezed(condition: Value, then: gs.Graph, otherwise: gs.Graph, scope: Bindings) -> Value | None:
    """torch's ``squeeze(dim)`` of a computed extent: If(extent == 1, Squeeze(x), x), or None.

    TFLite fixes ranks, so the extent is taken to be 1, and SPLIT_V stops the program where it is not.
    """
    if [[n.op for n in g.nodes] for g in (then, otherwise)] != [["Squeeze"], ["Identity"]]:
        return None
    node = then.nodes[0]
    x, axes = scope.find(node.inputs[0].name), [_operand(scope, t) for t in node.inputs[1:]]
    if not isinstance(x, Value) or otherwise.nodes[0].inputs[0].name != node.inputs[0].name:
        return None
    content = content_of(axes[0]) if len(axes) == 1 and isinstance(axes[0], Value) else None
    if content is None or content.size != 1 or not _compares(condition, x.shape[int(content.item())]):
        return None
    axis = b.axis_of(int(content.item()), x.rank)
    (only,) = b.emit_all("SPLIT_V", [x], sizes=(1,), axis=axis)
    return b.reshape(only, x.shape[:axis] + x.shape[axis + 1 :])


def _compares(condition: Value, extent: Dim) -> bool:
    """True where ``condition`` is "extent == 1" of an extent that is no input's own (that the user can fix)."""
    while (op := condition.producer) is not None and (op.kind.is_view or op.kind.elements is Elements.CONVERTED):
        condition = op.inputs[0]  # type: ignore[assignment]
    test = condition.made_by("EQUAL")
    if test is None or dims.symbols([extent]) == {str(extent)}:
        return False
    return {known(v) for v in test.inputs} == {1, extent}


@op("Loop", tensors=False)
def loop(
    trips: Value | None = None, condition: Value | None = None, *carried: Item, body: gs.Graph, scope: Bindings
) -> list[Item]:
    """Body: (i64 iteration, condition, *carried) -> (condition, *carried, *scan elements).

    Sequences are carried as their elements.  Where their length changes, a few iterations are written out, else the
    sequence becomes one tensor.
    """

    def step(inner: Bindings, i: Value, go_on: Value, states: list[Item]) -> list[Item]:
        given = [b.cast(i, np.int64), go_on, *states]
        inner.values.update({t.name: v for t, v in zip(body.inputs, given, strict=True)})
        return lower_body(body, inner)

    count = known(trips)
    states = list(carried)
    if isinstance(count, int) and count <= UNROLLED and _lists(body, states, scope):
        results = unroll(scope, step, states, count, condition)
        if results is not None and len(results) == len(body.outputs) - 1:
            return results
    limit = None if trips is None else b.reshape(b.cast(trips, np.int32), ())
    if isinstance(count, int) and count >= ENDLESS:
        limit = None
    for _ in range(2 * len(states) + 1):  # each can become one tensor, and what it collects another kind of element
        try:
            return repeat(scope, step, states, limit, condition)
        except ReshapedError as found:
            states[found.index] = grown(states[found.index], found.after)
    raise UnsupportedError(f"the iterations change the lengths of {', '.join(map(told, carried))}")


def _lists(body: gs.Graph, carried: Sequence[Item], scope: Bindings) -> bool:
    """Are there sequences in the loop, which are simpler where the iteration is a number?"""
    read = [scope.find(t.name) for n in body.nodes for t in (*n.inputs, *captures(n)) if not t.is_empty()]
    return any(isinstance(item, tuple) for item in (*carried, *read))


@op("Scan")
def scan(
    *operands: Value,
    body: gs.Graph,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
    scope: Bindings,
) -> list[Item]:
    """Body: (*carried, *elements of the scan inputs) -> (*carried, *scan elements)."""
    count = len(operands) - num_scan_inputs
    carried, sequences = list(operands[:count]), operands[count:]
    axes, back = scan_input_axes or (0,) * num_scan_inputs, scan_input_directions or (0,) * num_scan_inputs
    moved = [b.move_axis(v, a, 0) for v, a in zip(sequences, axes, strict=True)]
    moved = [b.reverse(v, [0]) if r else v for v, r in zip(moved, back, strict=True)]
    names = kept(scope, moved)

    def step(inner: Bindings, i: Value, go_on: Value, states: list[Item]) -> list[Item]:
        elements = [b.gather(inner.find(name), i) for name in names]
        inner.values.update({t.name: v for t, v in zip(body.inputs, [*states, *elements], strict=True)})
        return [go_on, *lower_body(body, inner)]

    limit = b.reshape(b.dims_value([moved[0].shape[0]]), ())
    results = repeat(scope, step, carried, limit, None)
    outs = len(results) - count
    ways = zip(results[count:], scan_output_axes or (0,) * outs, scan_output_directions or (0,) * outs, strict=True)
    return results[:count] + [b.move_axis(b.reverse(v, [0]) if r else v, 0, a) for v, a, r in ways]  # type: ignore
