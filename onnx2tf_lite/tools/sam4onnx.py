"""Change attributes of nodes, the values of constants, and declared output shapes.

Attributes get the type that the operator's definition asks for, whatever dtype is said.  A constant that several nodes
read is changed for the named node only; the others keep the old one.

examples:
  sam4onnx -if m.onnx -of o.onnx -on Conv_0 -a strides int64 [2,2] -da dilations
  sam4onnx -if m.onnx -of o.onnx -on nms -ic max_output_boxes_per_class int64 [20]
  sam4onnx -if m.onnx -of o.onnx --set gemm0.alpha=0.5 'reshape_shape=[1,-1]'
  sam4onnx -if m.onnx -of o.onnx --set '/layers.*/Dropout.seed=0' --unset conv0.auto_pad
  sam4onnx -if m.onnx -of o.onnx --set weights=@weights.npy if0/then_branch:k=[1.0,2.0]     in a body
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from ..commands import command, option, repeated
from ..errors import ToolError, unknown
from ..model import walk
from ..model.lazy import np, onnx
from ..model.names import known, names_in, node_named
from ..model.tensors import to_array
from ..model.types import dims, dtype_word, types
from ._edit import Edit, edit, set_shape
from ._options import ATTRIBUTE_FORM, ATTRIBUTES, COMMON, CONSTANT_FORM, CONSTANTS, INPUT, OUTPUT, named
from ._schema import attribute
from ._values import Value, Values, literal, shape, tensor

Shape = Sequence[int | str]
#: By name, or in pairs of a name and a shape.
Shapes = Mapping[str, Shape] | Sequence[tuple[str, Shape]]


@edit("MODEL OUTPUT GRAPH * QUIET")
def modify(
    job: Edit,
    op_name: str = "",
    attributes: Values | None = None,
    delete_attributes: Sequence[str] | None = None,
    input_constants: Values | None = None,
    output_shapes: Shapes | None = None,
    *,
    assign: Sequence[str] = (),
    unset: Sequence[str] = (),
) -> onnx.ModelProto:
    """Change attributes, constants and declared shapes; returns the new model."""
    if (attributes or delete_attributes) and not op_name:
        raise ToolError("-a, -da: which node? give -on")
    nodes = job.match("node", [op_name], "-on") if op_name else []
    for scope, name in nodes:
        for key, value in (attributes or {}).items():
            _set(job, scope, node_named(scope, name), key, value)
        for key in delete_attributes or ():
            _delete(job, scope, node_named(scope, name), key, "-da")
    for name, value in (input_constants or {}).items():
        _constant(job, name, value, nodes, "-ic")
    for text in assign:
        _assign(job, text)
    for text in unset:
        pattern, _, key = text.rpartition(".")
        for scope, name in job.match("node", [pattern], "--unset"):
            _delete(job, scope, node_named(scope, name), key, "--unset")
    shapes = dict(output_shapes or {})
    for name, dims_ in shapes.items():
        _declare(job, name, list(dims_))
    job.rewired()
    for name, dims_ in shapes.items():
        _agrees(job, name, list(dims_))
    return job.model


def _assign(job: Edit, text: str) -> None:
    """``constant=value`` where there is such a constant, else ``node.attribute=value``."""
    left, equals, value = text.partition("=")
    if not equals:
        raise ToolError(f"--set: {text!r} is not NODE.ATTRIBUTE=VALUE or CONSTANT=VALUE", text)
    _plain(job.model, left)
    pattern, dot, key = left.rpartition(".")
    held = {s.address(n) for s, n in known(job.model, "constant")} | {n for _, n in known(job.model, "constant")}
    if left in held or not dot:
        _constant(job, left, value, [], "--set")
        return
    for scope, name in job.match("node", [pattern], "--set"):
        _set(job, scope, node_named(scope, name), key, value)


def _text(node: onnx.NodeProto, key: str) -> str:
    found = [a for a in node.attribute if a.name == key]
    return str(onnx.helper.printable_attribute(found[0])).partition(" = ")[2] if found else "unset"


def _set(job: Edit, scope: walk.Scope, node: onnx.NodeProto, key: str, value: Value) -> None:
    said, word = value if isinstance(value, tuple) and len(value) == 2 else (value, "")
    old = _text(node, key)
    made = attribute(node.op_type, key, said, walk.opset_of(job.model, scope, node.domain), node.domain, word)
    for own in [a for a in node.attribute if a.name == key]:
        node.attribute.remove(own)
    node.attribute.append(made)
    job.log.info(f"{scope.address(node.name)}.{key}: {old} -> {_text(node, key)}")


def _delete(job: Edit, scope: walk.Scope, node: onnx.NodeProto, key: str, flag: str) -> None:
    found = [a for a in node.attribute if a.name == key]
    if not found:
        raise unknown(flag, f"attribute of {node.name!r}", key, [a.name for a in node.attribute])
    job.log.info(f"{scope.address(node.name)}.{key}: {_text(node, key)} -> unset")
    node.attribute.remove(found[0])


def _constant(job: Edit, name: str, value: Value, nodes: Sequence[tuple[walk.Scope, str]], flag: str) -> None:
    """New contents, for all readers or only for the named nodes."""
    _plain(job.model, name)
    place = job.find("constant", name, flag)
    if place is None:
        return
    scope, found = place
    tensor = walk.constants(scope.graph)[found]
    old, made = to_array(tensor), _made(tensor, value)
    made.name = tensor.name
    chosen, readers = [node_named(s, n) for s, n in nodes], _readers(job.model, scope, found)
    mine = [r for r in readers if any(r is c for c in chosen)]
    if chosen and not mine:
        raise ToolError(f"{flag}: {', '.join(n for _, n in nodes)} does not read {found!r}", found)
    if mine and (len(mine) < len(readers) or found in walk.outputs(scope.graph)):
        _own_copy(job, scope, made, mine)
    else:
        tensor.CopyFrom(made)
        for info in () if walk.is_function(scope.graph) else (v for v in scope.graph.input if v.name == found):
            info.type.CopyFrom(onnx.helper.make_tensor_type_proto(made.data_type, list(made.dims)))
    job.log.info(f"{scope.address(found)}: {_brief(old)} -> {_brief(to_array(made))}")


def _own_copy(job: Edit, scope: walk.Scope, made: onnx.TensorProto, readers: Sequence[onnx.NodeProto]) -> None:
    """A constant of their own for some of the readers of one."""
    old, taken = made.name, names_in(job.model)
    made.name = next(n for i in count(1) if (n := f"{old}_mod_{i}") not in taken)
    walk.add_constant(job.model, scope.graph, made)
    for node in readers:
        node.input[:] = [made.name if i == old else i for i in node.input]
    job.log.info(f"{scope.address(old)} has other readers: {', '.join(n.name for n in readers)} read {made.name}")


def _plain(model: onnx.ModelProto, name: str) -> None:
    """Let the Constant node that makes ``name`` hold a tensor, where it holds a number or a list."""
    for scope in walk.scopes(model):
        for node in scope.graph.node:
            held = walk.constant_value(node) if name in (*node.output, *map(scope.address, node.output)) else None
            if held is not None and node.attribute[0].name != "value":
                node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", held))


def _readers(model: onnx.ModelProto, home: walk.Scope, name: str) -> list[onnx.NodeProto]:
    """The nodes of a graph and of the bodies in it that read a tensor of this graph."""
    found = []
    for scope in walk.scopes(model):
        around: walk.Scope | None = scope
        while around is not None and around.graph is not home.graph:
            around = around.outer
        found += [n for n in scope.graph.node if name in n.input] if around is not None else []
    return found


def _made(old: onnx.TensorProto, value: Value) -> onnx.TensorProto:
    """A value without a dtype gets that of the constant."""
    if isinstance(value, tuple):
        return tensor("", *value)
    if isinstance(value, str) and not value.startswith("@"):
        return tensor("", dtype_word(old.data_type), value)
    array = literal(value) if isinstance(value, str) else np.asarray(value)
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array))


def _brief(array: np.ndarray) -> str:
    text = np.array2string(array, threshold=8, separator=",").replace("\n", "")
    return f"{array.dtype}{list(array.shape)} {text}"


def _declare(job: Edit, name: str, shape: list[int | str]) -> None:
    """Declare the shape of a tensor."""
    place = job.find("tensor", name, "-os")
    if place is None:
        return
    scope, found = place
    infos = [v for v in (*scope.graph.output, *scope.graph.value_info) if v.name == found]
    kind = job.types().get(found)
    if not infos and kind is None:
        raise ToolError(f"-os: the dtype of {name!r} is not known", name)
    if not infos:
        infos = [scope.graph.value_info.add(name=found, type=kind)]
    for info in infos:
        set_shape(info, shape)


def _agrees(job: Edit, name: str, shape: list[int | str]) -> None:
    """What inference contradicted is not declared any more."""
    place = job.find("tensor", name, "-os")
    if place is None:
        return
    scope, found = place
    now = dims(types(scope.graph).get(found))
    if now != shape:
        maker = walk.producers(scope.graph).get(found)
        by = f": {maker.op_type} {walk.title(maker)!r} makes {now}" if maker is not None else f": it is {now}"
        raise ToolError(f"-os: {name!r} cannot be {shape}{by}", name)


_SHAPES = "{name: [1, 3, 'H']} or [['name', [1, 3, 'H']]]"
main = command(
    modify,
    INPUT,
    OUTPUT,
    option("-on --op_name NODE", "the node that -a, -da and -ic are about (globs too)"),
    repeated("-a --attributes NAME DTYPE VALUE", "set an attribute", convert=ATTRIBUTES, form=ATTRIBUTE_FORM),
    option("-da --delete_attributes NAME...", "delete attributes"),
    repeated("-ic --input_constants NAME DTYPE VALUE", "a constant's value", convert=CONSTANTS, form=CONSTANT_FORM),
    repeated("-os --output_shapes TENSOR SHAPE", "declare a shape", convert=named(shape), form=_SHAPES),
    option("--set TEXT...", "NODE.ATTRIBUTE=VALUE or CONSTANT=VALUE; nodes as globs", dest="assign"),
    option("--unset TEXT...", "NODE.ATTRIBUTE; nodes as globs"),
    *COMMON,
)
