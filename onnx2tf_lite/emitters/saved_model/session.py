"""The graph of a SavedModel: what sessions and servers, and converters that start from them, run.

Its nodes are the variables, a placeholder for every input, a call of the signature's function, and what saves and
restores the variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...ir.graph import Value
from .checkpoint import OBJECT_GRAPH
from .concrete import Exports
from .nodes import NodeNames, Ref, append, datatype, shapes, strings, tensor_shape
from .objects import variables
from .protos import DTYPES, Proto, message

CALL = "StatefulPartitionedCall"
FILE, SAVE, RESTORE = "saver/file", "saver/save", "saver/restore"


class Ends(NamedTuple):
    """The ``SaverDef`` and the ``SignatureDef``."""

    saver: Proto
    signature: Proto


def labels(exports: Exports, signature_key: str) -> list[str]:
    """What the variables are called: as in the library, but each another name, and none of those used here."""
    names = NodeNames(reserved=f"saver(/.*)?|{CALL}|{signature_key}_.*")
    return [names.new(exports.library.labels[name]) for name in exports.library.variables]


def complete(graph_def: Proto, exports: Exports, signature_key: str, names: Sequence[str], objects: bytes) -> Ends:
    """Append the nodes to ``graph_def``; what names them.

    :param names: of the variables.
    :param objects: the serialised ``TrackableObjectGraph``.
    """
    arrays, handles = exports.library.variables.values(), []
    for label, array in zip(names, arrays, strict=True):
        append(graph_def.node, "VarHandleOp", label, (), shared_name=label, dtype=array.dtype, shape=array.shape)
        handles.append(Ref(label, DTYPES["resource"]))
    saver = _Saver(graph_def.node, handles, [datatype(a.dtype) for a in arrays])
    saver.save(objects)
    saver.restore()
    ends = {"filename_tensor_name": f"{FILE}:0", "save_tensor_name": f"{SAVE}:0", "restore_op_name": RESTORE}
    return Ends(message("SaverDef")(version=2, **ends), _signature(graph_def.node, exports, signature_key, handles))


def _signature(nodes: Proto, exports: Exports, signature_key: str, handles: Sequence[Ref]) -> Proto:
    function = exports.functions[0]
    signature = message("SignatureDef")(method_name="tensorflow/serving/predict")
    given = []
    for key, value in function.inputs:
        name, dtype = f"{signature_key}_{key}", datatype(value.dtype)
        append(nodes, "Placeholder", name, (), dtype=dtype, shape=value.shape)
        signature.inputs[key].CopyFrom(_info(f"{name}:0", value))
        given.append(Ref(name, dtype))
    dtypes = [datatype(v.dtype) for _, v in function.outputs]
    call = append(nodes, CALL, CALL, [[*given, *handles]], f=function.name, Tout=dtypes)
    shapes(call.attr["_output_shapes"], [v.shape for _, v in function.outputs])
    for place, (key, value) in enumerate(function.outputs):
        signature.outputs[key].CopyFrom(_info(f"{CALL}:{place}", value))
    return signature


def _info(name: str, value: Value) -> Proto:
    return message("TensorInfo")(name=name, dtype=datatype(value.dtype), tensor_shape=tensor_shape(value.shape))


class _Saver:
    """The variables by their keys, and what the objects are, to and from a checkpoint."""

    def __init__(self, nodes: Proto, handles: Sequence[Ref], dtypes: Sequence[int]):
        self.nodes, self.handles, self.dtypes = nodes, handles, dtypes
        self.keys = [v.key.encode() for v in variables([h.name for h in handles])]
        self.file = self._text(append(nodes, "Placeholder", FILE, (), dtype=DTYPES["string"], shape=()))

    def _text(self, node: Proto) -> Ref:
        return Ref(node.name, DTYPES["string"])

    def _names(self, where: str, keys: Sequence[bytes]) -> list[Ref]:
        """Keys, and that of each the whole is meant."""
        return [
            self._text(strings(self.nodes, f"{where}/keys", keys)),
            self._text(strings(self.nodes, f"{where}/slices", [b""] * len(keys))),
        ]

    def save(self, objects: bytes) -> None:
        """The nodes that end in the one that gives the name of the file."""
        names = self._names(SAVE, [*self.keys, OBJECT_GRAPH.encode()])
        held = []
        for handle, dtype in zip(self.handles, self.dtypes, strict=True):
            read = append(self.nodes, "ReadVariableOp", f"{SAVE}/{handle.name}", [handle], dtype=dtype)
            held.append(Ref(read.name, dtype))
        held.append(self._text(strings(self.nodes, f"{SAVE}/objects", objects)))
        write = append(self.nodes, "SaveV2", f"{SAVE}/write", [self.file, *names, held])
        append(self.nodes, "Identity", SAVE, [self.file]).input.append(f"^{write.name}")

    def restore(self) -> None:
        """The nodes that end in one without results."""
        done = append(self.nodes, "NoOp", RESTORE, ())
        if not self.keys:
            return
        read = f"{RESTORE}/read"
        append(self.nodes, "RestoreV2", read, [self.file, *self._names(RESTORE, self.keys)], dtypes=self.dtypes)
        for place, (handle, dtype) in enumerate(zip(self.handles, self.dtypes, strict=True)):
            value = Ref(f"{read}:{place}", dtype)
            assign = append(self.nodes, "AssignVariableOp", f"{RESTORE}/{handle.name}", [handle, value])
            done.input.append(f"^{assign.name}")
