"""Newer operator forms to older ones: rules that rewrite one node, or refuse it with the reason.

The other direction is :mod:`.upgrade`; what only moved between attributes and inputs is in :mod:`.opsets`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx.defs import OpSchema

from .edit import GraphEdit, Tensor, arg, set_inputs, set_outputs, shape, static, value
from .opsets import INPUTS, Change, refuse, to_attributes
from .surgeon import elem_type

LOWEST = 7  # below, every operator with two operands broadcasts by attributes
FAR = 2**63 - 1
#: Operators whose form is that of the older opset, and whose meaning is not: (opset of the change, why).
MEANING = {"BatchNormalization": (7, "before 7 it has a training mode of its own")}
#: Words that an attribute takes only since some opset.
WORDS = {
    ("Pad", "mode"): {"wrap": 19},
    ("Resize", "coordinate_transformation_mode"): {"half_pixel_symmetric": 19},
    **{(op, "reduction"): {"max": 18, "min": 18} for op in ("ScatterElements", "ScatterND")},
}


def downgrade(e: GraphEdit, node: gs.Node, opset: int, wanted: int) -> None:
    """Bring a node, in place, from its form in an opset to that in an older one; new nodes are of the newest form.

    Raises ConversionError for what the older opset cannot say.
    """
    if wanted < opset:
        for since, rule in RULES.get(node.op, ()):
            if wanted < since <= opset:
                rule(e, node, wanted)
        try:
            old, new = (onnx.defs.get_schema(node.op, version, "") for version in (wanted, opset))
        except onnx.defs.SchemaError:
            refuse(node, f"opset {wanted} does not have it")
        if old.since_version != new.since_version:
            _older(e, node, opset, wanted)
            _without_new(node, old, new)
            _check_types(node, old)
    if node.op == "Resize" and wanted < 13 and any(not t.name for t in node.inputs):
        none = e.const(np.zeros(0, np.float32), f"{node.outputs[0].name}/none")  # inputs were not optional yet
        set_inputs(node, [t if t.name else none for t in node.inputs])


def _older(e: GraphEdit, node: gs.Node, opset: int, wanted: int) -> None:
    """What holds for many operators."""
    change, why = MEANING.get(node.op, (0, ""))
    if wanted < change <= opset:
        refuse(node, why)
    for name, words in WORDS.items():
        word = node.attrs.get(name[1], "") if name[0] == node.op else ""
        if wanted < words.get(word, 0):
            refuse(node, f"it has no {name[1]} {word!r} there")
    if node.op in INPUTS and wanted < INPUTS[node.op][0] <= opset:
        to_attributes(e, node, wanted)
    if node.op == "Constant" and wanted < 12 and not {"value", "sparse_value"} & set(node.attrs):
        [(name, held)] = node.attrs.items()
        dtype = {"value_float": np.float32, "value_int": np.int64}.get(name.removesuffix("s"), object)
        node.attrs = {"value": gs.Constant("value", np.asarray(held, dtype))}
    if wanted < 11:
        _from_the_front(node)


def _from_the_front(node: gs.Node) -> None:
    """Axes counted from the end came with opset 11."""
    for name in ("axis", "axes"):
        said = node.attrs.get(name)
        if said is None or np.min(said, initial=0) >= 0:
            continue
        dims = shape(node.outputs[0] if node.op == "Unsqueeze" else node.inputs[0])
        if dims is None:
            refuse(node, f"its {name} counts from the end, and the rank is not known")
        node.attrs[name] = [i % len(dims) for i in said] if isinstance(said, list) else said % len(dims)


def _without_new(node: gs.Node, old: OpSchema, new: OpSchema) -> None:
    """Without the attributes that the older form does not have, where they say what is usual."""
    for name in [name for name in node.attrs if name not in old.attributes]:
        held, default = node.attrs[name], new.attributes[name].default_value
        said = held.encode() if isinstance(held, str) else held
        usual = bool(default.ByteSize()) and onnx.helper.get_attribute_value(default) == said
        usual |= name == "noop_with_empty_axes" and bool(node.attrs.get("axes") or node.inputs[1:])
        usual |= name == "dilations" and set(held) == {1}
        if not usual:
            refuse(node, f"it has no attribute {name!r} there")
        del node.attrs[name]
    if len(node.inputs) > old.max_input:
        refuse(node, f"it takes {old.max_input} inputs there, not {len(node.inputs)}")


def _check_types(node: gs.Node, old: OpSchema) -> None:
    allowed = {c.type_param_str: c.allowed_type_strs for c in old.type_constraints}
    for i, tensor in enumerate(node.inputs):
        kind = old.inputs[min(i, len(old.inputs) - 1)].type_str
        if not tensor.name or tensor.dtype is None or kind not in allowed:
            continue
        word = onnx.TensorProto.DataType.Name(elem_type(tensor.dtype)).lower()
        if f"tensor({word})" not in allowed[kind]:
            refuse(node, f"it does not take {word} there ({tensor.name})")


# -- rules of one operator ------------------------------------------------------------------------------------------
def _cast_like(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    dtype = node.inputs[1].dtype if node.inputs[1].dtype is not None else node.outputs[0].dtype
    if dtype is None:
        refuse(node, "the type it casts to is not known")
    e.become(node, "Cast", node.inputs[:1], to=elem_type(dtype))


def _softmax(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Before 13 it worked on all axes from `axis` on: over the last axis, once that is said, the same in any opset;
    another axis is brought to the end."""
    x, y = node.inputs[0], node.outputs[0]
    dims, axis = shape(x), node.attrs.get("axis", -1)
    if not dims:
        refuse(node, "before 13 it worked on all axes from its axis on, and the rank is not known")
    last = node.attrs["axis"] = len(dims) - 1
    if axis % len(dims) == last:
        return
    swap = list(range(len(dims)))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    made = gs.Variable(e.name(f"{y.name}/made"), y.dtype)
    set_inputs(node, [e.add("Transpose", [x], node, perm=swap)])
    set_outputs(node, [made])
    e.add("Transpose", [made], node, result=y, after=True, perm=swap)


