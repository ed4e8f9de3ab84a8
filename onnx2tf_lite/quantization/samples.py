"""The user's calibration data, one sample after the other, in ONNX order; never all of it in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConversionError, Problem
from ..ir.graph import Graph
from ..record import record
from ..validation.feeds import images, inputs
from ..validation.feeds.inputs import InputSpec
from . import noise, pictures

RANDOM = 32  # samples, where random ones are asked for
ARRAYS = (".npy", ".npz")
REAL = "biufV"  # kinds of NumPy's dtypes; V: bfloat16, as ml_dtypes has it
ARCHIVE, REMEDY = "is an .npz file", "give it with --calibration, or an .npy file"
HELP = (
    "give some: --calibration inputs.npz (arrays by input name), inputs.npy or a folder of such or of images, or for "
    "each input -cind NAME FILE.npy; 20 to 200 samples as in use. --random-calibration takes noise instead: for a "
    "first look only"
)


@record
class InputSamples:
    """The samples of one input: an array or the .npy file that has it, of which ``(x - mean) / std`` is taken."""

    array: Any
    mean: ArrayLike = 0.0
    std: ArrayLike = 1.0

    def __post_init__(self) -> None:
        images.check_normalisation(self.mean, self.std)

    def open(self) -> np.ndarray:
        """Not read yet, where it is a file; ConversionError where it cannot be."""
        if isinstance(self.array, np.ndarray):
            return self.array
        try:
            loaded = np.load(self.array, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            where = f"calibration data '{self.array}'"
            raise ConversionError(Problem(where, f"cannot be read: {error}", "give an .npy file")) from error
        if not isinstance(loaded, np.ndarray):
            where = f"calibration data '{self.array}'"
            raise ConversionError(Problem(where, ARCHIVE, REMEDY))
        return loaded


@record
class CalibrationData:
    """Where samples come from.

    ``parts``         by input name ('' for the one input)
    ``sets``          several of those instead, arrays or the files that have them: samples of different sizes
    ``folder``        of images instead, of which ``(pixel / 255 - mean) / std`` is taken; ``bgr``: in that order
    ``random``        seeded noise instead, on request only
    ``made``          pictures instead, where a caller's way of asking means that: the ranges that the model says
    ``shapes``        by input name what its open extents are, where samples do not say it; -1: open still
    """

    parts: Mapping[str, InputSamples] = field(default_factory=dict)
    sets: Sequence[str | Path | Mapping[str, ArrayLike] | ArrayLike] = ()
    folder: Path | None = None
    mean: ArrayLike = 0.0
    std: ArrayLike = 1.0
    bgr: bool = False
    random: bool = False
    made: pictures.Pixels | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        images.check_normalisation(self.mean, self.std)

    @classmethod
    def of(cls, path: Any, rows: Sequence[Sequence[Any]], **settings: Any) -> CalibrationData:
        """What the user gave: arrays by input name, sets of them or a path of either, or rows of name, array and
        perhaps mean and deviation; ``settings``: the other fields.

        :raises ConversionError: nothing can be read there.
        """
        parts = {str(name): InputSamples(_kept(array), *more) for name, array, *more in rows}
        if path is None:
            return cls(parts, **settings)
        if isinstance(path, Mapping):
            return cls({str(n): InputSamples(np.asarray(a)) for n, a in path.items()} | parts, **settings)
        if isinstance(path, np.ndarray):
            return cls({"": InputSamples(path)} | parts, **settings)
        if isinstance(path, Sequence) and not isinstance(path, str):
            return cls(parts, path, **settings)
        if Path(path).is_dir():
            sets = sorted(p for p in Path(path).iterdir() if p.suffix.lower() in ARRAYS)
            if sets and (other := [p.name for p in Path(path).iterdir() if p.suffix.lower() in images.SUFFIXES]):
                what = f"has arrays ('{sets[0].name}') and images ('{min(other)}')"
                raise ConversionError(Problem(f"folder '{path}'", what, "give a folder of the ones or of the others"))
            return cls(parts, sets, **settings) if sets else cls(parts, folder=Path(path), **settings)
        if Path(path).suffix == ".npy":
            return cls({"": InputSamples(path)} | parts, **settings)
        return cls({n: InputSamples(a) for n, a in inputs.read(path).items()} | parts, **settings)

    @property
    def given(self) -> bool:
        """True where there are samples."""
        return bool(self.parts or self.sets) or self.folder is not None or self.random or self.made is not None

    def sized(self, graph: Graph) -> CalibrationData:
        """With the extents of every input, where noise is to have some and ``graph`` leaves them open."""
        specs = [_spec(graph, v.name) for v in graph.inputs]
        shapes = [self.shapes.get(s.name, s.shape) for s in specs]
        if not self.random or all(isinstance(d, int) and d >= 0 for shape in shapes for d in shape):
            return self
        return replace(self, shapes=noise.sizes(graph, specs, self.shapes))

    @property
    def ignores_normalisation(self) -> bool:
        """Was something said of images, where there are none?"""
        said = self.bgr or bool(np.any(self.mean)) or bool(np.any(np.asarray(self.std) != 1))
        return said and self.folder is None and bool(self.sets or self.parts or self.random)

    def samples(self, graph: Graph) -> Iterator[dict[str, np.ndarray]]:
        """Each sample as arrays by input name in ONNX order, in the dtype that the program has.

        :raises ConversionError: there are none, they do not fit the inputs, or they are no finite numbers.
        """
        number = 0
        for number, feeds in enumerate(self._samples(graph), start=1):
            for name, array in feeds.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    what = "has NaN or infinities, of which no range can be taken"
                    where = f"calibration sample {number}, input '{name}'"
                    raise ConversionError(Problem(where, what, "give finite numbers"))
            yield feeds
        if not number:
            raise ConversionError(Problem("calibration", "there is no sample in the data", HELP))

    def _samples(self, graph: Graph) -> Iterator[dict[str, np.ndarray]]:
        specs = [_spec(graph, v.name) for v in graph.inputs]
        if self.folder is not None:
            yield from images.stream(self.folder, specs, self.shapes, self.mean, self.std, bgr=self.bgr)
        elif self.sets:
            for given in self.sets:
                arrays = inputs.read(given) if isinstance(given, str | Path) else given
                arrays = arrays if isinstance(arrays, Mapping) else {"": arrays}
                parts = {n: InputSamples(np.asarray(a)) for n, a in arrays.items()} | dict(self.parts)
                yield from replace(self, parts=parts, sets=())._sliced(graph, specs)
        elif self.parts:
            yield from self._sliced(graph, specs)
        elif self.random:
            yield from noise.samples(specs, self.sized(graph).shapes, RANDOM)
        elif self.made is not None and pictures.sizes(specs) is not None:
            yield from pictures.samples(specs, self.made, self.mean, self.std)
        else:
            raise ConversionError(Problem("calibration", "there is no data to take ranges from", HELP))

    def first(self, graph: Graph, count: int) -> list[dict[str, np.ndarray]]:
        """The first samples, under names that say their order of axes."""
        return [{f"{n}@onnx": a for n, a in s.items()} for s in islice(self.samples(graph), count)]

    def _sliced(self, graph: Graph, specs: Sequence[InputSpec]) -> Iterator[dict[str, np.ndarray]]:
        """One batch of the program at a time."""
        arrays = {name: part.open() for name, part in self.parts.items()}
        if len(specs) == 1 and set(arrays) == {""}:
            arrays = {specs[0].name: arrays[""]}
        parts = dict(zip(arrays, self.parts.values(), strict=True))
        places = {s.name: graph.placements[s.name] for s in specs}
        rows = {s.name: d if s.shape and isinstance(d := s.shape[0], int) else 1 for s in specs}
        counts = {n: len(a) // rows.get(n.partition("@")[0], 1) for n, a in arrays.items() if a.ndim}
        for i in range(min(counts.values(), default=1)):
            part = {}
            for name, array in arrays.items():
                batch = rows.get(name.partition("@")[0], 1)
                part[name] = np.asarray(array[i * batch : (i + 1) * batch] if array.ndim else array)
                if part[name].dtype.kind not in REAL:
                    what = f"is of {part[name].dtype}"
                    raise ConversionError(Problem(f"calibration data of '{name}'", what, "give real numbers"))
            ((_, feeds),) = inputs.from_user(part, list(specs), places)
            for name, p in parts.items():
                key = name.partition("@")[0]
                feeds[key] = _normalised(key, feeds[key], p.mean, p.std)
            yield feeds


def _kept(array: object) -> object:
    """A file is opened for each use; what comes out of a pipe comes once."""
    if not isinstance(array, str | os.PathLike) or not Path(array).is_fifo():
        return array
    found = inputs.read(array)
    if "" not in found:
        raise ConversionError(Problem(f"calibration data '{array}'", ARCHIVE, REMEDY))
    return found[""]


def _spec(graph: Graph, name: str) -> InputSpec:
    place = graph.placements[name]
    return InputSpec(name, place.value.dtype, tuple(d if isinstance(d, int) else str(d) for d in place.shape))


def _normalised(name: str, x: np.ndarray, mean: ArrayLike, std: ArrayLike) -> np.ndarray:
    """``(x - mean) / std``; a vector of them goes along the axis of channels: 1, or the last one."""
    sides = [np.asarray(side, np.float32) for side in (mean, std)]
    if x.dtype.kind != "f" or (not sides[0].any() and np.all(sides[1] == 1)):
        return x
    moved = [_along_channels(name, side, x.shape) for side in sides]
    return np.asarray((x - moved[0]) / moved[1], x.dtype)


def _along_channels(name: str, side: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if side.size == 1:
        return side.reshape(())
    for axis in (1, len(shape) - 1):
        if axis < len(shape) and shape[axis] == side.size:
            return side.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    what = f"has {side.size} means or deviations, and no axis of that extent: it is {list(shape)}"
    raise ConversionError(Problem(f"calibration data of '{name}'", what, "give one for each channel, or one for all"))
