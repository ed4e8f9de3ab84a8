"""Quantising as a stage of the compiler: prepare, calibrate, annotate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..ir.graph import Graph, Value
from . import outside
from .annotate import annotate
from .calibrate import Spread, calibrate
from .plan import Plan
from .prepare import prepare
from .recipes import I8, Recipe
from .samples import CalibrationData
from .weights import quantise_weights

FLOAT = np.dtype(np.float32)


@dataclass
class Quantiser:
    """What is asked of all quantised programs of one conversion; what calibration found is kept between them.

    ``inputs``, ``outputs``  dtype of those of a program that is integer outside; int8, uint8 or float32
    """

    data: CalibrationData = field(default_factory=CalibrationData)
    per_channel: bool = True
    inputs: np.dtype = I8
    outputs: np.dtype = I8
    listener: Callable[[str], None] = lambda what: None
    warn: Callable[[str], None] = lambda what: None
    spreads: dict[str, Spread] = field(default_factory=dict)  # by the name of a tensor, which every branch has alike

    def run(self, graph: Graph, recipe: Recipe) -> Graph:
        """The stage: ``graph``, float, becomes one from which ``fusion.qdq`` forms integer kernels; in place.

        :raises ConversionError: there is no calibration data, or it does not fit.
        """
        if recipe.activations is None:
            quantise_weights(graph, recipe.hybrid, self.per_channel)
            return graph
        prepare(graph)
        self._calibrate(graph)
        ranges = {v: (s.low, s.high) for v in tensors(graph) if (s := self.spreads.get(v.name))}
        annotate(Plan(graph, dict.fromkeys(graph.ops, recipe.activations), ranges, self.per_channel))
        if recipe.outside:
            wide = recipe.activations.itemsize > 1
            ends = (recipe.activations, recipe.activations) if wide else (self.inputs, self.outputs)
            outside.quantise(graph, *ends)
        return graph

    def _calibrate(self, graph: Graph) -> None:
        if self.spreads:
            return
        if self.data.random:
            self.warn("calibrated on noise, on request: the scales fit no real input, and its accuracy says nothing")
        found, _ = calibrate(graph, tensors(graph), lambda: self.data.samples(graph), self.listener)
        self.spreads = {v.name: s for v, s in found.items()}


def tensors(graph: Graph) -> Iterator[Value]:
    """Every tensor of real numbers that a graph is given or computes."""
    for value in [*graph.inputs, *(v for op in graph.ops for v in op.outputs)]:
        if value.dtype == FLOAT:
            yield value