def _shape(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Shape-15 of a part: the Slice of a whole one."""
    start, end = (node.attrs.pop(name, None) for name in ("start", "end"))
    if start is None and end is None:
        return
    y = node.outputs[0]
    whole = gs.Variable(e.name(f"{y.name}/whole"), np.int64)
    set_outputs(node, [whole])
    bounds = (e.i64([start or 0], f"{y.name}/start"), e.i64([FAR if end is None else end], f"{y.name}/end"))
    e.add("Slice", [whole, *bounds], node, result=y, after=True)


def _reshape(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """A shape without a zero says the same whatever a zero means."""
    if not node.attrs.pop("allowzero", 0):
        return
    asked = value(node.inputs[1])
    if asked is None or 0 in asked:
        refuse(node, "a zero in its shape is an extent of zero ('allowzero'), which it has no word for there")


def _split(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Split-18: parts by number, of which the last may be smaller."""
    count, axis = node.attrs.pop("num_outputs", None), node.attrs.get("axis", 0)
    if count is None:
        return
    dims = shape(node.inputs[0])
    extent = None if dims is None else dims[axis]
    if not isinstance(extent, int):
        refuse(node, f"the extent of axis {axis}, of which it makes {count} parts, is not known")
    if extent % count:
        part = -(-extent // count)
        sizes = [part] * (count - 1) + [extent - part * (count - 1)]
        set_inputs(node, [node.inputs[0], e.i64(sizes, f"{node.outputs[0].name}/sizes")])


def _grid_sample(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    mode = node.attrs.get("mode", "linear")
    if len(shape(node.inputs[0]) or ()) != 4:
        refuse(node, "it takes images of two dimensions only, there")
    node.attrs["mode"] = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)


def _spread(e: GraphEdit, node: gs.Node, part: Tensor, rest: Tensor, picks: list[int]) -> Tensor:
    """A list for all axes from one for some: entries, by position, of ``part`` followed by ``rest``."""
    held = [value(part), value(rest)]
    if all(a is not None for a in held):
        return e.const(np.concatenate(held)[picks], f"{part.name}/all")  # type: ignore[arg-type]
    whole = e.add("Concat", [part, rest], node, axis=0)
    return e.add("Gather", [whole, e.i64(picks, f"{part.name}/axes")], node)


def _axes(node: gs.Node, said: Iterable[int] | None) -> tuple[list[int], int]:
    """The axes that a node's lists are about, and the rank."""
    dims = shape(node.inputs[0])
    if said is None or dims is None:
        what = "the rank" if dims is None else "the value of its axes"
        refuse(node, f"its lists are about some axes, there they are about all, and {what} is not known")
    return [int(a) % len(dims) for a in said], len(dims)


def _pad(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Pad-18: pads of some axes."""
    if arg(node, 3) is None:
        return set_inputs(node, node.inputs[:3])
    axes, rank = _axes(node, value(node.inputs[3]))
    zero = 2 * len(axes)
    side = [axes.index(i) if i in axes else zero for i in range(rank)]
    picks = [*side, *(i if i == zero else i + len(axes) for i in side)]
    pads = _spread(e, node, node.inputs[1], e.i64([0], f"{node.inputs[1].name}/zero"), picks)
    return set_inputs(node, [node.inputs[0], pads, *node.inputs[2:3]])


def _resize(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Resize-18: scales or sizes, and the region, of some axes."""
    said = node.attrs.pop("axes", None)
    if said is None:
        return
    x, (axes, rank) = node.inputs[0], _axes(node, said)
    count, name = len(axes), node.outputs[0].name
    roi, scales, sizes = (arg(node, i) for i in (1, 2, 3))
    picks = [axes.index(i) if i in axes else count + i for i in range(rank)]
    if roi is not None and node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        whole = e.const([0] * rank + [1] * rank, f"{name}/region", roi.dtype)
        side = [axes.index(i) if i in axes else 2 * count + i for i in range(rank)]
        ends = [axes.index(i) + count if i in axes else 2 * count + rank + i for i in range(rank)]
        roi = _spread(e, node, roi, whole, [*side, *ends])
    if scales is not None:
        scales = _spread(e, node, scales, e.const(np.ones(rank), f"{name}/ones", np.float32), picks)
    if sizes is not None:
        dims = static(x)
        whole = e.add("Shape", [x], node) if dims is None else e.i64(dims, f"{name}/dims")
        sizes = _spread(e, node, sizes, whole, picks)
    lists = [t if t is not None else gs.Variable.empty() for t in (roi, scales, sizes)]
    set_inputs(node, [x, *lists[: len(node.inputs) - 1]])


def _asymmetric(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Resize-11: before, the coordinates were asymmetric; nearest took the floor, and the ceiling where it shrank."""
    scales = arg(node, 2)
    mode, nearest = node.attrs.get("mode", "nearest"), node.attrs.get("nearest_mode", "round_prefer_floor")
    factors = value(scales)
    rounded = factors is not None and {"floor": (factors >= 1).all(), "ceil": (factors <= 1).all()}.get(nearest, False)
    fits = mode == "linear" or (mode == "nearest" and rounded)
    if scales is None or not fits or node.attrs.get("coordinate_transformation_mode") != "asymmetric":
        refuse(node, "before 11 coordinates are computed in another way")
    e.become(node, "Resize", [node.inputs[0], scales], mode=mode)


def _upsample(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """Resize-10 was called Upsample, which only grows."""
    factors = value(node.inputs[1])
    if factors is None or (factors < 1).any():
        refuse(node, "before 10 there is only Upsample, which does not shrink")
    e.become(node, "Upsample", node.inputs, **node.attrs)


def _scatter(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    if node.attrs.pop("reduction", "none") != "none":
        refuse(node, "it has no reduction there")
    e.become(node, "Scatter", node.inputs, **node.attrs)


def _roi_align(e: GraphEdit, node: gs.Node, wanted: int) -> None:
    """RoiAlign-16 moves by half a pixel unless told otherwise."""
    if node.attrs.pop("coordinate_transformation_mode", "half_pixel") != "output_half_pixel":
        refuse(node, "before 16 coordinates are not moved by half a pixel")


#: operator -> (opset of the change, how to undo it), newest first
RULES: dict[str, list[tuple[int, Change]]] = {
    "CastLike": [(15, _cast_like)],
    **{op: [(13, _softmax)] for op in ("Softmax", "LogSoftmax", "Hardmax")},
    "GridSample": [(20, _grid_sample)],
    "Pad": [(18, _pad)],
    "Reshape": [(14, _reshape)],
    "Resize": [(18, _resize), (11, _asymmetric), (10, _upsample)],
    "RoiAlign": [(16, _roi_align)],
    "ScatterElements": [(11, _scatter)],
    "Shape": [(15, _shape)],
    "Split": [(18, _split)],
}
#: Operators that have no definition in older ones, and a rule.
RULED = ("CastLike", "Resize", "ScatterElements")
#: Operators that an opset defined anew: what it was before is of no use.
ANEW = {"GroupNormalization": [21]}
