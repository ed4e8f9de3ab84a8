"""Channels of a tensor with ranges alike: what is large in one channel makes the steps of all others coarse.

A linear operation can make its results smaller by a factor for each channel, and the linear ones that read them can
take that back (cross-layer equalisation, Nagel et al. 2019).  Between the two may be what scales with its operand: a
ReLU, means over places, zeros around, and products with what is not scaled.  Other functions are given the numbers as
they were, by a product with a vector: x * sigmoid(x) is s times x' * sigmoid(s x'), where x = s x'.  All of it is exact
on real numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..ir import build as b
from ..ir import rewrite
from ..ir.graph import Graph, Op, Value, constant
from ..ir.kinds import KINDS
from ..ir.traits import Int8
from .flat import SILU
from .runner import ProgramRunner
from .scales import TINY

Feeds = Mapping[str, np.ndarray]
FREE = (None, "RELU")  # fused activations that scale with their operand
LEVELS = 255  # of which factors are multiples, so that the product with them has exact constants of 8 bits
LEAST = 1 / 64
WORTH = 0.7  # mean of the shares, above which channels are alike enough
ROLES = ("linear", "restored", "composed")  # of operations in a region
SIXTH = 1 / 6  # what HARD_SWISH is less than x * relu6(x + 3)


@dataclass
class Region:
    """Tensors that are scaled together.

    ``source``    the linear operation that makes the first of them
    ``tensors``   by tensor what it is less than its scaled form besides: it is ``factor * share * scaled``
    ``restored``  operations that are given the numbers as they were, ``composed`` those that are taken apart for it
    ``linear``    operations that take the factor back
    """

    source: Op
    tensors: dict[Value, float] = field(default_factory=dict)
    restored: list[Op] = field(default_factory=list)
    composed: list[Op] = field(default_factory=list)
    linear: list[Op] = field(default_factory=list)

    @property
    def channels(self) -> object:
        """Their number."""
        return self.source.outputs[0].shape[-1]

    def adds(self, value: Value, share: float) -> bool:
        """Take a tensor in; False where it has other channels."""
        fits = value.shape[-1] == self.channels and value.dtype == np.float32
        if fits:
            self.tensors[value] = share
        return fits


def regions(graph: Graph) -> list[Region]:
    """What can be scaled; a linear operation ends one and begins another, and no tensor is scaled twice."""
    readers = graph.consumers()
    found = [_grown(graph, op, readers) for op in graph.ops if _can_be_scaled(op)]
    chosen: list[Region] = []
    taken = set[Value]()
    for region in found:
        if region is not None and taken.isdisjoint(region.tensors):
            chosen.append(region)
            taken.update(region.tensors)
    return chosen


def _can_be_scaled(op: Op) -> bool:
    form = op.kind.weights
    if form is None or form.scatters or op.attrs.get("activation") not in FREE or op.outputs[0].dtype != np.float32:
        return False
    shape = op.outputs[0].shape
    return len(shape) > 1 and all(v is None or v.data is not None for v in op.inputs[1:]) and isinstance(shape[-1], int)


def _grown(graph: Graph, source: Op, readers: Mapping[Value, list[Op]]) -> Region | None:
    region = Region(source)
    region.adds(source.outputs[0], 1.0)
    queue = [source.outputs[0]]
    for value in queue:
        if value in graph.outputs:
            return None
        for reader in readers.get(value, ()):
            follow = _linear if reader.kind.weights is not None else FOLLOW.get(reader.kind.name)
            if follow is None or not follow(region, reader, value):
                return None
            queue += [v for v in reader.outputs if v in region.tensors and v not in queue]
    products = [op for v in region.tensors for op in readers.get(v, ()) if op.is_a("MUL")]
    twice = any(sum(v in region.tensors for v in op.inputs) > 1 for op in products)
    return None if twice or not region.linear else region


def _linear(region: Region, op: Op, value: Value) -> bool:
    """It has a weight for each channel, and for those of no group."""
    form, weights = op.kind.weights, op.inputs[1]
    if form is None or form.scatters or weights is None or weights.data is None or op.inputs[0] is not value:
        return False
    region.linear.append(op)
    alone = form.inputs is None and op.attrs.get("multiplier") == 1
    return alone or (form.inputs is not None and weights.shape[form.inputs] == region.channels)


def _product(region: Region, op: Op, value: Value) -> bool:
    free = op.attrs.get("activation") in FREE and op.inputs[0] is not op.inputs[1]
    return free and region.adds(op.outputs[0], region.tensors[value])


def _mean(region: Region, op: Op, value: Value) -> bool:
    return value.rank - 1 not in op.attrs["axes"] and region.adds(op.outputs[0], region.tensors[value])


def _padded(region: Region, op: Op, value: Value) -> bool:
    fill = op.inputs[1] if op.kind.int8 is Int8.PADS and len(op.inputs) > 1 else None
    zero = fill is None or (fill.data is not None and not fill.data.any())
    return zero and region.adds(op.outputs[0], region.tensors[value])


def _restored(region: Region, op: Op, value: Value) -> bool:
    region.restored.append(op)
    return True


def _composed(region: Region, op: Op, value: Value) -> bool:
    region.composed.append(op)
    return region.adds(op.outputs[0], region.tensors[value] * SIXTH)


#: What goes on behind a scaled tensor, by its reader; whatever is not here ends the attempt.
FOLLOW: dict[str, Callable[[Region, Op, Value], bool]] = {
    "MUL": _product,
    "MEAN": _mean,
    "PAD": _padded,
    "LOGISTIC": _restored,
    "HARD_SWISH": _composed,
}


def factors(graph: Graph, found: Sequence[Region], samples: Iterable[Feeds]) -> dict[str, np.ndarray]:
    """The factor of each channel, by the name of the source's result; only where ranges are not alike as it is.

    It is the root of the channel's share of the largest range.  All of it would make the weights that take it back as
    unequal as the channels are, and leave no channel room for what calibration has not seen.
    """
    runner = ProgramRunner(graph)
    largest: dict[str, np.ndarray] = {}
    for feeds in samples:
        runner.run(feeds)
        for region in found:
            value = region.source.outputs[0]
            seen = runner.read(value)
            seen = seen.reshape(-1, seen.shape[-1])
            low = np.maximum(seen.min(0), SILU[0]) if region.composed or region.restored else seen.min(0)
            largest[value.name] = np.maximum(largest.get(value.name, 0.0), np.maximum(seen.max(0), -low))
    shares = {name: np.maximum(reach / max(reach.max(), TINY), LEAST) for name, reach in largest.items()}
    unlike = {name: np.sqrt(share) for name, share in shares.items() if share.mean() < WORTH}
    return {name: (np.ceil(LEVELS * root) / LEVELS).astype(np.float32) for name, root in unlike.items()}


def equalise(graph: Graph, known: Mapping[str, np.ndarray]) -> int:
    """Scale the tensors of the regions whose factors are known, in place; how many regions."""
    chosen = [region for region in regions(graph) if region.source.outputs[0].name in known]
    factor = {v: known[r.source.outputs[0].name] * np.float32(share) for r in chosen for v, share in r.tensors.items()}
    sources = {r.source for r in chosen}
    linear, restored, composed = ({op for r in chosen for op in getattr(r, role)} for role in ROLES)
    for op in rewrite.walk(graph):
        given = op.inputs[0] if op.inputs else None
        if given is not None and op in linear:
            _scale_inputs(op, factor[given])
        if op in sources:
            _scale_results(op, factor[op.outputs[0]])
        if given is not None and op in restored:
            op.inputs[0] = b.mul(given, factor[given])
        if given is not None and op in composed:
            gate = b.emit("ADD", b.mul(given, factor[given]), b.lift(np.float32(3)), activation="RELU6")
            op = Op(KINDS["MUL"], [given, gate], op.outputs, {"activation": None}, op.origin)
            op.outputs[0].producer = op
        graph.ops.append(op)
    for name, place in graph.placements.items():
        if place.value in factor:
            graph.placements[name] = replace(place, factor=tuple(map(float, factor[place.value])))
    return len(chosen)


def _scale_inputs(op: Op, factor: np.ndarray) -> None:
    form = op.kind.weights
    assert form is not None
    _scale(op, 1, form.outputs if form.inputs is None else form.inputs, factor)


def _scale_results(op: Op, factor: np.ndarray) -> None:
    assert op.kind.weights is not None
    _scale(op, 1, op.kind.weights.outputs, 1 / factor)
    if len(op.inputs) > 2 and op.inputs[2] is not None:
        _scale(op, 2, 0, 1 / factor)


def _scale(op: Op, place: int, axis: int, factor: np.ndarray) -> None:
    value = op.inputs[place]
    assert value is not None and value.data is not None
    shape = [-1 if i == axis else 1 for i in range(value.rank)]
    op.inputs[place] = constant((value.data * factor.reshape(shape)).astype(np.float32), name=value.name)
