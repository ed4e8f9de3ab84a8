"""To an older opset: definitions in older operators, attributes instead of inputs, and what cannot be expressed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ._files import to_array
from ._graphs import constants, dims, fresh, names_in, scopes, sweep, title, types
from ._lazy import np, onnx
from ._literals import dtype_word
from ._names import ToolError
from ._schema import operators

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from ._graphs import Scope

_REDUCE = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
           "ReduceLogSumExp", "ReduceSumSquare")  # fmt: skip
#: operator -> (opset since which these are inputs, {input slot: (attribute before that, may be a scalar's float)})
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
}  # fmt: skip
SCALARS = ("ratio", "min", "max", "value", "k")
#: what an input means that the older form does not have and that changes nothing
NEUTRAL = {("Dropout", 2): 0, ("Slice", 4): 1}
#: operators whose form is that of the older opset, and whose meaning is not: (opset of the change, why)
MEANING = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), (13, "before 13 only its last axis means the same")),
    "Resize": (11, "before 11 coordinates are computed in another way"),
    "BatchNormalization": (7, "before 7 it has a training mode of its own"),
}  # fmt: skip
LOWEST = 7  # below, every operator with two operands broadcasts by attributes


def downgrade(model: ModelProto, now: int, opset: int) -> Counter[str]:
    """Rewrite, in place, what ``opset`` does not have; returns how many of each operator.

    :raises ToolError: with every node that cannot be expressed.
    """
    if opset < LOWEST:
        raise ToolError(f"-os: {opset} is below {LOWEST}, where broadcasting was something else")
    changed = _expand(model, opset)
    problems = []
    for scope, known in zip(scopes(model), _types(model), strict=True):
        held = constants(scope.graph)
        for node in scope.graph.node:
            if node.domain not in ("", "ai.onnx"):
                continue
            try:
                changed[node.op_type] += _fit(node, scope, held, known, now, opset)
            except ToolError as error:
                problems.append(f"{node.op_type} '{scope.address(title(node))}': {error}")
    if problems:
        more = f" ... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ToolError(f"opset {now} cannot become {opset}: " + "; ".join(problems[:10]) + more)
    sweep(model.graph)
    return +changed


def _types(model: ModelProto) -> list[dict[str, Any]]:
    from ._verify import infer

    return [types(s.graph) for s in scopes(infer(model))]


def _expand(model: ModelProto, opset: int) -> Counter[str]:
    """Put ONNX's own definitions in place of operators that are newer than ``opset``."""
    since = operators()
    found = Counter(n.op_type for s in scopes(model) for n in s.graph.node
                    if n.domain in ("", "ai.onnx") and n.op_type in since and since[n.op_type][0] > opset)  # fmt: skip
    if not found:
        return found
    from onnx.inliner import inline_selected_functions

    copy, declared = onnx.ModelProto(), {v.name for v in model.graph.value_info}
    copy.CopyFrom(model)
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
        raise ToolError(f"opset {opset} has no {', '.join(left)}, and ONNX has no definition in older operators")
    del model.graph.node[:]
    model.graph.node.extend(made.graph.node)
    return found


