"""-inf in sums: TFLite's ADD clamps its result to the finite float32, so -inf plus anything is -3.4e38.

After a softmax both are the same.  Not so where the sum is a result of the model, or is compared with an infinity (as
models do that know a blocked row of attention by it): there a SELECT puts -inf back, if the additive mask that it came
from can be found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import build
from ..ir.graph import Graph, Op, Value, building, constant
from ..ir.traits import Elements

MINUS = np.float32(-np.inf)
Places = dict[Value, Value]  # where a float tensor is -inf, as a bool tensor that broadcasts with it


def restore(graph: Graph) -> None:
    """Put -inf back into the sums in which it can be told from -3.4e38, in place."""
    for part in [*graph.subgraphs(), graph]:
        sums, cone = _demanded(part)
        if sums:
            _rewrite(part, sums, cone)


def _demanded(graph: Graph) -> tuple[set[Value], set[Value]]:
    """Sums whose infinities are seen, and the values that tell where those are."""
    seen, sums, cone = set(graph.outputs), set(), set()
    for op in reversed(graph.ops):
        operands = [v for v in op.inputs if v is not None]
        infinite = any(v.data is not None and np.isinf(v.data).any() for v in operands)
        if infinite and op.kind.elements is Elements.COMPARED:
            seen.update(operands)
        if seen.intersection(op.outputs):
            if op.kind.name == "ADD" and op.outputs[0].dtype == np.float32:
                sums.add(op.outputs[0])
            elif op.kind.special.passes("-") and not op.kind.special.finite:
                seen.update(operands)
        if op.kind.name in FORMS and (op.outputs[0] in sums or op.outputs[0] in cone):
            cone.update([op.outputs[0], *operands])
    return sums, cone


def _rewrite(graph: Graph, sums: set[Value], cone: set[Value]) -> None:
    old, graph.ops = graph.ops, []
    places: Places = {}
    for op in old:
        graph.ops.append(op)
        (value, *rest) = op.outputs
        if value not in cone or rest or op.kind.name not in FORMS:
            continue
        with building(graph, op.origin):
            found = FORMS[op.kind.name](op, places)
            if found is not None:
                places[value] = found
            if found is not None and value in sums:
                _substitute(op, value, found)


def _substitute(op: Op, value: Value, found: Value) -> None:
    """``value``, the result of ``op``, becomes that with -inf at ``found``."""
    finite = Value(f"{value.name}/finite", value.shape, value.dtype, producer=op)
    op.outputs = [finite]
    selection = build.where(found, MINUS, finite).producer
    assert selection is not None
    selection.outputs, value.producer = [value], selection


def _of(value: Value | None, places: Places) -> Value | None:
    if value is None or value.data is None:
        return places.get(value) if value is not None else None
    infinite = value.data == MINUS if value.dtype == np.float32 else None
    return constant(infinite) if infinite is not None and infinite.any() else None


def _either(*found: Value | None) -> Value | None:
    known = [f for f in found if f is not None]
    return known[0] if len(known) == 1 else build.logical_or(*known) if known else None


def _selected(op: Op, places: Places) -> Value | None:
    """-inf chosen by the condition, or one that either side has."""
    condition, *sides = op.inputs
    assert condition is not None
    results = []
    for side, chosen in zip(sides, (condition, build.logical_not(condition)), strict=True):
        found = _of(side, places)
        everywhere = found is not None and found.data is not None and found.data.all()
        results.append(chosen if everywhere else found and build.logical_and(chosen, found))
    return _either(*results)


def _added(op: Op, places: Places) -> Value | None:
    return _either(*(_of(v, places) for v in op.inputs))


def _reshaped(op: Op, places: Places) -> Value | None:
    found = _of(op.inputs[0], places)
    full = found is not None and found.shape == op.inputs[0].shape  # type: ignore[union-attr]
    return build.reshape(found, op.outputs[0].shape) if found is not None and full else None


def _transposed(op: Op, places: Places) -> Value | None:
    found = _of(op.inputs[0], places)
    full = found is not None and found.rank == op.inputs[0].rank  # type: ignore[union-attr]
    return build.transpose(found, op.attrs["perm"]) if found is not None and full else None


def _sliced(op: Op, places: Places) -> Value | None:
    found = _of(op.inputs[0], places)
    full = found is not None and found.shape == op.inputs[0].shape  # type: ignore[union-attr]
    return build.slice_(found, op.attrs["begin"], op.attrs["size"]) if found is not None and full else None


def _padded(op: Op, places: Places) -> Value | None:
    found, fill = _of(op.inputs[0], places), op.inputs[1] if len(op.inputs) > 1 else None
    if found is None or found.shape != op.inputs[0].shape:  # type: ignore[union-attr]
        return None
    return build.pad(found, op.attrs["pads"], fill is not None and fill.data is not None and fill.data.item() == MINUS)


FORMS: dict[str, Callable[[Op, Places], Value | None]] = {
    "ADD": _added, "SELECT_V2": _selected, "RESHAPE": _reshaped, "TRANSPOSE": _transposed, "IDENTITY": _added,
    "SLICE": _sliced, "PAD": _padded, "PADV2": _padded,
}  # fmt: skip
