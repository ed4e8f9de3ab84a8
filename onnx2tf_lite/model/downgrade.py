"""To an older opset: definitions in older operators, attributes instead of inputs, and what cannot be expressed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ToolError
from .lazy import np, onnx
from .names import fresh, names_in
from .schema import operators
from .tensors import to_array
from .types import dims, dtype_word, types
from .walk import (
    Scope,
    add_constant,
    constant_value,
    constants,
    dead,
    initializers,
    is_function,
    opset_of,
    remove,
    scopes,
    sweep,
    title,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_REDUCE = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
           "ReduceLogSumExp", "ReduceSumSquare")  # fmt: skip
#: operator -> (opset since which these are inputs, {input slot: attribute before that})
ATTRIBUTES: dict[str, tuple[int, dict[int, str]]] = {
    **dict.fromkeys(_REDUCE, (18, {1: "axes"})),
    "ReduceSum": (13, {1: "axes"}),
    "Squeeze": (13, {1: "axes"}),
    "Unsqueeze": (13, {1: "axes"}),
    "Split": (13, {1: "split"}),
    "Dropout": (12, {1: "ratio", 2: ""}),
    "Clip": (11, {1: "min", 2: "max"}),
    "Pad": (11, {1: "pads", 2: "value"}),
    "Slice": (10, {1: "starts", 2: "ends", 3: "axes", 4: ""}),
    "TopK": (10, {1: "k"}),
    "Upsample": (9, {1: "scales"}),
}  # fmt: skip
SCALARS = ("ratio", "min", "max", "value", "k")
#: what an input means that the older form does not have and that changes nothing
NEUTRAL = {("Dropout", 2): 0, ("Slice", 4): 1}
#: operators whose form is that of the older opset, and whose meaning is not: (opset of the change, why)
MEANING = {
    "Resize": (11, "before 11 coordinates are computed in another way"),
    "BatchNormalization": (7, "before 7 it has a training mode of its own"),
}
LOWEST = 7  # below, every operator with two operands broadcasts by attributes
FAR = 2**63 - 1


@dataclass
class Place:
    """Where a node is, and what is known there: the constants it can read and the types of tensors."""

    model: ModelProto
    scope: Scope
    held: dict[str, Any]
    known: dict[str, Any]
    now: int
    opset: int

    def rank(self, name: str) -> int | None:
        shape = dims(self.known.get(name))
        return None if shape is None else len(shape)

    def name(self, text: str) -> str:
        return fresh(text, names_in(self.model))

    def insert(self, beside: NodeProto, node: NodeProto, behind: bool = False) -> None:
        nodes = self.scope.graph.node
        index = next(i for i, n in enumerate(nodes) if n is beside)
        nodes.insert(index + behind, node)


def downgrade(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """Rewrite, in place, what ``opset`` does not have; returns how many of each operator.

    :raises ToolError: with every node that cannot be expressed.
    """
    if opset < LOWEST:
        raise ToolError(f"-os: {opset} is below {LOWEST}, where broadcasting was something else")
    unread = dead(model.graph)
    changed = _expand(model, now, opset)
    if opset < 9:  # until then Constant had floats only
        for scope in scopes(model):
            _initialize(model, scope)
    problems = []
    for place in _places(model, opset):
        for node in [n for n in place.scope.graph.node if n.domain in ("", "ai.onnx")]:
            op = node.op_type
            try:
                changed[op] += _fit(node, place)
            except ToolError as error:
                problems.append(f"{op} '{place.scope.address(title(node))}': {error}")
    if problems:
        more = f" ... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ToolError(f"opset {now} cannot become {opset}: " + "; ".join(problems[:10]) + more)
    sweep(model.graph, keep=unread)
    return +changed


def _places(model: ModelProto, opset: int) -> list[Place]:
    from .infer import infer

    found, held = [], dict[int, dict[str, Any]]()
    for scope, inferred in zip(scopes(model), scopes(infer(model)), strict=True):
        numbers = {n.output[0]: value for n in scope.graph.node if (value := constant_value(n)) is not None}
        outer = held[id(scope.outer)] if scope.outer is not None else {}
        held[id(scope)] = outer | initializers(scope.graph) | numbers
        now = opset_of(model, scope)
        found.append(Place(model, scope, held[id(scope)], types(inferred.graph), now, min(opset, now or opset)))
    return found


def _expand(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """Put ONNX's own definitions in place of operators that are newer than ``opset``, and of those in these."""
    from onnx.inliner import inline_selected_functions

    from .light import skeleton

    since, expanded = operators(), Counter[str]()
    while found := Counter(n.op_type for s in scopes(model) for n in s.graph.node
                           if n.domain in ("", "ai.onnx") and n.op_type != "CastLike"
                           and since.get(n.op_type, [0])[0] > opset):  # fmt: skip
        copy, declared = skeleton(model), {v.name for v in model.graph.value_info}
        for tensor in model.graph.initializer:  # a definition asks for the types of all operands
            if tensor.name not in declared:
                info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
                copy.graph.value_info.append(info)
        try:
            made = inline_selected_functions(copy, [("", op) for op in found], False, True)
        except RuntimeError as error:
            said = str(error).rpartition("failed: ")[2].splitlines()[0]
            raise ToolError(f"onnx cannot write {', '.join(found)} in simpler operators: {said}") from error
        left = sorted({n.op_type for s in scopes(made) for n in s.graph.node} & set(found))
        if left:
            what = f"opset {opset} has no {', '.join(left)}, and ONNX has no definition in older operators"
            raise ToolError(f"opset {now} cannot become {opset}: {what}")
        bodies = {s.path: s.graph for s in scopes(model)}
        for scope in scopes(made):  # weights of bodies, which the copy did not have
            if not is_function(scope.graph) and scope.path in bodies:
                del scope.graph.initializer[:]
                scope.graph.initializer.extend(bodies[scope.path].initializer)
        for mine, theirs in [(model.graph, made.graph), *zip(model.functions, made.functions, strict=True)]:
            del mine.node[:]
            mine.node.extend(theirs.node)
        expanded += found
    return expanded