def _fit(node: NodeProto, scope: Scope, held: dict[str, Any], known: dict[str, Any], now: int, opset: int) -> bool:
    """Bring a node into the form of ``opset``; True where something changed."""
    try:
        old, new = (onnx.defs.get_schema(node.op_type, v, "") for v in (opset, now))
    except onnx.defs.SchemaError as error:
        raise ToolError(f"opset {opset} does not have it") from error
    if old.since_version == new.since_version:
        return False
    change, why = MEANING.get(node.op_type, (0, ""))
    if opset < change <= now and not _last_axis(node, known):
        raise ToolError(why)
    changed = _attributes(node, held, opset) or _plain(node, old)
    if opset < 11:
        changed |= _from_the_front(node, known)
    if node.op_type == "Resize" and opset < 13 and "" in node.input:
        changed |= _nothing(node, scope)
    axes = [i for a in node.attribute if a.name == "axes" for i in a.ints] or node.input[1:]
    helper = onnx.helper
    for attribute in [a for a in node.attribute if a.name not in old.attributes]:
        default = new.attributes[attribute.name].default_value
        usual = default.ByteSize() and helper.get_attribute_value(default) == helper.get_attribute_value(attribute)
        if not usual and not (attribute.name == "noop_with_empty_axes" and len(axes)):
            raise ToolError(f"it has no attribute {attribute.name!r} there")
        node.attribute.remove(attribute)
        changed = True
    if len(node.input) > old.max_input:
        raise ToolError(f"it takes {old.max_input} inputs there, not {len(node.input)}")
    allowed = {c.type_param_str: c.allowed_type_strs for c in old.type_constraints}
    for i, name in enumerate(node.input):
        kind = old.inputs[min(i, len(old.inputs) - 1)].type_str
        held_type = known.get(name)
        word = dtype_word(held_type.tensor_type.elem_type) if held_type is not None and name else ""
        word = {"float32": "float", "float64": "double"}.get(word, word)
        if word and kind in allowed and f"tensor({word})" not in allowed[kind]:
            raise ToolError(f"it does not take {word} there ({name})")
    return changed


def _from_the_front(node: NodeProto, known: dict[str, Any]) -> bool:
    """Axes counted from the end came with opset 11."""
    shape = dims(known.get(node.input[0])) if node.input else None
    found = [a for a in node.attribute if a.name in ("axis", "axes") and min([a.i, *a.ints]) < 0]
    if found and shape is None:
        raise ToolError(f"its {found[0].name} counts from the end, and the rank is not known")
    for attribute in found:
        rank = len(shape or ())
        attribute.i += rank * (attribute.i < 0)
        attribute.ints[:] = [i + rank * (i < 0) for i in attribute.ints]
    return bool(found)


def _nothing(node: NodeProto, scope: Scope) -> bool:
    """An empty tensor for the inputs that were not optional yet."""
    name = fresh(f"{node.output[0]}_none", names_in(scope.graph))
    scope.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.float32), name))
    node.input[:] = [i or name for i in node.input]
    return True


def _last_axis(node: NodeProto, known: dict[str, Any]) -> bool:
    """A softmax over the last axis is the same in every opset, once the axis is said."""
    if "axis" not in onnx.defs.get_schema(node.op_type).attributes:
        return False
    shape = dims(known.get(node.input[0]))
    given = [a for a in node.attribute if a.name == "axis"]
    axis = given[0].i if given else -1
    if shape is None or axis not in (-1, len(shape) - 1):
        return False
    for attribute in given:
        node.attribute.remove(attribute)
    node.attribute.append(onnx.helper.make_attribute("axis", len(shape) - 1))
    return True


def _plain(node: NodeProto, old: Any) -> bool:
    """A Constant whose value is a number or list becomes one with a tensor."""
    if node.op_type != "Constant" or node.attribute[0].name in old.attributes:
        return False
    word = {"value_float": np.float32, "value_int": np.int64}.get(node.attribute[0].name.removesuffix("s"))
    if word is None:
        raise ToolError(f"it has no attribute {node.attribute[0].name!r} there")
    value = np.asarray(onnx.helper.get_attribute_value(node.attribute[0]), word)
    node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(value)))
    return True


def _attributes(node: NodeProto, held: dict[str, Any], opset: int) -> bool:
    """Constant inputs that used to be attributes."""
    since, slots = ATTRIBUTES.get(node.op_type, (0, {}))
    if opset >= since:
        return False
    for slot, name in slots.items():
        if slot >= len(node.input) or not node.input[slot]:
            continue
        if node.input[slot] not in held:
            raise ToolError(f"its input {slot} is an attribute there, and is only known at run time")
        value = to_array(held[node.input[slot]])
        if not name:
            if np.any(value != NEUTRAL[node.op_type, slot]):
                raise ToolError(f"input {slot} has no counterpart there")
            continue
        node.attribute.append(
            onnx.helper.make_attribute(name, value.reshape(-1)[0].item() if name in SCALARS else value.tolist())
        )
    del node.input[min(slots) :]
    return True
