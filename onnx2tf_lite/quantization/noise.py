"""Seeded noise as samples, on request only, in the smallest sizes with which a program runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .. import child
from ..ir.graph import Graph
from ..validation.feeds import extents, images
from ..validation.feeds.inputs import InputSpec
from .runner import ProgramRunner

HIGH = 2  # bound of integers
Shapes = Mapping[str, Sequence[int]]


def samples(specs: Sequence[InputSpec], shapes: Shapes, count: int) -> Iterator[dict[str, np.ndarray]]:
    """``count`` of them in ONNX order; ``shapes``: of every input that has open extents, others may be left out."""
    rng = np.random.default_rng(0)
    for turn in range(count):
        yield {s.name: s.random(shapes.get(s.name, s.shape), rng, HIGH, turn) for s in specs}  # type: ignore[arg-type]


def sizes(graph: Graph, specs: Sequence[InputSpec], known: Shapes) -> dict[str, list[int]]:
    """The extents of every input; of the last ones tried where ``graph`` runs with none, so that its run says why.

    ``known``: by input name those that somebody says, -1 where they are open.
    """
    places = {s.name: graph.placements[s.name] for s in specs}
    begin = extents.PICTURE if any(map(_is_picture, specs)) else None
    for candidate in extents.sizes(specs, places, known, start=begin):
        shapes = {s.name: [candidate[s.name, axis] for axis in range(len(s.shape))] for s in specs}
        if _runs(graph, {s.name: np.zeros(shapes[s.name], s.dtype) for s in specs}):
            break
    return shapes


def _is_picture(spec: InputSpec) -> bool:
    return len(spec.shape) == 4 and not {spec.shape[1], spec.shape[3]}.isdisjoint(images.CHANNELS)


def _runs(graph: Graph, feeds: Mapping[str, np.ndarray]) -> bool:
    """In a child with an interpreter of its own, whose threads a fork would not have."""
    try:
        child.call(lambda: ProgramRunner(graph, everything=False).run(feeds))
    except (child.DiedError, RuntimeError, ValueError):
        return False
    return True
