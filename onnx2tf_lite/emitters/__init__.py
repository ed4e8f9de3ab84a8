"""Everything that can be written: a kind of output is one row of :data:`EMITTERS`.

``tflite``  .tflite files      ``saved_model``  TensorFlow's SavedModel and frozen graph      ``keras``  Keras models

What is heavy is imported by the writers, so that the command line can read the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..record import record

if TYPE_CHECKING:
    from ..ir.graph import Graph
    from ..options import Options


@record
class Emitter:
    """A kind of output.

    ``name``        in ``outputs``, in the report and on the command line
    ``branch``      of the program that it is written from (``compile.BRANCHES``)
    ``write``       writes the program as the options ask, to a path that does not exist yet; the program stays as it
                    is; which files it wrote besides
    ``suffix``      the file is ``<model><suffix>``; without one its files lie in the output folder itself
    ``checked_as``  the form of file whose runtimes and tolerance the check takes (a row of ``figures.judge``)
    ``article``     what it is called in a sentence
    ``package``     the module without which it cannot be written
    ``extra``       of this package, that brings the module; "" where it has the module's name
    ``default``     part of what is written where nothing is asked for (if its package is there)
    """

    name: str
    branch: str
    write: Callable[[Graph, Path, Options], Sequence[Path]]
    suffix: str
    checked_as: str
    article: str = ""
    package: str = ""
    extra: str = ""
    default: bool = False

    def path(self, folder: Path, stem: str) -> Path:
        """Where it lies in the output folder of the model called ``stem``."""
        return folder / f"{stem}{self.suffix}" if self.suffix else folder

    @property
    def missing(self) -> str:
        """Why it cannot be written here; empty where it can."""
        if not self.package or find_spec(self.package) is not None:
            return ""
        extra = self.extra or self.package
        return f"{self.article or self.name} needs {self.package}: pip install 'onnx2tf_lite[{extra}]'"


def _saved_model(program: Graph, path: Path, options: Options) -> list[Path]:
    from .saved_model import write

    write(program, path)
    return []


def _tflite(program: Graph, path: Path, options: Options, float16: bool = False) -> list[Path]:
    from .tflite import write

    write(program, path, float16=float16, float16_sums=float16 and options.float16_sums)
    if not options.tflite_weights:
        return []
    from .tflite import weights

    return [weights.write(program, path, float16=float16)]


def _float16(program: Graph, path: Path, options: Options) -> list[Path]:
    return _tflite(program, path, options, float16=True)


def _quantised(name: str) -> Emitter:
    """A kind whose branch of the compiler makes the integers: they are written as they are."""
    return Emitter(name, name, _tflite, f"_{name}.tflite", "quantised")


def _frozen(program: Graph, path: Path, options: Options) -> list[Path]:
    from .saved_model.frozen import write

    write(program, path)
    return []


def _keras(program: Graph, path: Path, options: Options) -> list[Path]:
    from .keras import write

    return write(program, path)


def _keras_row(name: str, suffix: str, checked_as: str) -> Emitter:
    return Emitter(name, "float", _keras, suffix, checked_as, package="tf_keras", extra="keras")


#: Float models with integers inside (``quantization.RECIPES`` says which).
QUANTISED = (
    "dynamic_range_quant",
    "integer_quant",
    "full_integer_quant",
    "integer_quant_with_int16_act",
    "full_integer_quant_with_int16_act",
    "weight_only_int8",
    "weight_only_int4",
)

#: In the order in which they are written and reported.
EMITTERS: dict[str, Emitter] = {
    row.name: row
    for row in (
        Emitter("saved_model", "float", _saved_model, "", "saved_model", "a SavedModel", default=True),
        _keras_row("keras", "_float32_v3.keras", "keras"),
        _keras_row("h5", "_float32.h5", "keras"),
        _keras_row("keras_weights", "_float32.weights.h5", "keras_weights"),
        Emitter("frozen", "float", _frozen, "_float32.pb", "frozen"),
        Emitter("float32", "integer", _tflite, "_float32.tflite", "float32", default=True),
        Emitter("float16", "integer", _float16, "_float16.tflite", "float16", default=True),
        *map(_quantised, QUANTISED),
    )
}


#: Of ``checked_as``: what TensorFlow runs, and what of that needs Keras.
TENSORFLOW = ("saved_model", "keras", "keras_weights", "frozen")
KERAS = ("keras", "keras_weights")


def default() -> list[str]:
    """The kinds that are written where nothing is asked for."""
    return [row.name for row in EMITTERS.values() if row.default]


def rows(names: Iterable[str]) -> list[Emitter]:
    """The rows of these kinds, in the order of the table; KeyError for one that does not exist."""
    wanted = {EMITTERS[name].name for name in names}
    return [row for row in EMITTERS.values() if row.name in wanted]
