"""Where the tensors of the model are in a file: by the map that the file carries, or by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ...ir.dims import Dim, Expr, symbol
from ...ir.graph import Graph, Placement, Value
from ...ir.tensor_map import TensorMap
from ...record import record

if TYPE_CHECKING:
    from ..feeds.inputs import InputSpec

CHANNELS_LAST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@record
class Program:
    """ONNX name -> its placement, and its name in the file.  ``nodes``: the ONNX node of every operator, if known."""

    places: Mapping[str, Placement]
    names: Mapping[str, str]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    matched: str = "map"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: Graph) -> Program:
        """The map as it stands, before later stages change the graph; it does not keep the weights alive."""
        written = dict(zip(graph.outputs, graph.output_names, strict=True))
        names = {n: written.get(p.value, p.value.name) for n, p in graph.placements.items()}
        places = {
            n: replace(p, value=replace(p.value, producer=None, content=None)) for n, p in graph.placements.items()
        }
        return cls(places, names | {n: n for n in graph.output_names}, tuple(graph.output_names))

    @classmethod
    def read(cls, table: TensorMap, outputs: Iterable[str]) -> Program:
        """What a file says of itself."""
        return cls(table.places, table.names, tuple(n for n in outputs if n in table.places), table.operators)

    def place(self, name: str, shape: Sequence[int], stored: Sequence[int]) -> Placement | None:
        """How a tensor that is ``shape`` in ONNX and ``stored`` in the file lies there; None where the two
        cannot be the same one."""
        return self.places[name]

    def assumed(self, name: str, shape: Sequence[int], stored: Sequence[int]) -> bool:
        """True where more than one permutation fits and a rule chose."""
        return False


@record
class Expected:
    """A file of floats that is not there yet, as far as the inputs of a check depend on it."""

    program: Program
    inside: bool = True

    def span(self, stored: str) -> tuple[float, float] | None:
        """Nothing is quantised."""
        return None


@record
class Foreign(Program):
    """A file that says nothing of itself.  ``channels_last``: it has operators that only exist in that order."""

    channels_last: bool = False
    matched: str = "names and shapes"
    _fits: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Placement | None, bool]] = field(
        default_factory=dict, compare=False
    )

    def _fit(self, shape: Sequence[int], stored: Sequence[int]) -> tuple[Placement | None, bool]:
        key = tuple(shape), tuple(stored)
        if key not in self._fits:
            self._fits[key] = fit(*key, self.channels_last)
        return self._fits[key]

    def place(self, name: str, shape: Sequence[int], stored: Sequence[int]) -> Placement | None:
        """By the two shapes alone, see :func:`fit`."""
        return self._fit(shape, stored)[0]

    def assumed(self, name: str, shape: Sequence[int], stored: Sequence[int]) -> bool:
        """See :func:`fit`."""
        return self._fit(shape, stored)[1]


def fit(shape: tuple[int, ...], stored: tuple[int, ...], channels_last: bool) -> tuple[Placement | None, bool]:
    """The placement of a tensor that is ``shape`` in ONNX and ``stored`` in the file, and whether it is one of several.

    Values are never looked at.  Where extents are equal the rule is, in this order: channels-last for rank 4 and 5 if
    the file computes so; the order of ONNX; the first permutation in lexicographic order.  Axes of extent 1 lie
    anywhere.
    """
    wide = [i for i, d in enumerate(shape) if d != 1]
    parts = tuple(d for d in stored if d != 1)
    orders = [p for p in _permutations(wide) if tuple(shape[i] for i in p) == parts]
    if not orders:
        return None, False
    chosen = _preferred(shape, stored, channels_last)
    if chosen is None and len(shape) == len(stored):
        chosen = _whole(orders[0], shape, stored)
    value = Value("", stored, np.dtype(np.float32))
    if chosen is not None:
        return Placement(value, stored, tuple(int(i) for i in np.argsort(chosen)), shape), len(orders) > 1
    ranks = {axis: i for i, axis in enumerate(sorted(orders[0]))}
    back = tuple(int(i) for i in np.argsort([ranks[axis] for axis in orders[0]]))
    return Placement(value, parts, back, shape), len(orders) > 1


def _permutations(axes: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """In lexicographic order; of very many axes the given order alone."""
    return permutations(axes) if len(axes) < 8 else [tuple(axes)]


def _preferred(shape: tuple[int, ...], stored: tuple[int, ...], channels_last: bool) -> tuple[int, ...] | None:
    """Channels-last, or else the order of ONNX, where it fits."""
    usual = [CHANNELS_LAST[len(shape)]] if channels_last and len(shape) in CHANNELS_LAST else []
    return next((p for p in (*usual, tuple(range(len(shape)))) if tuple(shape[i] for i in p) == stored), None)


def _whole(order: Sequence[int], shape: tuple[int, ...], stored: tuple[int, ...]) -> tuple[int, ...]:
    """``order`` of the wide axes with those of extent 1 in between, so that it is a permutation of all axes."""
    wide, ones = iter(order), iter(i for i, d in enumerate(shape) if d == 1)
    return tuple(next(ones) if d == 1 else next(wide) for d in stored)


def match(
    specs: Sequence[InputSpec],
    outputs: Sequence[str],
    tensors: Iterable[str],
    ends: tuple[Mapping[str, Sequence[int]], Mapping[str, Sequence[int]]],
    stored: Iterable[str],
    channels_last: bool,
) -> Foreign:
    """The program of a file without a map.

    ``tensors``: of the model; ``ends``: inputs and outputs of the file by name with their shapes (-1: free);
    ``stored``: names of all its tensors.  Inputs and outputs go by name, else by their order where the numbers agree;
    the rest by name alone.
    """
    notes: list[str] = []
    inputs = _pair([s.name for s in specs], list(ends[0]), "inputs", notes)
    results = _pair(list(outputs), list(ends[1]), "outputs", notes)
    inner = {_plain(n): n for n in stored}
    others = {t: inner[_plain(t)] for t in tensors if _plain(t) in inner and t not in results}
    places = {s.name: _input_place(s, ends[0][inputs[s.name]], channels_last) for s in specs if s.name in inputs}
    return Foreign(places, others | inputs | results, tuple(n for n in outputs if n in results), (),
                   notes=tuple(notes), channels_last=channels_last)  # fmt: skip


def _plain(name: str) -> str:
    """A name without what frameworks put around it."""
    name = re.sub(r":\d+$", "", name.removeprefix("serving_default_"))
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def _pair(wanted: list[str], found: list[str], what: str, notes: list[str]) -> dict[str, str]:
    known = {_plain(n): n for n in found}
    pairs = {n: n if n in found else known[_plain(n)] for n in wanted if n in found or _plain(n) in known}
    if len(pairs) < len(wanted) and len(wanted) == len(found):
        notes.append(f"{what} have other names: matched by their order ({', '.join(found)})")
        return dict(zip(wanted, found, strict=True))
    if missing := [n for n in wanted if n not in pairs]:
        notes.append(f"{what} not found in the file: {', '.join(missing)} (it has {', '.join(found)})")
    return pairs


def _input_place(spec: InputSpec, stored: Sequence[int], channels_last: bool) -> Placement:
    """Where an input lies; extents that either side leaves free fit anything."""
    shape = [d if isinstance(d, int) else -1 for d in spec.shape]
    rank = len(shape)
    usual = [CHANNELS_LAST[rank]] if channels_last and rank in CHANNELS_LAST else []
    same = tuple(range(rank))
    orders = [*usual, same, *permutations(same)] if rank == len(stored) and rank < 8 else [same]
    fits = (p for p in orders if all(-1 in (shape[a], d) or shape[a] == d for a, d in zip(p, stored, strict=False)))
    order = next(fits, same)
    dims: list[Dim] = [symbol(str(spec.shape[a] or f"{spec.name}_{a}")) if d == -1 else d for a, d in enumerate(shape)]
    for axis, d in zip(order, stored, strict=False):
        if d > 0 and isinstance(dims[axis], Expr):
            dims[axis] = int(d)
    moved = tuple(dims[a] for a in order)
    value = Value(spec.name, moved, spec.dtype)
    return Placement(value, moved, tuple(int(i) for i in np.argsort(order)), tuple(dims))
