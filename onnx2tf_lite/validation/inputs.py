"""What the models are fed: arrays of the user, or seeded random ones that suit each input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from ..ir.dims import Expr, evaluate, symbol, symbols
from ..ir.graph import Placement, Value

Arrays = dict[str, np.ndarray]
#: Extents tried for free dimensions, and upper bounds tried for integers that nothing bounds, until the model runs.
SIZES = (64, 96, 128, 224, 32, 256, 512, 16, 8, 640, 5, 4, 3, 2, 1)
HIGHS = (8, 2)
#: operator -> (index operand, data operand): the ids lie below the extent of the data along ``axis``.
INDEXING = {
    "Gather": (1, 0),
    "GatherElements": (1, 0),
    "ScatterElements": (1, 0),
    "GatherND": (1, 0),
    "ScatterND": (1, 0),
}
PASSES_ON = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat", "Expand"}


@dataclass(frozen=True)
class InputSpec:
    """An input of the original model: its dtype, its declared shape, and the bound below which its integers stay.

    ``distinct``: integers that say where to scatter to, which ONNX leaves undefined for repeated ones.
    ``span``: what floats are drawn from: ``normal``, ``pixels`` (0 to 255, which the model divides by that) or ``mask``
    (0 or 1, also of integers).
    """

    name: str
    dtype: np.dtype
    shape: tuple[Any, ...]
    high: int | None = None
    distinct: bool = False
    span: str = "normal"

    def random(self, shape: Iterable[int], rng: np.random.Generator, high: int) -> np.ndarray:
        """Normal floats, pixels or masks; integers that are valid ids; bytes of the whole range; both booleans."""
        size = tuple(shape)
        if self.span == "mask" and self.dtype.kind in "fiu":
            drawn = np.asarray(rng.random(size) < 0.75)
            if drawn.ndim:
                drawn[..., :1] = True  # a row without a single element has no defined softmax
            return drawn.astype(self.dtype)
        if self.span == "pixels" and self.dtype.kind == "f":
            return np.asarray(rng.uniform(0, 255, size), self.dtype)
        if self.dtype.kind in "fc":
            return np.asarray(rng.standard_normal(size), self.dtype)
        if self.dtype.kind == "b":
            return np.asarray(rng.integers(0, 2, size), self.dtype)
        if self.distinct and self.high and np.prod(size) <= self.high:
            return rng.permutation(self.high)[: int(np.prod(size))].reshape(size).astype(self.dtype)
        info = np.iinfo(self.dtype)
        low, top = (
            (info.min, info.max + 1) if self.dtype.itemsize == 1 and self.high is None else (0, self.high or high)
        )
        return np.asarray(rng.integers(low, min(top, info.max + 1), size), self.dtype)


def describe(graph: gs.Graph) -> list[InputSpec]:
    """The inputs of a loaded model."""
    specs = []
    for tensor in graph.inputs:
        dtype = np.dtype(tensor.dtype) if tensor.dtype is not None and not isinstance(tensor.dtype, int) else None
        if dtype is None or tensor.shape is None:
            what = "has no tensor type with a known rank and numeric dtype"
            raise ConversionError(Problem(f"input '{tensor.name}'", what, "declare its shape in the model"))
        ids = _bound(tensor) if dtype.kind in "iu" else (None, False)
        specs.append(InputSpec(tensor.name, dtype, tuple(tensor.shape), *ids, span=_span(tensor, dtype)))
    return specs


def _span(tensor: gs.Tensor, dtype: np.dtype) -> str:
    """Pixels where the first thing that is done to the input is a division by about 255; masks go by their name."""
    if re.search(r"(^|[^a-z])mask([^a-z]|$)", tensor.name, re.IGNORECASE):
        return "mask"
    nodes = list(tensor.outputs)
    while len(nodes) == 1 and nodes[0].op in PASSES_ON:
        nodes = [n for t in nodes[0].outputs for n in t.outputs]
    scales = [_factor(n) for n in nodes]
    return "pixels" if dtype.kind == "f" and scales and all(100 < s < 300 for s in scales) else "normal"


def _factor(node: gs.Node) -> float:
    """What a node divides by, if it does that by one number."""
    constants = [t.values for t in node.inputs if isinstance(t, gs.Constant) and t.values.size == 1]
    if node.op not in ("Div", "Mul") or len(constants) != 1 or not constants[0].item():
        return 0.0
    return float(constants[0].item()) if node.op == "Div" else 1 / float(constants[0].item())


def _bound(tensor: gs.Tensor) -> tuple[int | None, bool]:
    """The smallest extent that values of ``tensor`` index, seen through operators that only move them; whether any of
    these operators scatters."""
    found, seen, queue, scatters = [], {id(tensor)}, [tensor], False
    while queue:
        current = queue.pop()
        for node in current.outputs:
            index, data = INDEXING.get(node.op, (None, None))
            if index is not None and len(node.inputs) > index and node.inputs[index] is current:
                shape, scatters = node.inputs[data].shape, scatters or node.op.startswith("Scatter")
                axes = (
                    range(node.inputs[index].shape[-1] if node.inputs[index].shape else 0) if "ND" in node.op else None
                )
                for axis in [node.attrs.get("axis", 0)] if axes is None else axes:
                    if shape is not None and -len(shape) <= axis < len(shape) and isinstance(shape[axis], int):
                        found.append(shape[axis])
            elif (node.op in PASSES_ON and node.inputs[0] is current) or node.op == "Concat":
                fresh = [t for t in node.outputs if id(t) not in seen]
                seen.update(map(id, fresh))
                queue += fresh
    return max(1, min(found)) if found else None, scatters


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


def generate(
    specs: list[InputSpec],
    places: Mapping[str, Placement],
    hints: Mapping[str, Sequence[int]],
    seed: int = 0,
    samples: int | None = None,
) -> Iterator[tuple[dict[str, int], Arrays]]:
    """Candidates of (symbols, inputs) in the order they are to be tried; at the end nothing is left to try.

    Batch dimensions are 1, from the second candidate on 2; what ``hints`` say is the same in all.  With ``samples``
    every size is tried with that many seeds, one after the other.
    """
    free = sorted({s for spec in specs for s in symbols(places[spec.name].shape)})
    bound = bind(((places[n].shape, shape) for n, shape in hints.items() if n in places), {})
    batch = {s for s in free if _is_batch(s, specs, places)}
    loose = [s for s in free if s not in bound]
    for high in HIGHS:
        for turn, size in enumerate(SIZES if loose else SIZES[:1]):
            values = bound | {s: (1 if turn == 0 else 2) if s in batch else size for s in loose}
            for number in range(samples or 1):
                rng = np.random.default_rng(seed + number)
                yield (
                    values,
                    {s.name: s.random([evaluate(d, values) for d in places[s.name].shape], rng, high) for s in specs},
                )


def _is_batch(symbol: str, specs: list[InputSpec], places: Mapping[str, Placement]) -> bool:
    if re.search(r"batch|^n$|^b$", symbol, re.IGNORECASE):
        return True
    shapes = [places[s.name].shape for s in specs]
    first = any(len(shape) > 1 and symbol in symbols(shape[:1]) for shape in shapes)
    return first and not re.search("seq|len|time|past|num", symbol, re.IGNORECASE)


def bind(pairs: Iterable[tuple[Iterable[Any], Iterable[int]]], known: Mapping[str, int]) -> dict[str, int]:
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
    """Arrays of an .npz by name, or of an .npy under the name ''."""
    try:
        loaded = np.load(path, allow_pickle=False)
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
            fits[name] = [np.array(moved[i : i + rows] if moved.ndim else moved, spec.dtype, order="C")
                          for i in (range(0, len(moved), rows) if moved.ndim else (0,))]  # fmt: skip
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


def _rows(shape: Iterable[Any], extents: tuple[int, ...]) -> int:
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


def _text(shape: Iterable[Any]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
