"""Another extent, or a free one, for axes of the inputs, carried through the graph.

A constant that holds the old extent (the shape of a Reshape or Expand, the end of a Slice) is rewritten where it stands
for that axis, as far as inference can tell; what is left, or was wrong, is found by running the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.infer import infer
from ..model.lazy import np, onnx
from ..model.light import light
from ..model.names import fresh, names_in
from ..model.tensors import to_array
from ..model.types import dims, types
from ..model.walk import add_constant, all_constants, dead, is_function, scopes, sweep, title
from ._edit import set_shape

Extent = int | str
Dims = list[Any]
#: input slot -> values, or another tensor
Fixes = dict[int, Any]
#: symbol -> (new extent, old one, axis in the input)
Marks = Mapping[str, tuple[Extent, int | None, int]]
#: The symbol that stands for a new extent while it is followed; no model has such a name.
MARK = "__extent_{}__"
FAR = 2**63 - 1


def set_extents(model: onnx.ModelProto, wanted: Mapping[tuple[str, int], Extent], guess: bool = False) -> list[str]:
    """Give axes of graph inputs, (name, axis) -> extent, another size, in place; says what was rewritten for it.

    ``guess``: where inference never knew an extent, it may be the one that changes; for callers that compare results.

    :raises ToolError: the rest of the model contradicts the new size; the nodes where it does are named.
    """
    original = onnx.ModelProto()
    original.CopyFrom(light(model, lambda t: False)[0])
    marks: dict[str, tuple[Extent, int | None, int]] = {}
    names: dict[tuple[Extent, Extent | None], str] = {}
    for info in model.graph.input:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if (info.name, axis) not in wanted:
                continue
            old, new = dim.dim_value if dim.HasField("dim_value") else None, wanted[info.name, axis]
            mark = names.setdefault((new, old if old is not None else dim.dim_param), MARK.format(len(names)))
            marks[mark] = (new, old, axis)
            dim.dim_param = mark
    was = {n: dims(t) or [] for n, t in types(infer(original).graph).items()}
    forget(model)
    notes: list[str] = []
    while found := _round(model, marks, was, guess):
        notes += found
    _resolve(model, {m: new for m, (new, _, _) in marks.items()})
    retyped = types(infer(model, strict=True).graph)
    for info in model.graph.output:
        if info.name in retyped:
            info.type.CopyFrom(retyped[info.name])
    return notes


def forget(model: onnx.ModelProto) -> None:
    """Drop the declared extents of everything but the inputs: they are the old ones."""
    for scope in scopes(model):
        if not is_function(scope.graph):
            del scope.graph.value_info[:]
            for info in scope.graph.output:
                for dim in info.type.tensor_type.shape.dim:  # the rank stays
                    dim.ClearField("value")


def _resolve(model: onnx.ModelProto, extents: Mapping[str, Extent]) -> None:
    for info in model.graph.input:
        shape = dims(info.type) or []
        if any(d in extents for d in shape):
            set_shape(info, [extents.get(str(d), d) for d in shape])


def _round(model: onnx.ModelProto, marks: Marks, was: Mapping[str, Dims], guess: bool) -> list[str]:
    """Rewrite the constants of every node that a mark has reached; nothing is said where nothing is left to do."""
    graph, held = model.graph, all_constants(model.graph)
    shapes = {n: dims(t) for n, t in types(infer(model).graph).items()}
    unread, notes = dead(graph), []
    for node in list(graph.node):
        rule = RULES.get(node.op_type) if not node.domain and len(node.input) > 1 else None
        if rule is None or shapes.get(node.input[0]) is None:
            continue
        moves = [_moving(shapes.get(n), was.get(n), marks, guess and rule is _reshape) for n in node.input]
        site = Site(model, node, moves, shapes, was.get(node.input[0]) or [], was.get(node.output[0], []), held)
        for slot, value in rule(site).items():
            old = node.input[slot]
            text = value or "none" if isinstance(value, str) else str(value.tolist())
            said = _brief(to_array(held[old])) if old in held else old
            notes.append(f"{node.op_type} '{title(node)}': {said} -> {text}")
            node.input[slot] = value if isinstance(value, str) else _constant(model, old, value)
    if notes:
        sweep(graph, keep=unread)
    return notes


def _moving(shape: Dims | None, old: Dims | None, marks: Marks, guess: bool) -> dict[int, Any]:
    """The axes that a mark has reached, and what their extents were."""
    if shape is None:
        return {}
    pairs = zip(shape, old or [None] * len(shape), strict=True)
    found = {i: o for i, (d, o) in enumerate(pairs) if d in marks or (d is None and o)}
    for _, extent, axis in marks.values() if guess and len(marks) == 1 else ():
        if extent and axis < len(shape) and shape[axis] is None:
            found.setdefault(axis, extent)
    return found


def _brief(array: np.ndarray) -> str:
    return str(array.tolist()) if array.size <= 8 else f"{array.dtype}{list(array.shape)}"


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    made = onnx.numpy_helper.from_array(value, fresh(f"{name}_resized", names_in(model)))
    add_constant(model, model.graph, made)
    return str(made.name)


# --- rules: the input slots of a node that hold an old extent, and what is to be there: values, or another tensor -----


@dataclass
class Site:
    """A node whose inputs may have axes of another extent now: ``moves``, of each axis -> what it was.  ``shapes`` are
    those of all tensors now, ``old`` and ``result`` those of the first input and output as they were."""

    model: onnx.ModelProto
    node: onnx.NodeProto
    moves: list[dict[int, Any]]
    shapes: Mapping[str, Dims | None]
    old: Dims
    result: Dims
    held: Mapping[str, onnx.TensorProto]

    @property
    def moving(self) -> dict[int, Any]:
        return self.moves[0]

    def value(self, slot: int) -> Any:
        """A copy of a constant input; None where the input is left out or made at run time."""
        name = self.node.input[slot] if slot < len(self.node.input) else ""
        return to_array(self.held[name]).copy() if name in self.held else None


def _changed(site: Site, slot: int, value: np.ndarray) -> Fixes:
    return {} if np.array_equal(value, site.value(slot)) else {slot: value}


def _reshape(site: Site) -> Fixes:
    """The element that stands for the axis: 0 (as it is) in the same place, else -1 (what is left).  Which one it is
    follows from the products of the extents before it."""
    target, result = site.value(1), site.result
    zero = [a for a in site.node.attribute if a.name == "allowzero" and a.i]
    if target is None or (zero and 0 in target) or len(result) != target.size:
        return {}
    for axis, old in site.moving.items():
        target = _replaced(target, axis, old, site)
    changed = _changed(site, 1, target)
    for attribute in zero if changed else ():  # there was no zero: it said nothing
        site.node.attribute.remove(attribute)
    return changed


def _replaced(target: np.ndarray, axis: int, old: Any, site: Site) -> np.ndarray:
    """The target with the element that stands for one axis replaced; which one that is follows from the extents before
    it, so they have to be known."""
    result = site.result
    numbers = all(isinstance(d, int) for d in (*site.old, *result))
    before = math.prod(site.old[:axis]) if numbers else 0
    products = [math.prod(result[:j]) if numbers else 0 for j in range(len(result))]
    if axis < target.size and target[axis] == old and products[axis] == before:
        target[axis] = 0
    elif numbers and result:
        place = products.index(before) if before in products else sum(p < before for p in products) - 1
        if target[place] > 0:
            target = np.where(target == -1, result, target)
            target[place] = -1
    return target


def _expand(site: Site) -> Fixes:
    """1 in a target keeps the extent that is there."""
    target = site.value(1)
    if target is None:
        return {}
    for axis, old in site.moving.items():
        place = axis + target.size - len(site.old)
        if place >= 0 and target[place] == old:
            target[place] = 1
    return _changed(site, 1, target)


def _slice(site: Site) -> Fixes:
    """An end at the old extent means: to the end."""
    starts, ends, axes = (site.value(i) for i in (1, 2, 3))
    if starts is None or ends is None or (axes is None and len(site.node.input) > 3 and site.node.input[3]):
        return {}
    for k, axis in enumerate(np.arange(starts.size) if axes is None else axes):
        if starts[k] == 0 and site.moving.get(int(axis) % max(len(site.old), 1)) == ends[k]:
            ends[k] = FAR if ends.dtype == np.int64 else 2**31 - 1
    return _changed(site, 2, ends)


def _resize(site: Site) -> Fixes:
    """Sizes that repeat the extent of an axis take it from the input itself."""
    sizes = site.value(3)
    axes = [axis for axis, old in site.moving.items() if sizes is not None and sizes.size > axis and sizes[axis] == old]
    if axes != [0] or any(a.name == "axes" for a in site.node.attribute):
        return {}
    return {3: _with_extent(site, site.node.input[0], 0, sizes)}


def _concat(site: Site) -> Fixes:
    """What there is once, beside what there is for each sample, is repeated: the class token of a transformer."""
    along = next(onnx.helper.get_attribute_value(a) for a in site.node.attribute if a.name == "axis")
    shapes = [site.shapes.get(n) or [] for n in site.node.input]
    leaders = [
        (n, a) for n, move in zip(site.node.input, site.moves, strict=True) for a in move if a != along % len(shapes[0])
    ]
    fixes: Fixes = {}
    for slot, shape in enumerate(shapes):
        for leader, axis in leaders[:1]:
            if axis < len(shape) and shape[axis] == 1:
                target = _with_extent(site, leader, axis, np.ones(len(shape), np.int64))
                fixes[slot] = fresh(f"{site.node.input[slot]}_repeated", names_in(site.model))
                made = onnx.helper.make_node("Expand", [site.node.input[slot], target], [fixes[slot]], fixes[slot])
                _insert(site, [made])
    return fixes


def _with_extent(site: Site, source: str, axis: int, sizes: np.ndarray) -> str:
    """A tensor with these sizes, but for that of one axis, which is that of ``source`` at run time."""
    name, taken = site.node.output[0], names_in(site.model)
    shape, extent, whole = (fresh(f"{name}_{word}", taken) for word in ("shape", "extent", "sizes"))
    place = _constant(site.model, f"{name}_axis", np.array([axis]))
    ends = [
        _constant(site.model, f"{name}_rest", part) if part.size else "" for part in (sizes[:axis], sizes[axis + 1 :])
    ]
    parts = [part for part in (ends[0], extent, ends[1]) if part]
    make = onnx.helper.make_node
    _insert(
        site,
        [
            make("Shape", [source], [shape], shape),
            make("Gather", [shape, place], [extent], extent),
            make("Concat", parts, [whole], whole, axis=0),
        ],
    )
    return whole


def _insert(site: Site, nodes: Sequence[onnx.NodeProto]) -> None:
    """Nodes before that of the site."""
    place = next(i for i, n in enumerate(site.model.graph.node) if n is site.node)
    for new in reversed(nodes):
        site.model.graph.node.insert(place, new)


def _recurrent(site: Site) -> Fixes:
    """An initial state of zeros is what there is without one."""
    states = {slot: site.value(slot) for slot in (5, 6)}
    return {slot: "" for slot, state in states.items() if state is not None and site.moving and not state.any()}


RULES: dict[str, Callable[[Site], Fixes]] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Slice": _slice,
    "Resize": _resize,
    "Concat": _concat,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
}
