"""What the graph says of its inputs: the constants with which they are compared, indexed or divided, and their extents.

What ends a path of :mod:`traces` says what the values of the input are for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..figures.measure import Array
from .traces import ARITHMETIC, Axes, Trace, numbers, one_number, passed_value, traces

#: Values that an input is compared with: more than that is a table and no case distinction.
CASES = 8
#: What may lie between a constant and its reader.
CARRIERS = {"Cast", "Identity", "Unsqueeze", "DequantizeLinear"}
#: operator -> (index operand, data operand): the ids lie below the extent of the data along ``axis``.
INDEXING = {"Gather": (1, 0), "GatherElements": (1, 0), "ScatterElements": (1, 0), "GatherND": (1, 0),
            "ScatterND": (1, 0), "RoiAlign": (2, 0)}  # fmt: skip
PICTURE = {"Conv", "ConvInteger", "QLinearConv", "FusedConv", "MaxPool", "AveragePool"}
#: operator -> (operand, what a value of it must be)
DOMAINS = {"Div": (1, "nonzero"), "Mod": (1, "nonzero"), "Reciprocal": (0, "nonzero"), "Log": (0, "positive"),
           "Sqrt": (0, "positive"), "Acos": (0, "unit"), "Asin": (0, "unit"), "Atanh": (0, "unit")}  # fmt: skip
#: operator -> operand that is a length, of the axis (of operand 0) of RNN's time
LENGTHS = {"LSTM": (4, 0), "GRU": (4, 0), "RNN": (4, 0), "ReverseSequence": (1, None)}
#: Operators that go along an axis of operand 0 step by step.
RECURRENT = {"LSTM", "GRU", "RNN"}
#: operator -> operand that says sizes, numbers or steps
SIZES = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Tile": 1, "Range": 1, "TopK": 1, "Resize": 3, "Split": 1,
         "OneHot": 1, "Pad": 1, "Slice": 4, "Loop": 0, "AffineGrid": 1, "MaxUnpool": 2}  # fmt: skip
#: operator -> operand with a scale for every axis
SCALES = {"Resize": 2, "Upsample": 1}
#: Of these, what is asked for is the shape of the result.
SHAPES = {"Reshape", "Expand", "ConstantOfShape", "Resize", "MaxUnpool"}
#: operator -> operand with axes
AXES = {"CumSum": 1, "CumProd": 1, "Squeeze": 1, "Unsqueeze": 1, "ReduceSum": 1, "Slice": 3}
MANY = 1 << 30
#: ONNX element type -> what a Cast to it says; it is not defined for floats outside the range of the integer
TARGETS = {9: "mask", 2: "unsigned", 4: "unsigned", 12: "unsigned", 13: "unsigned"}
#: id of a tensor -> the input whose axes it has, and which those are
Homes = dict[int, tuple[str, Axes]]
#: a number, or an extent: an input and its axis
Term = int | tuple[str, int]
ORDERED = {"Less", "LessOrEqual", "Greater", "GreaterOrEqual"}


@dataclass
class Facts:
    """Of one input.

    ``high``: its values index a table of that many rows, from ``low``, ``distinct`` ones where to scatter to;
    ``cases``: constants
    that it is found equal to or not; ``bounds``: constants that it is compared with, and whether more of them are
    passed the larger it is; ``needs``: of "nonzero", "positive", "unsigned", "unit", "signed" (an operand of a
    division), "size", "mask" (a truth value), "picture" (it is convolved); ``limits``: (input, axis) that is as long as
    its values may be; ``steps``: (factor, offset) of what is done to it first; ``span``: what it is quantised to;
    ``extents`` that the weights have, by axis; ``exact``: the values that the declared result asks for; ``made``: the
    extents of all declared results, of which a few integers that nothing else is said of may be some; ``turns``: axes
    along which something goes step by step; ``sum``: what its values add up from.
    """

    high: int | None = None
    low: int = 0
    distinct: bool = False
    cases: list[float] = field(default_factory=list)
    bounds: list[tuple[float, bool]] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)
    limits: list[tuple[str, int]] = field(default_factory=list)
    steps: list[tuple[float, float]] = field(default_factory=list)
    span: tuple[float, float] | None = None
    extents: dict[int, int] = field(default_factory=dict)
    exact: tuple[float, ...] = ()
    made: tuple[int, ...] = ()
    turns: set[int] = field(default_factory=set)
    sum: tuple[Term, ...] = ()


def facts(graph: gs.Graph) -> dict[str, Facts]:
    """By the name of the input."""
    followed = {t.name: list(traces(t)) for t in graph.inputs}
    homes = {id(t.tensor): (name, t.axes) for name, found in followed.items() for t in found if t.axes}
    result = {}
    for name, found in followed.items():
        result[name] = Facts()
        for trace in found:
            for node in trace.tensor.outputs:
                _learn(result[name], trace, node, homes)
    made = tuple(sorted({d for t in graph.outputs for d in t.shape or () if isinstance(d, int) and d > 0}))
    for tensor in graph.inputs:
        own = result[tensor.name]
        if (
            tensor.shape
            and len(tensor.shape) == 1
            and isinstance(tensor.shape[0], int)
            and own == Facts(needs=own.needs & {"size"})
        ):
            own.made = made
    return result


# ----------------------------------------------------------------------------------------------- what a node says


def _learn(found: Facts, trace: Trace, node: gs.Node, homes: Homes) -> None:
    """Everything that one reader says of the input."""
    slots = [i for i, t in enumerate(node.inputs) if t is trace.tensor]
    if trace.axes is not None:
        for slot in slots:
            _extents(found, trace, node, slot)
            _turns(found, trace.axes, node, slot)
        if node.op in PICTURE:
            found.needs.add("picture")
    if trace.factor is None:
        return
    if node.domain:
        _tokens(found, trace, node, slots, homes)
        return
    for slot in slots:
        _index(found, trace, node, slot)
        _compare(found, trace, node, slot)
        if DOMAINS.get(node.op, (None, ""))[0] == slot:
            found.needs.add(DOMAINS[node.op][1])
        if node.op in ("Div", "Mod"):
            found.needs.add("signed")
        if slot in (SIZES.get(node.op), SCALES.get(node.op)) or (node.op == "Col2Im" and slot):
            found.needs.add("size")
            _asked(found, trace, node, slot)
        if node.op == "Squeeze" and slot == 1:
            _asked(found, trace, node, slot)
        if AXES.get(node.op) == slot and (shape := (node.outputs if node.op == "Unsqueeze" else node.inputs)[0].shape):
            found.high, found.distinct = min(found.high or MANY, len(shape)), True
        if node.op in ("Where", "If", "Not", "And", "Or", "Xor") and slot == 0:
            found.needs.add("mask")
        if node.op == "Cast" and node.attrs.get("to") in TARGETS:
            found.needs.add(TARGETS[node.attrs["to"]])
        if LENGTHS.get(node.op, (None,))[0] == slot:
            _length(found, node, homes)
    if node.op == "QuantizeLinear" and slots == [0]:
        _quantised(found, trace, node)
    if node.op in ("Mul", "Div", "Sub") and slots == [0]:
        passed = passed_value(trace, node)
        if passed:
            found.steps.append(passed)


def _fixed(tensor: gs.Tensor, axis: int) -> int | None:
    """An extent, where it is known."""
    extent = tensor.shape[axis] if tensor.shape and len(tensor.shape) > axis else None
    return extent if isinstance(extent, int) else None


def _tokens(found: Facts, trace: Trace, node: gs.Node, slots: Sequence[int], homes: Homes) -> None:
    """GroupQueryAttention: the places of the last tokens, of which the new ones are before; how many there are; how
    many of the new ones (of a padded chunk) count."""
    if node.op != "GroupQueryAttention" or len(node.inputs) < 7:
        return
    terms = _term(homes, node.inputs[0], 1), _term(homes, node.inputs[3], 2)
    if len(node.inputs) > 16 and node.inputs[16].name:
        steps, rows = map(_number, terms)
        if 6 in slots and not rows:
            _extent_of(found, homes, node.inputs[3], 2)
        _chunk(found, trace, slots, steps, rows or 0)
    elif trace.factor == 1 and {5, 6} & {*slots}:
        _counted(found, trace, 5 in slots, terms, one_number(node.inputs[6]))


def _counted(
    found: Facts, trace: Trace, place: bool, terms: tuple[Term | None, Term | None], said: float | None
) -> None:
    """Of new tokens that all count, by the extents of these and of the cache: how many tokens there are (``said``: by
    the model), or the ``place`` of the last one."""
    steps, rows = map(_number, terms)
    if said is None and (steps is None or rows is None):
        if None not in terms:
            found.sum = *(t for t in terms if t is not None), int(trace.solve(-place))
    elif steps is None or rows is None:
        total = int(trace.solve(said or 0))
        found.low, found.high = (total - 1, total) if place else (found.low, found.high)
    elif place:
        total = steps + rows if said is None else int(said)
        least = steps - 1 if total > steps else 0
        found.low, found.high = int(trace.solve(least)), int(trace.solve(total))
    else:
        found.exact = (steps + rows,)


def _number(term: Term | None) -> int | None:
    return term if isinstance(term, int) else None


def _term(homes: Homes, tensor: gs.Tensor, axis: int) -> Term | None:
    """An extent of a tensor, 0 where there is none; None where nobody knows it."""
    if not tensor.name or (known := _fixed(tensor, axis)) is not None:
        return known if tensor.name else 0
    name, axes = homes.get(id(tensor), ("", ()))
    own = axes[axis] if axis < len(axes) else None
    return None if own is None else (name, own)


def _chunk(found: Facts, trace: Trace, slots: Sequence[int], steps: int | None, rows: int) -> None:
    """The lengths of a padded chunk: behind what the ``rows`` of the cache hold already there is room for all new
    tokens, for padding too.  Where nobody says how many these are, one counts, and it is the first of all."""
    known = steps is not None and 0 < steps <= rows
    last = (steps - 1, max(rows - steps, steps)) if known and steps else (0, 1)
    count = (max(2 * steps - rows, 0), steps + 1) if known and steps else (1, 2)
    if 5 in slots and trace.factor == 1:
        found.low, found.high = (int(trace.solve(end)) for end in last)
    if 6 in slots and rows:
        found.exact = (rows,)
    if 16 in slots:
        found.low, found.high = count


def _index(found: Facts, trace: Trace, node: gs.Node, slot: int) -> None:
    index, data = INDEXING.get(node.op, (None, None))
    if index is not None and slot == index:
        shape, axis = node.inputs[data].shape or (), node.attrs.get("axis", 0)
        rows = trace.tensor.shape[-1] if trace.tensor.shape else 0
        found.distinct |= node.op.startswith("Scatter")
        lengths = slice(rows if isinstance(rows, int) else 0) if "ND" in node.op else slice(axis, axis + 1 or None)
        tops = list(shape[lengths])
    elif node.op == "MaxUnpool" and slot == 1:
        found.distinct, tops = True, [_unpooled(node)]
    else:
        depth = one_number(node.inputs[1]) if node.op == "OneHot" and slot == 0 else None
        tops = [] if depth is None else [int(depth)]
    for top in (t for t in tops if isinstance(t, int)):
        high = max(1, math.ceil(trace.solve(top))) if trace.factor and trace.factor > 0 else top
        found.high = high if found.high is None else min(found.high, high)


def _unpooled(node: gs.Node) -> int | None:
    """Elements of what a MaxUnpool [N,C,...] makes, without its ``output_shape``; None where these are free."""
    shape, kernel = node.inputs[0].shape, node.attrs["kernel_shape"]
    if not shape or not all(isinstance(d, int) for d in shape):
        return None
    strides, pads = node.attrs.get("strides") or [1] * len(kernel), node.attrs.get("pads") or [0] * 2 * len(kernel)
    sides = zip(shape[2:], strides, kernel, pads, pads[len(kernel) :], strict=False)
    return int(math.prod([*shape[:2], *((d - 1) * s + k - before - after for d, s, k, before, after in sides)]))


def _compare(found: Facts, trace: Trace, node: gs.Node, slot: int) -> None:
    if node.op not in ORDERED and node.op != "Equal":
        return
    constants = numbers(node.inputs[1 - slot])
    if constants is None or not constants.size or not trace.factor:
        return
    values = sorted({trace.solve(float(c)) for c in constants.ravel() if math.isfinite(c)})
    if node.op == "Equal":
        found.cases += values if len(values) <= CASES else ()
        if len(values) > CASES and values == list(range(len(values))):  # one-hot by comparison
            found.high = min(found.high or len(values), len(values))
    elif values:
        larger = node.op.startswith("Greater") == (slot == 0)
        rising = larger == (trace.factor > 0)
        found.bounds.append((values[-1 - len(values) // 4] if rising else values[len(values) // 4], rising))


def _asked(found: Facts, trace: Trace, node: gs.Node, slot: int) -> None:
    """The sizes that an operator is told to make, where the model declares its results."""
    shapes = [t.shape for t in node.outputs if t.shape and all(isinstance(d, int) for d in t.shape)]
    if (trace.factor, trace.offset) != (1, 0) or not shapes:
        return
    axis, given = node.attrs.get("axis", 0 if node.op == "Split" else -1), node.inputs[0].shape
    known = bool(given) and all(isinstance(d, int) and d for d in given)
    if SCALES.get(node.op) == slot and known:
        found.exact = tuple(new / old for new, old in zip(shapes[0], given, strict=True))
    elif node.op == "Pad" and known:
        more = [new - old for new, old in zip(shapes[0], given, strict=True)]
        found.exact = (*(m // 2 for m in more), *(m - m // 2 for m in more))
    elif node.op in SHAPES:
        found.exact = tuple(shapes[0])
    elif node.op == "AffineGrid":  # asks for [N,C,...]; its result has the coordinates instead of channels, and last
        batch, *space, _ = shapes[0]
        found.exact = (batch, 1, *space)
    elif node.op == "Squeeze" and known:
        found.exact = _squeezed(given, shapes[0])
    elif node.op == "Col2Im" and known:
        found.exact = shapes[0][2:] if slot == 1 else _block(node, given, shapes[0])
    elif node.op in ("TopK", "OneHot"):
        found.exact = (shapes[0][axis],)
    elif node.op == "Split" and len(shapes) == len(node.outputs):
        found.exact = tuple(s[axis] for s in shapes)


def _squeezed(given: Sequence[int], made: Sequence[int]) -> tuple[int, ...]:
    """The axes of extent 1 without which a shape becomes the other; none where there are no such."""
    ones = [i for i, d in enumerate(given) if d == 1]
    for axes in combinations(ones, max(len(given) - len(made), 0)):
        if [d for i, d in enumerate(given) if i not in axes] == list(made):
            return axes
    return ()


def _block(node: gs.Node, columns: Sequence[int], image: Sequence[int]) -> tuple[int, ...]:
    """The window of a Col2Im that makes [N,C * window,places] columns of an [N,C,...] image; none where none does."""
    space, places = image[2:], columns[2]
    pads, rank = node.attrs.get("pads") or [0] * 2 * len(space), len(space)
    strides, holes = (node.attrs.get(name) or [1] * rank for name in ("strides", "dilations"))
    size = columns[1] // image[1]
    for block in product(*(range(1, min(size, d) + 1) for d in space)):
        fits = zip(space, pads[:rank], pads[rank:], holes, block, strides, strict=True)
        if (
            math.prod(block) == size
            and math.prod(
                (d + before + after - hole * (extent - 1) - 1) // stride + 1
                for d, before, after, hole, extent, stride in fits
            )
            == places
        ):
            return block
    return ()


def _length(found: Facts, node: gs.Node, homes: Homes) -> None:
    fixed = LENGTHS[node.op][1]
    _extent_of(found, homes, node.inputs[0], node.attrs.get("time_axis", 0) if fixed is None else fixed)


def _extent_of(found: Facts, homes: Homes, tensor: gs.Tensor, axis: int) -> None:
    """Values are no more than an extent of an input."""
    name, axes = homes.get(id(tensor), ("", None))
    if axes and axis < len(axes) and (own := axes[axis]) is not None:
        found.limits.append((name, own))


def _turns(found: Facts, axes: Axes, node: gs.Node, slot: int) -> None:
    axis: int | None = node.attrs.get("layout", 0) if node.op in RECURRENT and slot == 0 else None
    if node.op == "Scan" and "num_scan_inputs" in node.attrs:
        scanned = slot - (len(node.inputs) - node.attrs["num_scan_inputs"])
        along = node.attrs.get("scan_input_axes") or [0] * node.attrs["num_scan_inputs"]
        axis = along[scanned] if scanned >= 0 else None
    if axis is not None and -len(axes) <= axis < len(axes) and (own := axes[axis]) is not None:
        found.turns.add(own)


def _quantised(found: Facts, trace: Trace, node: gs.Node) -> None:
    scale = one_number(node.inputs[1])
    held = node.inputs[2] if len(node.inputs) > 2 else None
    zero = one_number(held) if held is not None else 0.0
    kind = np.dtype(held.dtype) if isinstance(held, gs.Constant) else np.dtype(np.uint8)
    if scale is None or zero is None or not trace.factor or kind.kind not in "iu":
        return
    info = np.iinfo(kind)
    ends = sorted(trace.solve(scale * (end - zero)) for end in (info.min, info.max))
    found.span = ends[0], ends[1]


# ----------------------------------------------------------------------------------------------- extents

#: operator -> (operand, its axis, operand with weights, axis of these); -1 counts from the end
WEIGHTS: dict[str, list[tuple[int, int, int, int]]] = {
    "ConvTranspose": [(0, 1, 1, 0)],
    "MatMul": [(0, -1, 1, -2), (1, -2, 0, -1)],
    "MatMulInteger": [(0, -1, 1, -2), (1, -2, 0, -1)],
    "QLinearMatMul": [(0, -1, 3, -2)],
    "BatchNormalization": [(0, 1, 1, 0)],
    "InstanceNormalization": [(0, 1, 1, 0)],
    "LayerNormalization": [(0, -1, 1, -1)],
    "LSTM": [(0, 2, 1, 2), (5, 2, 2, 2), (6, 2, 2, 2)],
    "GRU": [(0, 2, 1, 2), (5, 2, 2, 2)],
    "RNN": [(0, 2, 1, 2), (5, 2, 2, 2)],
}
GROUPED = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}


def _extents(found: Facts, trace: Trace, node: gs.Node, slot: int) -> None:
    """Extents that the operator can only have as its weights have them."""
    axes = trace.axes or ()

    def say(axis: int, extent: int | None) -> None:
        if extent is not None and -len(axes) <= axis < len(axes) and (own := axes[axis]) is not None:
            found.extents.setdefault(own, int(extent))

    if node.op in GROUPED and slot == 0:
        channels = _weight_extent(node, GROUPED[node.op], 1)
        say(1, None if channels is None else channels * int(node.attrs.get("group", 1)))
    for operand, axis, weights, of in WEIGHTS.get(node.op, ()):
        if operand == slot:
            say(axis, _weight_extent(node, weights, of))
    if node.op == "Gemm" and slot < 2:
        turned = [bool(node.attrs.get(k, 0)) for k in ("transA", "transB")]
        if slot == 0:
            say(-2 if turned[0] else -1, _weight_extent(node, 1, 1 if turned[1] else 0))
    if node.op in ARITHMETIC | {"PRelu"} and isinstance(other := node.inputs[1 - slot], gs.Constant):
        for back, extent in enumerate(reversed(other.shape), start=1):
            if extent > 1:
                say(-back, extent)
    if node.op == "Reshape" and slot == 0:
        _reshaped(axes, trace.tensor.shape, numbers(node.inputs[1]), say)


def _reshaped(axes: Axes, shape: Sequence[Any] | None, target: Array | None, say: Callable[..., None]) -> None:
    """One free axis of a tensor that becomes one of fixed size (0 copies an axis)."""
    if target is None or shape is None or len(shape) != len(axes) or (target < 0).any():
        return
    copied = {i for i, d in enumerate(target) if d == 0}
    rest = [(i, d) for i, d in enumerate(shape) if i not in copied]
    free = [i for i, d in rest if not isinstance(d, int)]
    known = math.prod(d for _, d in rest if isinstance(d, int))
    size = math.prod(int(d) for d in target if d)
    if len(free) == 1 and known and size % known == 0:
        say(free[0], size // known)


def _weight_extent(node: gs.Node, operand: int, axis: int) -> int | None:
    """Of a constant, or of one that is dequantised first."""
    tensor = node.inputs[operand] if operand < len(node.inputs) else None
    while tensor is not None and not isinstance(tensor, gs.Constant):
        source = tensor.inputs[0] if tensor.inputs else None
        tensor = source.inputs[0] if source is not None and source.op in CARRIERS else None
    if tensor is None or not -len(tensor.shape) <= axis < len(tensor.shape):
        return None
    return int(tensor.shape[axis])
