"""Another extent, or a free one, for axes of the inputs, carried through the graph.

A constant that holds the old extent (the shape of a Reshape or Expand, the end of a Slice) is rewritten where it stands
for that axis, as far as inference can tell; what is left, or was wrong, is found by running the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._files import to_array
from ._graphs import constants, dims, fresh, is_function, names_in, scopes, sweep, title, types
from ._lazy import np, onnx
from ._verify import infer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Extent = int | str
#: The symbol that stands for a new extent while it is followed; no model has such a name.
MARK = "__extent_{}__"
FAR = 2**63 - 1


def set_extents(model: ModelProto, wanted: Mapping[tuple[str, int], Extent]) -> list[str]:
    """Give axes of graph inputs, (name, axis) -> extent, another size, in place; says what was rewritten for it.

    :raises ToolError: the rest of the model contradicts the new size; the nodes where it does are named.
    """
    marks: dict[str, tuple[Extent, int | None]] = {}
    names: dict[tuple[Extent, Extent | None], str] = {}
    for info in model.graph.input:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if (info.name, axis) not in wanted:
                continue
            old, new = dim.dim_value if dim.HasField("dim_value") else None, wanted[info.name, axis]
            mark = names.setdefault((new, old if old is not None else dim.dim_param), MARK.format(len(names)))
            marks[mark] = (new, old)
            dim.dim_param = mark
    forget(model)
    notes: list[str] = []
    while found := _round(model, marks):
        notes += found
    _resolve(model, {m: new for m, (new, _) in marks.items()})
    retyped = types(infer(model, strict=True).graph)
    for info in model.graph.output:
        if info.name in retyped:
            info.type.CopyFrom(retyped[info.name])
    return notes


def forget(model: ModelProto) -> None:
    """Drop the declared extents of everything but the inputs: they are the old ones."""
    for scope in scopes(model):
        if not is_function(scope.graph):
            del scope.graph.value_info[:]
            for info in scope.graph.output:
                for dim in info.type.tensor_type.shape.dim:  # the rank stays
                    dim.ClearField("value")


def _resolve(model: ModelProto, extents: Mapping[str, Extent]) -> None:
    for info in model.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in extents:
                new = extents[dim.dim_param]
                dim.ClearField("value")
                if isinstance(new, int):
                    dim.dim_value = new
                else:
                    dim.dim_param = new


def _round(model: ModelProto, marks: Mapping[str, tuple[Extent, int | None]]) -> list[str]:
    """Rewrite the constants of every node that a mark has reached; nothing is said where nothing is left to do."""
    graph, known, held = model.graph, types(infer(model).graph), constants(model.graph)
    notes = []
    for node in graph.node:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or len(node.input) < 2:
            continue
        shape = dims(known.get(node.input[0]))
        if shape is None or not any(d in marks or d is None for d in shape):
            continue
        if len(marks) == 1:  # what inference lost is that axis
            shape = [next(iter(marks)) if d is None else d for d in shape]
        for slot, value in rule(node, shape, marks, held).items():
            name = fresh(f"{node.input[slot]}_resized", names_in(model))
            old = to_array(held[node.input[slot]])
            made = onnx.numpy_helper.from_array(value.astype(old.dtype), name)
            graph.initializer.append(made)
            if model.ir_version < 4:  # where every initializer is an input, too
                graph.input.append(onnx.helper.make_tensor_value_info(name, made.data_type, list(made.dims)))
            notes.append(f"{node.op_type} '{title(node)}': {old.tolist()} -> {value.tolist()}")
            node.input[slot] = name
    if notes:
        sweep(graph)
    return notes


def _reshape(node: NodeProto, shape: list[Any], marks: Mapping[str, Any], held: Mapping[str, Any]) -> dict[int, Any]:
    """An element that repeats the extent of the same axis becomes 0 (as it is); one that absorbs it becomes -1."""
    if node.input[1] not in held or any(a.name == "allowzero" and a.i for a in node.attribute):
        return {}
    target = to_array(held[node.input[1]]).copy()
    marked = [i for i, d in enumerate(shape) if d in marks]
    for i in marked:
        old = marks[shape[i]][1]
        if old is None:
            continue
        if i < target.size and target[i] == old:
            target[i] = 0
        elif -1 not in target and len(marked) == 1:
            places = [j for j, t in enumerate(target) if t > 0 and t % max(old, 1) == 0 and (old > 1 or j == 0)]
            if len(places) == 1:
                target[places[0]] = -1
    return {} if np.array_equal(target, to_array(held[node.input[1]])) else {1: target}


def _expand(node: NodeProto, shape: list[Any], marks: Mapping[str, Any], held: Mapping[str, Any]) -> dict[int, Any]:
    """1 in a target keeps the extent that is there."""
    if node.input[1] not in held:
        return {}
    target = to_array(held[node.input[1]]).copy()
    shift = target.size - len(shape)
    for i, d in enumerate(shape):
        if d in marks and i + shift >= 0 and target[i + shift] == marks[d][1]:
            target[i + shift] = 1
    return {} if np.array_equal(target, to_array(held[node.input[1]])) else {1: target}


def _slice(node: NodeProto, shape: list[Any], marks: Mapping[str, Any], held: Mapping[str, Any]) -> dict[int, Any]:
    """An end at the old extent means: to the end."""
    slots = [held.get(n) for n in node.input[1:]]
    if len(slots) < 2 or any(t is None for t in slots):
        return {}
    starts, ends, *rest = [to_array(t) for t in slots if t is not None]
    axes = rest[0] if rest else np.arange(starts.size)
    changed = ends.copy()
    for k, axis in enumerate(axes):
        d = shape[int(axis)]
        if d in marks and starts[k] == 0 and ends[k] == marks[d][1]:
            changed[k] = FAR if ends.dtype == np.int64 else 2**31 - 1
    return {} if np.array_equal(changed, ends) else {2: changed}


RULES = {"Reshape": _reshape, "Expand": _expand, "Slice": _slice}
