"""Which constants can be stored in a smaller type: ONNX's type constraints decide, not the values alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ToolError
from ..model.lazy import np, onnx
from ..model.schema import schema
from ..model.tensors import is_external, nbytes, to_array
from ..model.walk import Scope, bodies, captures, constants, is_function, outputs, scopes

SMALLER = {"INT64": "INT32", "DOUBLE": "FLOAT"}
WORDS = {"INT32": "tensor(int32)", "FLOAT": "tensor(float)"}


def narrow(model: onnx.ModelProto) -> list[str]:
    """Store int64 constants as int32 and float64 ones as float32, in place, where all values survive and all readers
    take them; says which.  Constants in side files are left alone, as their bytes are not this model's."""
    opsets = {e.domain: e.version for e in model.opset_import}
    homes = [s for s in scopes(model) if not is_function(s.graph)]
    return [_store(s, name, tensor) for s in homes for name, tensor in _narrowable(s, opsets).items()]


def _narrowable(scope: Scope, opsets: dict[str, int]) -> dict[str, onnx.TensorProto]:
    """The constants of a graph that survive and that every reader takes; one that is refused may take others along."""
    wanted = {i for n in scope.graph.node for i in n.input} - set(_fixed(scope))
    found = {n: t for n, t in constants(scope.graph).items() if n in wanted and _shrinks(t)}
    readers = [n for n in scope.graph.node if found.keys() & set(n.input)]
    while bad := {i for n in readers for i in n.input if i in found and not _accepts(n, i, found, opsets)}:
        found = {n: t for n, t in found.items() if n not in bad}
    return found


def _store(scope: Scope, name: str, tensor: onnx.TensorProto) -> str:
    size, target = nbytes(tensor), onnx.TensorProto.DataType.Value(_target(tensor))
    made = to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(target))
    tensor.CopyFrom(onnx.numpy_helper.from_array(made, tensor.name))
    for info in scope.graph.value_info:
        if info.name == name:
            info.type.tensor_type.elem_type = target
    return f"{scope.address(name)}: stored in {nbytes(tensor)} bytes instead of {size}"


def _target(tensor: onnx.TensorProto) -> str:
    return SMALLER[onnx.TensorProto.DataType.Name(tensor.data_type)]


def _shrinks(tensor: onnx.TensorProto) -> bool:
    word = onnx.TensorProto.DataType.Name(tensor.data_type)
    if word not in SMALLER or is_external(tensor) or not len(tensor.dims):
        return False
    values: Any = to_array(tensor)
    with np.errstate(all="ignore"):
        small = values.astype(np.int32 if word == "INT64" else np.float32)
    return bool(np.array_equal(small.astype(values.dtype), values, equal_nan=word == "DOUBLE"))


def _fixed(scope: Scope) -> Iterator[str]:
    """Names of the interface, and what bodies read: these have readers elsewhere."""
    yield from (v.name for v in scope.graph.input)
    yield from outputs(scope.graph)
    for node in scope.graph.node:
        for _, body in bodies(node):
            yield from captures(body)


def _accepts(node: onnx.NodeProto, name: str, narrowed: dict[str, onnx.TensorProto], opsets: dict[str, int]) -> bool:
    """The node takes the constant in the smaller type, and whatever has to be of the same type becomes that too."""
    try:
        found = schema(node.op_type, opsets.get(node.domain, 0), node.domain)
    except ToolError:
        return False
    if found is None:
        return False
    slots = [found.inputs[min(i, len(found.inputs) - 1)].type_str for i in range(len(node.input))]
    results = {o.type_str for o in found.outputs}
    allowed = {c.type_param_str: c.allowed_type_strs for c in found.type_constraints}
    for kind in {s for n, s in zip(node.input, slots, strict=True) if n == name}:
        word = WORDS[_target(narrowed[name])]
        if word not in allowed.get(kind, ()) or kind in results:
            return False
        partners = [n for n, s in zip(node.input, slots, strict=True) if s == kind and n]
        if any(n not in narrowed or _target(narrowed[n]) != _target(narrowed[name]) for n in partners):
            return False
    return True
