"""Rank limits of kernels: neighbouring axes that an operation does not tell apart are merged by a RESHAPE, and what is
still too much for a TRANSPOSE is moved run by run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir import build, dims
from ..ir.dims import Shape
from ..ir.graph import Attrs, Op, Value
from ..ir.orders import AnyOrder, Elementwise, FullyConnected, Layout, Renamed

Runs = list[list[int]]


def collapse(op: Op, most: int | None = None) -> list[Value] | None:
    """The results of ``op`` computed at a lower rank; None where its rank is fine: for its kernel, or at ``most``.

    :raises ValueError: where the rank is too high and the axes cannot be merged.
    """
    rank = max((v.rank for v in [*op.inputs, *op.outputs] if v is not None), default=0)
    limit = op.kind.max_rank if most is None else min(most, op.kind.max_rank)
    if rank <= limit:
        return None
    if op.kind.is_view and not op.kind.permutes:  # only what lies before a chain of them matters
        op.inputs = [_source(v) for v in op.inputs if v is not None]
        return None
    method = next((m for layout, m in METHODS.items() if isinstance(op.kind.layout, layout)), None)
    results = method(op, limit) if method else None
    if results is None:
        raise ValueError(f"{op.kind.name} of rank {rank} has no TFLite kernel (at most {limit})")
    return results


def _runs(labels: Sequence[object], shape: Shape) -> Runs:
    """Neighbouring axes with equal labels; unit axes join the run before them."""
    runs: Runs = []
    last: object = None
    for axis, label in enumerate(labels):
        if runs and (label == last or (shape[axis] == 1 and label is None)):
            runs[-1].append(axis)
        else:
            runs.append([axis])
            last = label
    return runs


def _source(value: Value) -> Value:
    """What ``value`` is a reshaping of."""
    while (op := value.producer) is not None and op.kind.is_view and not op.kind.permutes:
        (source,) = op.inputs
        assert source is not None
        value = source
    return value


def _reshape(value: Value, shape: Shape) -> Value:
    return build.reshape(_source(value), shape)


def _merged(shape: Shape, runs: Runs) -> Shape:
    return tuple(dims.product([shape[a] for a in run]) for run in runs)


def _elementwise(op: Op, limit: int) -> list[Value] | None:
    """Axes are alike where the same operands broadcast."""
    shape = op.outputs[0].shape
    values = [v for v in op.inputs if v is not None]
    if any(v.rank not in (0, len(shape)) for v in values):
        values = [build.expand_rank(v, len(shape)) if v.rank else v for v in values]
    full = [v for v in values if v.rank]
    labels = [tuple(v.shape[i] == shape[i] for v in full) for i in range(len(shape))]
    runs = _runs(labels, tuple(0 for _ in shape))
    if len(runs) > limit:
        return None
    merged = [_reshape(v, _merged(v.shape, runs)) if v.rank else v for v in values]
    return [_restored(build.emit(op.kind.name, *merged, **op.attrs), op)]


def _restored(value: Value, op: Op, index: int = 0) -> Value:
    return build.reshape(value, op.outputs[index].shape)


def _transpose(op: Op, limit: int) -> list[Value] | None:
    """Axes that travel together, and unit axes, need not be told apart."""
    (x,) = op.inputs
    assert x is not None
    perm = [a for a in op.attrs["perm"] if x.shape[a] != 1]
    runs: Runs = []
    for a in perm:
        between = range(runs[-1][-1] + 1, a) if runs else range(0)
        if runs and a > runs[-1][-1] and all(x.shape[i] == 1 for i in between):
            runs[-1].append(a)
        else:
            runs.append([a])
    order = sorted(runs)
    if len(runs) > limit:
        moved = _in_steps(x, order, runs, limit)
        return None if moved is None else [_restored(moved, op)]
    small = _reshape(x, _merged(x.shape, order))
    return [_restored(build.transpose(small, [order.index(r) for r in runs]), op)]


def _in_steps(x: Value, order: Runs, wanted: Runs, limit: int) -> Value | None:
    """``x``, whose runs of axes lie in ``order``, in the ``wanted`` one: a run, with those that rightly follow it,
    moves before all that is not in place yet, until everything is.  None where such a step needs more axes."""
    now, shape = list(order), x.shape
    for first, run in enumerate(wanted):
        at = now.index(run)
        end = next((i for i in range(at, len(now)) if now[i] != wanted[first + i - at]), len(now))
        if at == first:
            continue
        before = [part for part in (now[:first], now[first:at], now[at:end], now[end:]) if part]
        after = [part for part in (now[:first], now[at:end], now[first:at], now[end:]) if part]
        if len(before) > limit:
            return None
        extents = [dims.product([shape[a] for r in part for a in r]) for part in before]
        x = build.transpose(_reshape(x, tuple(extents)), [before.index(part) for part in after])
        now = [r for part in after for r in part]
    return x


def _by_axes(op: Op, limit: int) -> list[Value] | None:
    """Operations with attributes per axis: axes that no attribute touches are merged with such neighbours."""
    layout = op.kind.layout
    assert isinstance(layout, AnyOrder)
    data = [v for i, v in enumerate(op.inputs) if v is not None and i not in layout.fixed]
    rank = data[0].rank
    if any(v.rank != rank for v in data) or layout.last > 1:
        return None
    touched = _touched(op, layout, data[0].shape)
    reduces = bool(layout.drops) and isinstance(op.attrs[layout.drops], tuple)
    labels = [("all" if reduces else i) if i in touched else None for i in range(rank)]
    runs = _runs(labels, data[0].shape)
    if len(runs) > limit:
        return None
    merged = [
        v if i in layout.fixed or v is None else _reshape(v, _merged(v.shape, runs)) for i, v in enumerate(op.inputs)
    ]
    results = build.emit_all(op.kind.name, merged, **_attributes(op, layout, runs, touched, data[0].shape))
    return [_restored(value, op, i) for i, value in enumerate(results)]


def _touched(op: Op, layout: AnyOrder, shape: Shape) -> set[int]:
    """The axes that an attribute names, or does something to."""
    touched = {len(shape) - 1} if layout.last else set()
    for name in layout.axis:
        value = op.attrs[name]
        touched |= set(value) if isinstance(value, tuple) else {value}
    for name in layout.per_axis:
        if op.attrs.get(name) is not None:
            entries = zip(op.attrs[name], shape, strict=True)
            touched |= {i for i, (entry, extent) in enumerate(entries) if entry != _whole(name, extent)}
    return touched


def _attributes(op: Op, layout: AnyOrder, runs: Runs, touched: set[int], shape: Shape) -> Attrs:
    """The attributes with one axis for every run."""
    place = {a: i for i, run in enumerate(runs) for a in run}
    attrs = dict(op.attrs)
    for name in layout.axis:
        value = attrs[name]
        attrs[name] = tuple(sorted({place[a] for a in value})) if isinstance(value, tuple) else place[value]
    for name in layout.per_axis:
        if (entries := attrs.get(name)) is not None:
            wholes = (_whole(name, extent) for extent in _merged(shape, runs))
            attrs[name] = tuple(
                entries[run[0]] if run[0] in touched else whole for run, whole in zip(runs, wholes, strict=True)
            )
    return attrs


def _whole(name: str, extent: dims.Dim) -> object:
    """The entry of a per-axis attribute that leaves an axis alone."""
    return {"begin": 0, "pads": (0, 0), "multiples": 1, "strides": 1}.get(name, extent)


def _fully_connected(op: Op, limit: int) -> list[Value] | None:
    """Rows are alike, whatever axes they lie on."""
    x, *weights = op.inputs
    assert x is not None
    rows = _reshape(x, (dims.product(x.shape[:-1]), x.shape[-1]))
    return [_restored(build.emit_all(op.kind.name, [rows, *weights], **op.attrs)[0], op)]


METHODS: dict[type[Layout], Callable[[Op, int], list[Value] | None]] = {
    Renamed: _transpose,
    Elementwise: _elementwise,
    AnyOrder: _by_axes,
    FullyConnected: _fully_connected,
}
