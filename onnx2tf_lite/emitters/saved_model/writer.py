"""The SavedModel: one library of functions, one signature that calls it, files renamed into place."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from google.protobuf.message import EncodeError

from ...errors import ConversionError, Problem
from ...ir import tensor_map
from ...ir.graph import Graph, Value
from . import checkpoint, objects, session
from .concrete import Exports
from .function import Function, Library
from .protos import PRODUCER, message

FINGERPRINT = "fingerprint.pb"  # of a model that TensorFlow wrote
EXTRA = "assets.extra"  # TensorFlow leaves this folder to its users


def write(graph: Graph, folder: str | os.PathLike[str], *, signature_key: str = "serving_default") -> dict[str, str]:
    """Write ``graph`` as a SavedModel into ``folder``; the signature key of every ONNX input and output, in order.

    :raises ConversionError: where TensorFlow has no form of an operation, or no file holds the constants.
    """
    exports = Exports(graph, signature_keys([v.name for v in graph.inputs] + graph.output_names), Library(is_weight))
    labels = session.labels(exports, signature_key)
    tracked = objects.checkpoint(signature_key, labels)
    model = _saved_model(exports, signature_key, labels, tracked)
    keys = [v.key for v in objects.variables(labels)]
    with _staging(Path(folder)) as staging:
        (staging / "saved_model.pb").write_bytes(model)
        (staging / "variables").mkdir()
        arrays = dict(zip(keys, exports.library.variables.values(), strict=True))
        checkpoint.write(staging / "variables" / "variables", arrays, tracked)
        (staging / EXTRA).mkdir()
        (staging / EXTRA / tensor_map.NAME).write_bytes(_tensor_map(graph, exports.function))
    return exports.keys


def _saved_model(exports: Exports, signature_key: str, labels: list[str], tracked: bytes) -> bytes:
    """``saved_model.pb``: the functions, the graph of sessions, the objects.  Equal for equal graphs."""
    meta = message("MetaGraphDef")(meta_info_def={"tags": ["serve"], "stripped_default_attrs": True})
    meta.graph_def.CopyFrom(exports.library.graph_def)
    meta.graph_def.versions.producer = PRODUCER
    ends = session.complete(meta.graph_def, exports, signature_key, labels, tracked)
    meta.saver_def.CopyFrom(ends.saver)
    meta.signature_def[signature_key].CopyFrom(ends.signature)
    meta.object_graph_def.CopyFrom(objects.graph(exports, signature_key, labels))
    model = message("SavedModel")(saved_model_schema_version=1)
    model.meta_graphs.append(meta)
    try:
        written: bytes = model.SerializeToString(deterministic=True)
    except EncodeError as error:
        what = "its constants are beyond 2 GB, which no file of a graph holds"
        raise ConversionError(Problem("SavedModel", what, "write the .tflite file only")) from error
    return written


def is_weight(array: np.ndarray) -> bool:
    """What can be trained is a variable; a number stays a constant, as integers do, which shape inference reads."""
    return array.dtype == np.float32 and array.size > 1


def _tensor_map(graph: Graph, function: Function) -> bytes:
    """Where the ONNX tensors are in the function of the model: the stored names are those of its nodes' results."""

    def stored(value: Value) -> str | None:
        return function.refs[value].name if value in function.refs else None

    return tensor_map.TensorMap.of(graph, stored).to_bytes(shapes=True)


def constant_bytes(graph: Graph) -> int:
    """Bytes of all distinct constants of ``graph`` and its bodies."""
    values = [v for g in [graph, *graph.subgraphs()] for op in g.ops for v in op.uses()]
    return sum(array.nbytes for array in {id(v.data): v.data for v in values if v.data is not None}.values())


def signature_keys(names: Iterable[str]) -> dict[str, str]:
    """A key for every name: the name itself where it is an ASCII identifier, else one made of it.

    TensorFlow does not tell names apart that differ in case only, so keys differ in more.
    """
    names = list(dict.fromkeys(names))
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for legal in (True, False):  # a legal name is not given up to one that only looks like it once sanitised
        for name in names:
            if (_sanitised(name) == name) == legal:
                keys[name] = key = _unique(_sanitised(name), taken)
                taken.add(key.lower())
    return {name: keys[name] for name in names}


def _sanitised(name: str) -> str:
    stem = re.sub("[^A-Za-z0-9_]", "_", name)
    stem = stem if re.match("[A-Za-z]", stem) else f"tensor_{stem.lstrip('_')}"
    return stem + "_" * (keyword.iskeyword(stem) or stem == "self")


def _unique(stem: str, taken: set[str]) -> str:
    key, count = stem, 1
    while key.lower() in taken:
        key, count = f"{stem}_{count}", count + 1
    return key


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder next to ``folder`` whose contents are moved there at the end, saved_model.pb last; gone on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield staging
        folder.mkdir(exist_ok=True)
        if (folder / "variables").exists():
            (folder / "variables").rename(staging / "old")
        (folder / FINGERPRINT).unlink(missing_ok=True)
        for name in ("variables", "saved_model.pb"):
            (staging / name).replace(folder / name)
        (folder / EXTRA).mkdir(exist_ok=True)
        (staging / EXTRA / tensor_map.NAME).replace(folder / EXTRA / tensor_map.NAME)
    finally:
        shutil.rmtree(staging)
