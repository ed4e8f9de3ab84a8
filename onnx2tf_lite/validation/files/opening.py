"""Which kind of written file lies at a path."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConversionError, Problem
from ..original.reference import Reference
from .mapped_file import READERS, MappedFile, tensor_map_of
from .tensorflow_file import Keras, SavedModel
from .tflite_file import TFLiteFile
from .written import FileError, WrittenFile


def open_file(kind: str, path: Path, reference: Reference) -> WrittenFile:
    """A file by its ``kind``, or by what it is where that is ''; FileError if it cannot be read at all."""
    kind = kind or guess(path)
    if kind == "saved_model":
        return SavedModel(path, reference)
    if kind in READERS and (table := tensor_map_of(kind, path)):
        return MappedFile(kind, path, reference, table)
    if kind in ("keras_weights", "frozen"):
        raise FileError("has no tensor map: only such files of this package can be checked")
    return Keras(path, reference) if kind == "keras" else TFLiteFile(path, reference, "" if kind == "tflite" else kind)


def guess(path: Path) -> str:
    """A kind of :data:`.written.RUNTIMES`, or ``tflite``; ConversionError where it is none of them."""
    if path.is_dir() and (path / "saved_model.pb").exists():
        return "saved_model"
    if path.name.endswith(".weights.h5"):
        return "keras_weights"
    if path.suffix == ".pb":
        return "frozen"
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return "keras"
    if path.is_file():
        return "tflite"
    what = "is a folder without saved_model.pb" if path.is_dir() else "does not exist"
    raise ConversionError(Problem(f"file '{path}'", what, "give a .tflite, a SavedModel folder, a .keras or an .h5"))
