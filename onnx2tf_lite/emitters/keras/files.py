"""The files of a Keras model, and what they hold beside it: the tensor map, out of the way of Keras.

``.keras``       the format of Keras 3      ``.h5``  the model in one HDF5 file
``.weights.h5``  the weights alone, with the architecture beside them as ``.json``
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.graph import Graph
from ...ir.tensor_map import NAME
from ..runtime import Runner, errors_only, keras, tensorflow
from ..saved_model.graphs import FlatGraph
from . import fake_quantize
from .model import build
from .operation import operation

WEIGHTS = ".weights.h5"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can hold


def write(graph: Graph, path: str | os.PathLike[str]) -> list[Path]:
    """Write ``graph`` as the suffix of ``path`` says; what is written beside it.  The same graph gives the same bytes.

    :raises ConversionError: where tf-keras is not installed, or the program has no input.
    """
    model, table = build(graph)
    path = Path(path)
    with _quiet():
        if path.name.endswith(WEIGHTS):
            model.save_weights(str(path))
            architecture(path).write_text(model.to_json(), encoding="utf-8")
        else:
            model.save(str(path), save_format="h5" if path.suffix == ".h5" else "keras")
    if path.suffix == ".keras":
        _canonicalise(path, table)
    else:
        import h5py

        with h5py.File(path, "a") as file:
            file.create_dataset(NAME, data=np.void(table))
    return [architecture(path)] if path.name.endswith(WEIGHTS) else []


def architecture(weights: Path) -> Path:
    """The file that belongs to one of weights alone."""
    return weights.with_name(weights.name.removesuffix(WEIGHTS) + ".json")


def register() -> None:
    """Tell Keras the layer and the activation of this package, for ``tf_keras.models.load_model``."""
    operation()
    fake_quantize.activation()


def load(path: str | os.PathLike[str]) -> Any:
    """The model of a file, registered layers of this package included; for training on, compile it.

    :raises ValueError, OSError: where Keras cannot read the file.
    """
    k, path = keras(), Path(path)
    register()
    with _quiet(), tensorflow().device("/CPU:0"):
        if not path.name.endswith(WEIGHTS):
            return k.models.load_model(str(path), compile=False)
        model = k.models.model_from_json(architecture(path).read_text(encoding="utf-8"))
        model.load_weights(str(path))
        return model


def tensor_map_of(path: Path) -> bytes | None:
    """The tensor map of a file of ours; None in others."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return archive.read(NAME) if NAME in archive.namelist() else None
    import h5py

    with h5py.File(path) as file:
        return bytes(file[NAME][()].tobytes()) if NAME in file else None


def runner(path: Path, wanted: Sequence[str]) -> Runner:
    """A function from arrays to arrays: inputs by their names, results by the names that the tensor map has."""
    k, model = keras(), load(path)
    part = k.Model(model.inputs, [_tensor(model, name) for name in wanted])

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = [feeds[f"{t.name}:0"] for t in model.inputs]
        results = part(given if len(given) > 1 else given[0], training=False)
        return dict(zip(wanted, map(np.asarray, tensorflow().nest.flatten(results)), strict=True))

    return run


def graph(path: Path, wanted: Sequence[str]) -> FlatGraph:
    """What TensorFlow makes of the model, with its weights as constants, and where the ``wanted`` tensors are in it."""
    from tensorflow.python.framework import convert_to_constants

    tf, model = tensorflow(), load(path)
    part = keras().Model(model.inputs, [_tensor(model, name) for name in wanted])
    specs = [tf.TensorSpec(t.shape, t.dtype, f"input{i}") for i, t in enumerate(model.inputs)]
    with _quiet(), tf.device("/CPU:0"):
        traced = tf.function(lambda *feeds: tf.nest.flatten(part(list(feeds), training=False)), autograph=False)
        whole = traced.get_concrete_function(*specs)
        # convert_variables_to_constants_v2 would also register the bodies of control flow, under names that are taken
        converter = convert_to_constants._FunctionConverterDataInEager(whole, False, False)
        definition, _ = convert_to_constants._replace_variables_by_constants(converter)
    copied = {node.name: node.input[0] for node in definition.node if node.op == "Identity"}  # which a trace returns
    results = (copied.get(t.name.partition(":")[0], t.name) for t in whole.outputs)
    names = {n: t if ":" in t else f"{t}:0" for n, t in zip(wanted, results, strict=True)}
    return FlatGraph(definition, names | {f"{t.name}:0": f"input{i}:0" for i, t in enumerate(model.inputs)})


def _tensor(model: Any, name: str) -> Any:
    """The tensor called ``layer:index``."""
    layer, _, index = name.rpartition(":")
    return tensorflow().nest.flatten(model.get_layer(layer).output)[int(index)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Keras says about its formats."""
    with warnings.catch_warnings(), errors_only():
        warnings.simplefilter("ignore")
        yield


def _canonicalise(path: Path, table: bytes) -> None:
    """Rewrite an archive without the dates in it, and with the tensor map.

    Its members are deflated, with no effort (zlib's level 0): Keras reads the weights through Python's zipfile, which
    where it jumps in a member that is stored loses count of what is left of it (``ZipExtFile.seek`` of 3.12.1 and
    3.13.0), and then reads on behind it, or meets the end of the file.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(members["metadata.json"])
    facts.pop("date_saved", None)
    members["metadata.json"] = json.dumps(facts).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*members.items(), (NAME, table)]:
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED, compresslevel=0)