def _initialize(model: ModelProto, scope: Scope) -> None:
    """Constant nodes as initializers, where the graph can have some."""
    if is_function(scope.graph):
        return
    for name, tensor in constants(scope.graph).items():
        if remove(scope.graph.node, lambda n, name=name: n.op_type == "Constant" and n.output[0] == name):  # type: ignore[misc]
            own = onnx.TensorProto.FromString(tensor.SerializeToString())
            own.name = name
            add_constant(model, scope.graph, own)


def _fit(node: NodeProto, place: Place) -> bool:
    """Bring a node into the form of the older opset; True where something changed."""
    opset = place.opset
    since, rule = RULES.get(node.op_type, (0, None))
    changed = bool(rule(node, place)) if rule is not None and opset < since <= place.now else False
    try:
        old, new = (onnx.defs.get_schema(node.op_type, v, "") for v in (opset, place.now))
    except onnx.defs.SchemaError as error:
        raise ToolError(f"opset {opset} does not have it") from error
    if old.since_version == new.since_version:
        return changed
    change, why = MEANING.get(node.op_type, (0, ""))
    if opset < change <= place.now:
        raise ToolError(why)
    changed |= _attributes(node, place) or _plain(node, old)
    if opset < 11:
        changed |= _from_the_front(node, place)
    if node.op_type == "Resize" and opset < 13 and "" in node.input:
        changed |= _nothing(node, place)
    changed |= _drop_new(node, old, new)
    _check_types(node, old, place)
    return changed


