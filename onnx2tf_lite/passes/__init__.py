"""ONNX -> ONNX: a model is loaded without its weights and brought into the one form that the handlers know.

    graph = passes.load("model.onnx")
    graph, reports = passes.optimize(graph, passes.PassOptions(batch_size=1))
    passes.run("batchnorm", graph)                       # any one pass by itself

The passes, in the order in which they run (`onnx2tf --list-passes` prints their summaries):

============  ===========================================================================================
shapes        batch and input shape overrides, cuts, symbolic shape inference
upgrade       every old operator form becomes that of opset 23
fold          constant folding within a growth budget, static shapes, decided Ifs   (these three and shape
tile          Expand and Tile that the reader does not need                          inference run in turn
clean         dead code, no-ops, duplicates                                          until nothing changes)
hardswish ..  fusions that exporters undo: hardswish, hardsigmoid, softplus, mish, gelu, layernorm,
              rmsnorm, pixelshuffle
batchnorm     into the neighbouring operator, else one Mul and one Add
simplify      onnxsim, if it can still find something
int64         index arithmetic to int32 where the range is proven
names         a unique name for every node and tensor
============  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem
from .batchnorm import BatchNorm
from .clean import Clean
from .fold import Fold
from .fuse import FUSIONS, Fuse, explain
from .int64 import Int64
from .load import load
from .manager import Listener, Pass, PassManager, PassOptions, PassReport, PassResult, nearest
from .names import Names
from .proto import LazyTensor, to_proto
from .shapes import Shapes
from .simplify import Simplify
from .tile import Tile
from .upgrade import TARGET, Upgrade

__all__ = [
    "PASSES",
    "TARGET",
    "LazyTensor",
    "Listener",
    "Pass",
    "PassManager",
    "PassOptions",
    "PassReport",
    "PassResult",
    "default_pipeline",
    "explain",
    "load",
    "optimize",
    "run",
    "to_proto",
]


@dataclass(frozen=True)
class Entry:
    """A line of the registry."""

    name: str
    summary: str
    make: Callable[[PassOptions], Pass]


def _entry(make: Callable[[PassOptions], Pass]) -> Entry:
    one = make(PassOptions())
    return Entry(one.name, one.summary, make)


def _fusion(name: str) -> Callable[[PassOptions], Pass]:
    return lambda options: Fuse(FUSIONS[name], options)


_BEFORE: list[Callable[[PassOptions], Pass]] = [Shapes, Upgrade, Fold, Tile, Clean]
_AFTER: list[Callable[[PassOptions], Pass]] = [BatchNorm, Simplify, Int64, Names]
#: Every pass by name, in pipeline order.
PASSES: dict[str, Entry] = {e.name: e for e in map(_entry, [*_BEFORE, *map(_fusion, FUSIONS), *_AFTER])}
#: Fixpoint groups end by themselves; this is for the case that two passes disagree.
ROUNDS = 10


def _known(names: Iterable[str]) -> None:
    problems = [Problem(f"pass '{n}'", "there is no such pass", nearest(n, PASSES)) for n in names if n not in PASSES]
    if problems:
        raise ConversionError(*problems)


def default_pipeline(options: PassOptions | None = None, listener: Listener | None = None) -> PassManager:
    """The whole tuning as one pass."""
    o = options or PassOptions()
    _known(o.disabled)

    def some(*names: str) -> list[Pass]:
        return [PASSES[n].make(o) for n in names if n not in o.disabled]

    shape_inference = PassOptions(keep_nodes=o.keep_nodes)
    group = some("fold", "tile", "clean")
    if group and "shapes" not in o.disabled:
        group.append(Shapes(shape_inference))
    last = some(*FUSIONS, "batchnorm", "clean", "simplify", "int64", "names")
    fixpoint = [PassManager(group, steps=ROUNDS, name="fold, tile, clean")] if group else []
    return PassManager([*some("shapes", "upgrade"), *fixpoint, *last], name="passes", listener=listener)


def optimize(
    graph: gs.Graph, options: PassOptions | None = None, listener: Listener | None = None
) -> tuple[gs.Graph, list[PassReport]]:
    """Run the pipeline, in place; `listener(name, index, total)` hears of every pass before it starts."""
    manager = default_pipeline(options, listener)
    result = manager(graph)
    return result.graph, manager.reports


def run(name: str, graph: gs.Graph, options: PassOptions | None = None) -> PassResult:
    """One pass by its name."""
    _known([name])
    return PASSES[name].make(options or PassOptions())(graph)
