"""What the models are fed: arrays of the user, or seeded random ones that suit each input."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs

from ...errors import ConversionError, Problem
from ...ir.dims import Dim, Expr, symbol
from ...ir.graph import Placement, Value
from ...record import record
from . import draw
from .facts import Facts, facts

CHANNELS = (1, 3, 4)  # of pictures that a model convolves
Arrays = dict[str, np.ndarray]
#: Upper bounds tried for integers that nothing bounds, until the model runs.
HIGHS = (8, 2)
PIXELS = (0.0, 255.0)
NORMALISED = (-2.0, 2.0)  # of pictures that nothing is done to: zero mean and unit variance, about
SIDE = 16  # the shortest side of a picture
MASK = re.compile(r"(^|[^a-z])mask([^a-z]|$)", re.IGNORECASE)


@record
class InputSpec:
    """An input of the original model: its dtype, its declared shape (numbers, names, None), and what the model does
    with it.  ``span``: ends of the range that a quantised file has for it.  ``fill``: the number to fill it
    with, where somebody says so."""

    name: str
    dtype: np.dtype
    shape: tuple[Dim | str | None, ...]
    facts: Facts = field(default_factory=Facts, compare=False)
    span: tuple[float, float] | None = None
    fill: float | None = None

    def random(
        self,
        shape: Iterable[int],
        rng: np.random.Generator,
        high: int,
        turn: int = 0,
        longest: int | None = None,
        total: int | None = None,
    ) -> np.ndarray:
        """An array that suits the model, ``turn`` by turn another of the cases that it tells apart.

        ``high``: the bound of integers that nothing else bounds; ``longest``: the extent that values are lengths of;
        ``total``: what all of them are.
        """
        size = tuple(shape)
        if self.fill is not None:
            return np.full(size, self.fill).astype(self.dtype)
        cases = self.cases if np.prod(size) == 1 else ()
        if self.facts.exact and np.prod(size) == len(self.facts.exact):
            drawn: np.ndarray = np.reshape(self.facts.exact, size)
        elif total is not None:
            drawn = np.full(size, total)
        elif cases:
            drawn = np.full(size, cases[turn % len(cases)])
        elif self.is_mask:
            drawn = draw.masks(rng, size, empty=turn % 2 == 1)
        elif longest is not None:
            drawn = draw.lengths(rng, size, longest, short=turn % 2 == 1)
        elif self.is_picture(size):
            drawn = draw.pictures(rng, size, size[1] not in CHANNELS, self.pixels)
        elif self.dtype.kind == "b":
            drawn = rng.integers(0, 2, size)
        elif self.dtype.kind in "OU":
            return rng.integers(0, high, size).astype(str).astype(object)
        elif self.dtype.kind in "fc" or self.dtype.name == "bfloat16":
            drawn = self._floats(size, rng)
        else:
            drawn = self._integers(size, rng, high)
        if self.dtype == np.float64:  # as files hold it: the bits beyond are not theirs to keep
            drawn = drawn.astype(np.float32)
        return np.asarray(drawn, order="C").astype(self.dtype)

    @property
    def cases(self) -> tuple[float, ...]:
        """What a single number is drawn as, turn by turn: the constants that the model asks for, and another one."""
        f = self.facts
        if self.dtype.kind == "b" or (self.is_mask and not self.shape):
            return (1, 0)
        if f.cases:
            return (*dict.fromkeys(f.cases), max(f.cases) + 1)
        one = 1 if self.dtype.kind in "iu" else 0.5
        return tuple(
            v for bound, rising in f.bounds for v in ((bound + one, bound) if rising else (bound - one, bound))
        )

    @property
    def turns(self) -> int:
        """How many samples show every case."""
        single = all(d == 1 for d in self.shape)
        if single and self.cases:
            return len(self.cases)
        return 2 if self.is_mask or self.facts.limits else 1

    @property
    def is_mask(self) -> bool:
        """By its name, or since the model takes it for truth values; ids are none."""
        named = MASK.search(self.name) is not None and self.dtype.kind in "fiub"
        return self.facts.high is None and (named or "mask" in self.facts.needs)

    def is_picture(self, size: Sequence[int]) -> bool:
        """Four axes, one of them of channels, that the model convolves."""
        if len(size) != 4 or "picture" not in self.facts.needs or self.dtype.kind == "b":
            return False
        sides = size[2:] if size[1] in CHANNELS else size[1:3] if size[3] in CHANNELS else (0,)
        return min(sides) >= SIDE

    @property
    def pixels(self) -> tuple[float, float]:
        """The range of a picture: that of the file, else what the model subtracts and divides by says."""
        if self.span or self.facts.span:
            return self.span or self.facts.span or PIXELS
        if self.dtype.kind in "iu" or any(1 / 300 < abs(f) < 1 / 100 or -160 < o < -50 for f, o in self.facts.steps):
            return PIXELS
        return (0.0, 1.0) if any(-1 < o < -0.1 for _, o in self.facts.steps) else NORMALISED

    def _floats(self, size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        span = self.span or self.facts.span
        if span is None and self.pixels == PIXELS:
            span = PIXELS
        drawn = rng.standard_normal(size)
        if span is not None:
            drawn = np.clip((span[0] + span[1]) / 2 + drawn * (span[1] - span[0]) / 6, *span)
        known = [*self.facts.cases, *(bound for bound, _ in self.facts.bounds)]
        return draw.within(draw.sprinkle(rng, drawn, known), self.facts.needs)

    def _integers(self, size: tuple[int, ...], rng: np.random.Generator, high: int) -> np.ndarray:
        f, info = self.facts, np.iinfo(self.dtype)
        if f.high is not None:
            drawn = draw.whole(rng, size, f.low, f.high, f.distinct)
            return draw.sprinkle(rng, drawn, [c for c in f.cases if f.low <= c < f.high])
        if "size" in f.needs:
            return draw.whole(rng, size, 1, max(high // 2, 2), False)
        if "signed" in f.needs:
            drawn = draw.whole(rng, size, -high if info.min else 0, high + 1, False)
            return np.where(drawn == 0, 1, drawn) if "nonzero" in f.needs else drawn
        if self.dtype.itemsize == 1:
            return draw.whole(rng, size, info.min, info.max + 1, False)
        return draw.sprinkle(rng, draw.whole(rng, size, 0, high, False), f.cases)


def describe(graph: gs.Graph) -> list[InputSpec]:
    """The inputs of a loaded model; ConversionError for one that is no tensor."""
    specs, known = [], facts(graph)
    for tensor in graph.inputs:
        dtype = np.dtype(tensor.dtype) if tensor.dtype is not None and not isinstance(tensor.dtype, int) else None
        if dtype is None or tensor.shape is None:
            what = "has no tensor type with a known rank and numeric dtype"
            remedy = f"say its shape: -ois {tensor.name}:1,3,224,224"
            raise ConversionError(Problem(f"input '{tensor.name}'", what, remedy))
        specs.append(InputSpec(tensor.name, dtype, tuple(tensor.shape), known[tensor.name]))
    return specs


def check_hint(name: str, shape: Sequence[int], place: Placement) -> None:
    """ConversionError where the input cannot have this shape; -1 leaves an extent as it is."""
    if len(shape) != len(place.shape) or any(
        isinstance(d, int) and extent not in (-1, d) for d, extent in zip(place.shape, shape, strict=True)
    ):
        what = f"cannot have the shape {_text(shape)}: it is {_text(place.shape)} in the model"
        raise ConversionError(Problem(f"input '{name}'", what, "free dimensions are those with a name"))


def default_place(spec: InputSpec) -> Placement:
    """An input as the model declares it, for a file that does not say where its inputs are."""
    shape = tuple(d if isinstance(d, int) else symbol(str(d or f"{spec.name}_{i}")) for i, d in enumerate(spec.shape))
    return Placement(Value(spec.name, shape, spec.dtype), shape, tuple(range(len(shape))), shape)


def bind(pairs: Iterable[tuple[Iterable[object], Iterable[int]]], known: Mapping[str, int]) -> dict[str, int]:
    """The symbols that (symbolic shape, concrete shape) pairs say, besides those ``known``."""
    values = dict(known)
    for shape, extents in pairs:
        for dim, extent in zip(shape, extents, strict=False):
            if isinstance(dim, Expr) and len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1:
                (atom,) = dim.terms[0][0]
                if isinstance(atom, str) and extent >= 0:
                    values.setdefault(atom, int(extent))
    return values


def read(path: str | os.PathLike[str]) -> Arrays:
    """Arrays of an .npz by name, or of an .npy under the name ''; ConversionError for other files."""
    try:
        piped = Path(path).is_fifo()  # numpy goes back in what it reads
        loaded = np.load(io.BytesIO(Path(path).read_bytes()) if piped else path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConversionError(
            Problem(f"test data '{path}'", f"cannot be read: {error}", "give an .npy or .npz file")
        ) from error
    return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}


def from_user(
    data: Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]],
    specs: list[InputSpec],
    places: Mapping[str, Placement],
) -> list[tuple[dict[str, int], Arrays]]:
    """(symbols, inputs in ONNX order) of each sample in the user's arrays, or in each of several sets of them.

    An array is in ONNX order or in that of the file, which its shape says; where it says neither, the key does:
    ``name@onnx`` or ``name@stored``.  Rows that are a multiple of a fixed batch are several samples.

    :raises ConversionError: arrays fit no input.
    """
    if not isinstance(data, Mapping):
        return [sample for part in data for sample in from_user(part, specs, places)]
    given = {n.partition("@")[0]: (n.partition("@")[2], np.asarray(a)) for n, a in data.items()}
    if len(specs) == 1 and set(given) == {""}:
        given = {specs[0].name: given[""]}
    names = [s.name for s in specs]
    if sorted(given) != sorted(names):
        what = f"has {', '.join(sorted(given)) or 'nothing'}; the inputs are {', '.join(names)}"
        raise ConversionError(Problem("test data", what, "give one array per input, by name, in an .npz file"))
    parts = {s.name: _in_onnx_order(s, places[s.name], *given[s.name]) for s in specs}
    count = {len(p) for p in parts.values()}
    if len(count) > 1:
        what = "different numbers of samples: " + ", ".join(f"{n} {len(p)}" for n, p in parts.items())
        raise ConversionError(Problem("test data", what))
    samples = []
    for feeds in ({n: p[i] for n, p in parts.items()} for i in range(count.pop() if count else 1)):
        samples.append((bind(((places[n].shape, a.shape) for n, a in feeds.items()), {}), feeds))
    return samples


def _in_onnx_order(spec: InputSpec, place: Placement, said: str, array: np.ndarray) -> list[np.ndarray]:
    """The samples in ``array``, in the model's dtype."""
    orders = {"onnx": tuple(range(array.ndim))}
    if len(place.perm) == len(place.shape) == len(place.split):
        orders["stored"] = place.perm
    fits = {}
    for name, perm in orders.items():
        moved = array.transpose(perm) if len(perm) == array.ndim else array
        rows = _rows(place.shape, moved.shape)
        if rows:
            fits[name] = [
                np.array(moved[i : i + rows] if moved.ndim else moved, spec.dtype, order="C")
                for i in (range(0, len(moved), rows) if moved.ndim else (0,))
            ]
    same = orders.get("stored", orders["onnx"]) == orders["onnx"]
    said = {"nchw": "onnx", "ncw": "onnx", "nhwc": "stored", "nwc": "stored"}.get(said.lower(), said.lower())
    if said in fits and (said or same):
        return fits[said]
    where = f"test data for input '{spec.name}'"
    if not fits or said:
        shapes = f"{_text(place.shape)} or {_text(place.value.shape)}"
        raise ConversionError(Problem(where, f"has shape {list(array.shape)}; the input is {shapes}"))
    if len(fits) == 2 and not same:
        what = f"shape {list(array.shape)} fits the ONNX order and the order of the file"
        raise ConversionError(Problem(where, what, f"say which: call it '{spec.name}@onnx' or '{spec.name}@stored'"))
    return next(iter(fits.values()))


def _rows(shape: Iterable[object], extents: tuple[int, ...]) -> int:
    """How many rows of an array of ``extents`` make one input of ``shape``; 0 where it does not fit."""
    dims = list(shape)
    if len(dims) != len(extents) or any(
        isinstance(d, int) and d != e for d, e in zip(dims[1:], extents[1:], strict=True)
    ):
        return 0
    if not dims:
        return 1
    if isinstance(dims[0], int):
        return dims[0] if extents[0] % dims[0] == 0 and extents[0] else 0
    return extents[0]


def _text(shape: Iterable[object]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