def _drop_new(node: NodeProto, old: Any, new: Any) -> bool:
    """Without the attributes that the older form does not have, where they say what is usual."""
    axes = [i for a in node.attribute if a.name == "axes" for i in a.ints] or node.input[1:]
    unknown = [a for a in node.attribute if a.name not in old.attributes]
    for attribute in unknown:
        value, default = onnx.helper.get_attribute_value(attribute), new.attributes[attribute.name].default_value
        usual = bool(default.ByteSize()) and onnx.helper.get_attribute_value(default) == value
        usual |= attribute.name == "noop_with_empty_axes" and len(axes) > 0
        usual |= attribute.name == "dilations" and set(value) == {1}
        if not usual:
            raise ToolError(f"it has no attribute {attribute.name!r} there")
        node.attribute.remove(attribute)
    if len(node.input) > old.max_input:
        raise ToolError(f"it takes {old.max_input} inputs there, not {len(node.input)}")
    return bool(unknown)


def _check_types(node: NodeProto, old: Any, place: Place) -> None:
    allowed = {c.type_param_str: c.allowed_type_strs for c in old.type_constraints}
    for i, name in enumerate(node.input):
        kind = old.inputs[min(i, len(old.inputs) - 1)].type_str
        known = place.known.get(name)
        word = dtype_word(known.tensor_type.elem_type) if known is not None and name else ""
        word = {"float32": "float", "float64": "double"}.get(word, word)
        if word and kind in allowed and f"tensor({word})" not in allowed[kind]:
            raise ToolError(f"it does not take {word} there ({name})")


# --- rules for one operator ------------------------------------------------------------------------------------------


