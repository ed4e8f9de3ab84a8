"""Candidates of inputs: sizes for the free extents, smallest that works first, and arrays of these sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod

import numpy as np

from ...ir.graph import Placement
from .inputs import HIGHS, Arrays, InputSpec, bind

#: Tried in this order from the first that is no less than where to begin, then those below it.
SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 160, 224, 256, 320, 512, 640, 1024, 2048, 4096, 16000, 48000)
SMALL = (5, 4, 3, 2, 1)
PICTURE, VOLUME = 64, 16  # where to begin for what is convolved, and where that has more than four axes
NEAR = 3  # extents that differ are so many neighbours among the sizes
LARGEST = 1 << 27  # elements of an input
CHOICES = 256  # of sizes that are tried
Axis = tuple[str, int]  # name of the input, number of the axis


def generate(
    specs: Sequence[InputSpec],
    places: Mapping[str, Placement],
    hints: Mapping[str, Sequence[int]],
    seed: int = 0,
    turn: int = 0,
    start: int | None = None,
    fits: Callable[[Mapping[str, int]], bool] = lambda symbols: True,
) -> Iterator[tuple[dict[str, int], Arrays]]:
    """Candidates of (symbols, inputs) for sample number ``turn``, in the order they are to be tried.

    ``places`` says which extents are free in the file that is checked; what ``hints`` say is the same in all.
    ``start``: the size at which to begin, instead of one that suits the kind of model; ``fits``: whether extents are to
    be drawn.
    """
    open_ended = any(s.dtype.kind in "iu" and s.facts.high is None for s in specs)
    symbols, drawn = dict[str, int](), Arrays()
    for high in HIGHS if open_ended else HIGHS[:1]:
        for extents in sizes(specs, places, hints, turn, start):
            shapes = {s.name: [extents[s.name, i] for i in range(len(s.shape))] for s in specs}
            symbols = bind(((places[n].shape, shape) for n, shape in shapes.items()), {})
            if not fits(symbols) or any(prod(shape) > LARGEST for shape in shapes.values()):
                continue
            rng = np.random.default_rng(seed + turn)
            drawn = {
                s.name: s.random(shapes[s.name], rng, high, turn, _longest(s, extents), _total(s, extents))
                for s in specs
            }
            yield symbols, drawn
    if open_ended:
        yield from ((symbols, drawn | sizes_of) for sizes_of in _made(specs))


def _made(specs: Sequence[InputSpec]) -> Iterator[Arrays]:
    """Values of inputs that may be sizes of the results: every choice of the extents that the model declares."""
    asked = [s for s in specs if s.facts.made and s.dtype.kind in "iu"]
    lengths = [d for s in asked for d in s.shape if isinstance(d, int)]
    if not asked or len(asked[0].facts.made) ** sum(lengths) > CHOICES:
        return
    for values in product(asked[0].facts.made, repeat=sum(lengths)):
        left = iter(values)
        yield {s.name: np.array([next(left) for _ in range(n)], s.dtype) for s, n in zip(asked, lengths, strict=True)}


def _longest(spec: InputSpec, extents: Mapping[Axis, int]) -> int | None:
    return min((extents[limit] for limit in spec.facts.limits if limit in extents), default=None)


def _total(spec: InputSpec, extents: Mapping[Axis, int]) -> int | None:
    terms = [term if isinstance(term, int) else extents[term] for term in spec.facts.sum]
    return sum(terms) if terms else None


def sizes(
    specs: Sequence[InputSpec],
    places: Mapping[str, Placement],
    hints: Mapping[str, Sequence[int]],
    turn: int = 0,
    start: int | None = None,
) -> Iterator[dict[Axis, int]]:
    """Every extent of every input.

    Extents under different names differ; from the second sample on those under one name as well, before they are tried
    equal.  None of those is 1, with which anything broadcasts.  A batch is 1, then 2, and any size where the model
    runs with neither.
    """
    known, groups = _known(specs, places, hints)
    if not groups:
        yield known
        return
    batches = {name for name, axes in groups.items() if _is_batch(axes, specs)}
    pictures = {s.name: VOLUME if len(s.shape) > 4 else PICTURE for s in specs if "picture" in s.facts.needs}
    free = [name for name in groups if name not in batches]
    begins = [pictures[axis[0]] for name in free for axis in groups[name] if axis[0] in pictures]
    ladder = _ladder(start or min(begins, default=SIZES[0]))
    batch = min(turn, 1) + 1
    seen: set[tuple[tuple[Axis, int], ...]] = set()

    def candidates(rung: int) -> Iterator[dict[Axis, int]]:
        rungs = [ladder[(rung + k) % len(ladder)] for k in range(NEAR)]
        size = {n: batch if n in batches else rungs[free.index(n) % NEAR] for n in groups}
        if turn and (odd := _apart(groups, size, rungs)):
            yield odd
        yield {axis: size[n] for n, axes in groups.items() for axis in axes}
        yield {axis: batch if n in batches else rungs[0] for n, axes in groups.items() for axis in axes}
        yield {axis: rungs[0] for axes in groups.values() for axis in axes}

    for rung in range(len(ladder)):
        for candidate in candidates(rung + min(turn, 1)):
            key = tuple(sorted(candidate.items()))
            if key not in seen:
                seen.add(key)
                yield known | candidate


def _apart(groups: Mapping[str, Sequence[Axis]], size: Mapping[str, int], rungs: Sequence[int]) -> dict[Axis, int]:
    """The extents of one name all different; empty where no name has several."""
    if all(len(axes) == 1 for axes in groups.values()):
        return {}
    pick = {
        n: [d, *(r for r in (3, 5, *rungs) if r != d)] if d < SMALL[0] else [d, *(r for r in rungs if r != d)]
        for n, d in size.items()
    }
    return {axis: max(pick[n][k % len(pick[n])], 1 if len(axes) == 1 else 2)
            for n, axes in groups.items() for k, axis in enumerate(axes)}  # fmt: skip


def _ladder(start: int) -> list[int]:
    return [*(s for s in SIZES if s >= start), *(s for s in SIZES[::-1] if s < start), *SMALL]


def _known(
    specs: Sequence[InputSpec], places: Mapping[str, Placement], hints: Mapping[str, Sequence[int]]
) -> tuple[dict[Axis, int], dict[str, list[Axis]]]:
    """The extents that are not to be chosen, and the axes of the others by the name that they have in common."""
    known: dict[Axis, int] = {}
    groups: dict[str, list[Axis]] = {}
    hinted: dict[str, int] = {}
    for spec in specs:
        hint = hints.get(spec.name, (-1,) * len(spec.shape))
        for axis, dim in enumerate(places[spec.name].shape):
            if isinstance(dim, int) or hint[axis] >= 0:
                known[spec.name, axis] = dim if isinstance(dim, int) else hint[axis]
                if not isinstance(dim, int):
                    hinted.setdefault(str(dim), hint[axis])
            elif axis in spec.facts.extents:
                known[spec.name, axis] = spec.facts.extents[axis]
            else:
                groups.setdefault(str(dim), []).append((spec.name, axis))
    for name in groups.keys() & hinted.keys():  # said for one input, meant for all
        known |= dict.fromkeys(groups.pop(name), hinted[name])
    return known, groups


def _is_batch(axes: Sequence[Axis], specs: Sequence[InputSpec]) -> bool:
    """First of the axes of an input of several, and no time by its name or its use; the name ``batch`` alone makes no
    batch."""
    shapes = {s.name: s.shape for s in specs}
    if any(axis in s.facts.turns for s in specs for name, axis in axes if s.name == name):
        return False
    names = [str(shapes[name][axis] or "") for name, axis in axes]
    first = any(axis == 0 and len(shapes[name]) > 1 for name, axis in axes)
    return first and not any(re.search("seq|len|time|past|frames|samples|num", n, re.IGNORECASE) for n in names)
