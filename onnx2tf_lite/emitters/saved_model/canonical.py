"""The same bytes for the same graph.

TensorFlow numbers the functions and captured variables of a SavedModel by counters of the process, writes maps in hash
order and stamps the folder with a random identifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

PREFIX = "__inference_"
NAMED = "_user_specified_name"


def canonicalise(folder: Path) -> None:
    """Rewrite ``saved_model.pb`` and ``fingerprint.pb`` in ``folder`` independently of the process that saved them."""
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    for meta in model.meta_graphs:
        library = meta.graph_def.library.function
        numbered = [f.signature.name for f in library if f.signature.name.startswith(PREFIX)]
        numbered.sort(key=lambda name: int(name.rpartition("_")[2]))
        names = {old: f"{old.rpartition('_')[0]}_{i}" for i, old in enumerate(numbered)}
        for message in [*meta.graph_def.node, meta.object_graph_def]:
            _rename(message, names)
        for function in library:
            _forget_numbers(function)
            if function.signature.name.startswith(PREFIX):  # ours call only ours
                _rename(function, names)
        library.sort(key=lambda f: f.signature.name)
    path.write_bytes(model.SerializeToString(deterministic=True))
    stamp = FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
    stamp.uuid = str(stamp.saved_model_checksum)
    (folder / "fingerprint.pb").write_bytes(stamp.SerializeToString(deterministic=True))


def _forget_numbers(function: Any) -> None:
    """A captured variable is called by a counter of the process where one function calls another."""
    for attributes in function.arg_attr.values():
        if NAMED in attributes.attr and attributes.attr[NAMED].s.isdigit():
            attributes.attr[NAMED].s = b"resource"


def _rename(message: Message, names: dict[str, str]) -> None:
    """Replace function names in every string field and map key below ``message``."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            if isinstance(value, str):
                setattr(message, field.name, names.get(value, value))
            else:
                value[:] = [names.get(v, v) for v in value]
        elif field.type == field.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                _rename_map(value, names)
            else:
                for part in [value] if hasattr(value, "ListFields") else value:
                    _rename(part, names)


def _rename_map(entries: Any, names: dict[str, str]) -> None:
    for key in sorted(entries, key=str):
        if hasattr(entries[key], "ListFields"):
            _rename(entries[key], names)
        if key in names and names[key] != key:
            entries[names[key]].CopyFrom(entries[key])
            del entries[key]