def _take(node: NodeProto, name: str) -> Any:
    """Remove an attribute; its value, None where it is not there."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            node.attribute.remove(attribute)
            return value
    return None


def _give(node: NodeProto, name: str, value: Any) -> None:
    node.attribute.append(onnx.helper.make_attribute(name, value))


def _cast_like(node: NodeProto, place: Place) -> bool:
    known = place.known.get(node.input[1]) or place.known.get(node.output[0])
    if known is None or not known.tensor_type.elem_type:
        raise ToolError("the type it casts to is not known")
    node.op_type = "Cast"
    del node.input[1:]
    _give(node, "to", known.tensor_type.elem_type)
    return True


def _softmax(node: NodeProto, place: Place) -> bool:
    """Before 13 it worked on all axes from ``axis`` on: over the last axis, once that is said, the same in any opset;
    another axis is brought to the end."""
    rank, axis = place.rank(node.input[0]), _take(node, "axis")
    axis = -1 if axis is None else axis
    if rank is None:
        raise ToolError("before 13 it worked on all axes from its axis on, and the rank is not known")
    _give(node, "axis", rank - 1)
    if axis % rank == rank - 1:
        return True
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    moved, made = (place.name(f"{node.output[0]}_{word}") for word in ("moved", "made"))
    back = onnx.helper.make_node("Transpose", [made], [node.output[0]], place.name(f"{node.output[0]}_back"), perm=swap)
    there = onnx.helper.make_node("Transpose", [node.input[0]], [moved], place.name(f"{moved}_transpose"), perm=swap)
    place.insert(node, back, behind=True)
    place.insert(node, there)
    node.input[0], node.output[0] = moved, made
    return True


def _shape(node: NodeProto, place: Place) -> bool:
    start, end = _take(node, "start"), _take(node, "end")
    if start is None and end is None:
        return False
    whole = place.name(f"{node.output[0]}_whole")
    bounds = {"starts": [start or 0], "ends": [FAR if end is None else end]}
    part = onnx.helper.make_node("Slice", [whole], [node.output[0]], place.name(f"{whole}_slice"))
    for word, value in bounds.items():
        if place.opset < 10:
            _give(part, word, value)
        else:
            part.input.append(place.name(f"{whole}_{word}"))
            tensor = onnx.numpy_helper.from_array(np.array(value, np.int64), part.input[-1])
            add_constant(place.model, place.scope.graph, tensor)
    place.insert(node, part, behind=True)
    node.output[0] = whole
    return True


def _reshape(node: NodeProto, place: Place) -> bool:
    """A shape without a zero says the same whatever a zero means."""
    if not _take(node, "allowzero"):
        return False
    if node.input[1] not in place.held or 0 in to_array(place.held[node.input[1]]):
        raise ToolError("a zero in its shape is an extent of zero ('allowzero'), which it has no word for there")
    return True


def _split(node: NodeProto, place: Place) -> bool:
    count = _take(node, "num_outputs")
    if count is None:
        return False
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    shape = dims(place.known.get(node.input[0]))
    extent = shape[axis] if shape is not None else None
    if not isinstance(extent, int):
        raise ToolError(f"the extent of axis {axis}, of which it makes {count} parts, is not known")
    if extent % count:
        part = -(-extent // count)
        sizes = np.array([part] * (count - 1) + [extent - part * (count - 1)], np.int64)
        tensor = onnx.numpy_helper.from_array(sizes, place.name(f"{node.output[0]}_sizes"))
        add_constant(place.model, place.scope.graph, tensor)
        place.held[tensor.name] = tensor
        node.input[:] = [node.input[0], tensor.name]
    return True


def _grid_sample(node: NodeProto, place: Place) -> bool:
    mode = (_take(node, "mode") or b"linear").decode()
    shape = dims(place.known.get(node.input[0]))
    if shape is None or len(shape) != 4:
        raise ToolError("it takes images of two dimensions only, there")
    _give(node, "mode", {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))
    return True


#: operator -> (opset of the change, how to undo it)
RULES: dict[str, tuple[int, Callable[[NodeProto, Place], bool]]] = {
    "CastLike": (15, _cast_like),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), (13, _softmax)),
    "Shape": (15, _shape),
    "Reshape": (14, _reshape),
    "Split": (18, _split),
    "GridSample": (20, _grid_sample),
}


# --- rules for many --------------------------------------------------------------------------------------------------


def _from_the_front(node: NodeProto, place: Place) -> bool:
    """Axes counted from the end came with opset 11."""
    found = [a for a in node.attribute if a.name in ("axis", "axes") and min([a.i, *a.ints]) < 0]
    for attribute in found:
        rank = place.rank(node.output[0] if node.op_type == "Unsqueeze" else node.input[0])
        if rank is None:
            raise ToolError(f"its {attribute.name} counts from the end, and the rank is not known")
        value = onnx.helper.get_attribute_value(attribute)
        positive = [i % rank for i in value] if isinstance(value, list) else value % rank
        attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, positive))
    return bool(found)


def _nothing(node: NodeProto, place: Place) -> bool:
    """An empty tensor for the inputs that were not optional yet."""
    name = place.name(f"{node.output[0]}_none")
    add_constant(place.model, place.scope.graph, onnx.numpy_helper.from_array(np.zeros(0, np.float32), name))
    node.input[:] = [i or name for i in node.input]
    return True


def _plain(node: NodeProto, old: Any) -> bool:
    """A Constant whose value is a number or list becomes one with a tensor."""
    value = constant_value(node)
    if node.op_type != "Constant" or node.attribute[0].name in old.attributes:
        return False
    if value is None:
        raise ToolError(f"it has no attribute {node.attribute[0].name!r} there")
    node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", value))
    return True


def _attributes(node: NodeProto, place: Place) -> bool:
    """Constant inputs that used to be attributes."""
    since, slots = ATTRIBUTES.get(node.op_type, (0, {}))
    if place.opset >= since or place.now < since:
        return False
    for slot, name in slots.items():
        if slot >= len(node.input) or not node.input[slot]:
            continue
        if node.input[slot] not in place.held:
            raise ToolError(f"its input {slot} is an attribute there, and is only known at run time")
        value = to_array(place.held[node.input[slot]])
        if name:
            _give(node, name, value.reshape(-1)[0].item() if name in SCALARS else value.tolist())
        elif np.any(value != NEUTRAL[node.op_type, slot]):
            raise ToolError(f"input {slot} has no counterpart there")
    del node.input[min(slots) :]
    return True
