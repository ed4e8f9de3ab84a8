"""The tensor map: where every ONNX tensor lies in a written file, carried by the file itself.

A .tflite has it as the metadata entry ``onnx2tf_lite.map``, a SavedModel as ``assets.extra/onnx2tf_lite.map``.  Either
is zlib-compressed JSON::

    {"version": 1,
     "tensors": [[ONNX name, stored name, perm, stored shape, split, shape, dtype, meaning, factor], ...],
     "nodes": [ONNX node name, ...], "operators": [index into nodes or -1, for every operator of the file],
     "bodies": [[number of the subgraph, ONNX node and attribute, its tensors as above], ...]}   (where there are any)

``meaning``: 1 where the ONNX tensor is the real numbers that the file's integers stand for, 2 where it is uint8 and has
128 more than the file's int8, or uint16 and 32768 more than its int16. ``factor``: of each channel, by which the file's
numbers are smaller. In a tensor's line 0 stands for the usual value (the same name, no permutation, no reshape,
float32, the numbers themselves) and zeros at the end are left out. A symbolic extent is ``[[factor, symbol or
[function, extent, extent], ...], ...]``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from ..record import record
from .dims import Dim, DimFunction, Expr, Shape
from .graph import Graph, Placement, Value

NAME = "onnx2tf_lite.map"
VERSION = 1
Json = Any  # a part of the map as JSON has it
Stored = Callable[[Value], "str | None"]


@record
class TensorMap:
    """ONNX tensor -> its placement and its name in the file; the ONNX node of every operator (empty: of none).

    ``bodies``: number of a subgraph -> what it is in the model (``Graph.body_of``), and its own map.
    """

    places: Mapping[str, Placement]
    names: Mapping[str, str]
    operators: tuple[str, ...] = ()
    bodies: Mapping[int, tuple[str, TensorMap]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, stored: Stored, operators: Iterable[str] = ()) -> TensorMap:
        """The map of a laid-out graph; ``stored`` gives the name of a value in the file, None where it is not there."""
        found = {n: (p, stored(p.value)) for n, p in graph.placements.items() if p.value.data is None}
        kept = {n: (p, name) for n, (p, name) in found.items() if name is not None}
        return cls({n: p for n, (p, _) in kept.items()}, {n: name for n, (_, name) in kept.items()}, tuple(operators))

    def to_bytes(self, shapes: bool = False) -> bytes:
        """Deterministic: the same map gives the same bytes.  ``shapes``: also those that are known, for a file whose
        own tables do not have them."""
        nodes = {name: i for i, name in enumerate(dict.fromkeys(n for n in self.operators if n))}
        data = {
            "version": VERSION,
            "tensors": [_line(n, self.names[n], p, shapes) for n, p in self.places.items()],
            "nodes": list(nodes),
            "operators": [nodes.get(n, -1) for n in self.operators],
        }
        if self.bodies:
            data["bodies"] = [
                [number, body_of, [_line(n, body.names[n], p, shapes) for n, p in body.places.items()]]
                for number, (body_of, body) in self.bodies.items()
            ]
        return zlib.compress(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode(), 9)

    @classmethod
    def from_bytes(cls, content: bytes, shapes: Mapping[str, Sequence[int]]) -> TensorMap:
        """``shapes``: of the stored tensors by name, where the map itself has none.

        :raises ValueError: where this is not a map of a known version, or one of tensors of other ranks.
        """
        try:
            return cls._read(json.loads(zlib.decompress(content)), shapes)
        except (zlib.error, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"not a tensor map of this file: {error}") from error

    @classmethod
    def _read(cls, data: Json, shapes: Mapping[str, Sequence[int]]) -> TensorMap:
        if data["version"] != VERSION:
            raise ValueError(f"tensor map of version {data['version']}, this program reads {VERSION}")
        nodes = data["nodes"]
        bodies = {number: (body_of, cls(*_tensors(lines, shapes))) for number, body_of, lines in data.get("bodies", ())}
        origins = tuple(nodes[i] if i >= 0 else "" for i in data["operators"])
        return cls(*_tensors(data["tensors"], shapes), origins, bodies)


def _tensors(
    lines: Iterable[list[Json]], shapes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, Placement], dict[str, str]]:
    places, names = {}, {}
    for line in lines:
        name, stored, *rest = line + [0] * (9 - len(line))
        names[name] = stored = stored or name
        places[name] = _place(stored, shapes.get(stored, ()), *rest)
    return places, names


def _line(name: str, stored: str, place: Placement, shapes: bool) -> list[Json]:
    """A tensor's line without its trailing zeros."""
    value, usual = place.value, tuple(range(len(place.split)))
    line = [
        name,
        0 if stored == name else stored,
        0 if place.perm == usual else list(place.perm),
        _dims(value.shape) if shapes or any(isinstance(d, Expr) for d in value.shape) else 0,
        0 if place.split == value.shape else _dims(place.split),
        0 if place.shape == _moved(place.split, place.perm) else _dims(place.shape),
        0 if value.dtype == np.float32 else value.dtype.name,
        2 if place.unsigned else int(place.real),
        0 if place.factor is None else list(place.factor),
    ]
    while line[-1] == 0:
        line.pop()
    return line


def _place(
    name: str,
    known: Sequence[int],
    perm: Json,
    stored: Json,
    split: Json,
    shape: Json,
    dtype: Json,
    meaning: Json,
    factor: Json,
) -> Placement:
    stored_shape = _undims(stored) if stored else tuple(int(d) for d in known)
    parts = stored_shape if split == 0 else _undims(split)
    order = tuple(perm) if perm else tuple(range(len(parts)))
    whole = _moved(parts, order) if shape == 0 else _undims(shape)
    value = Value(name, stored_shape, np.dtype(dtype or np.float32))
    return Placement(value, parts, order, whole, meaning == 1, meaning == 2, tuple(factor) if factor else None)


def _moved(shape: Shape, perm: Sequence[int]) -> Shape:
    return tuple(shape[p] for p in perm)


def _dims(shape: Shape) -> list[Json]:
    return [_dim(d) for d in shape]


def _dim(dim: Dim) -> Json:
    if not isinstance(dim, Expr):
        return int(dim)
    atom = [
        [factor, *(a if isinstance(a, str) else [a.op, *map(_dim, a.args)] for a in atoms)]
        for atoms, factor in dim.terms
    ]
    return atom


def _undims(shape: Sequence[Json]) -> Shape:
    return tuple(_undim(d) for d in shape)


def _undim(dim: Json) -> Dim:
    if isinstance(dim, int):
        return dim
    return Expr(tuple((tuple(_atom(a) for a in atoms), factor) for factor, *atoms in dim))


def _atom(atom: Json) -> Json:
    return atom if isinstance(atom, str) else DimFunction(atom[0], tuple(_undim(a) for a in atom[1:]))
