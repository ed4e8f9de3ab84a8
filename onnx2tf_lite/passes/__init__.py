"""ONNX -> ONNX: a model is loaded without its weights and brought into the one form that the handlers know.

    graph = passes.load("model.onnx")
    graph, reports = passes.optimize(graph, passes.PassOptions(batch_size=1))
    passes.run("batchnorm", graph)                       # any one pass by itself

`onnx2tf --list-passes` prints them all. 16-bit floats are widened first; then overrides, cuts and shape inference, and
`upgrade`; then folding, needless copies, cleaning and inference until nothing changes; the fusions, `batchnorm`,
`reparameterise`, onnxsim and `names`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import onnx_graphsurgeon as gs

from ..errors import ConversionError, Problem, did_you_mean
from ..model.load import load
from ..model.opsets import TARGET
from ..model.surgeon import LazyTensor, to_proto
from ..record import record
from .batchnorm import FoldBatchNorm
from .clean import Clean
from .fold import Fold
from .fuse import FUSIONS, Fuse, explain
from .manager import Listener, Pass, PassManager, PassOptions, PassReport, PassResult
from .names import Names
from .reparameterise import Reparameterise
from .shapes import Shapes
from .simplify import Simplify
from .tile import Tile
from .upgrade import Upgrade
from .widen import Widen

__all__ = [
    "FUSIONS",
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


@record
class PassEntry:
    """A line of the registry."""

    name: str
    summary: str
    make: Callable[[PassOptions], Pass]


class Int64(Pass):
    """Index arithmetic in int32 where that is proven to fit: a part of the stage legalize, which is never left out."""

    name = "int64"

    def call(self, graph: gs.Graph) -> PassResult:
        """Say so: scripts that leave the pass out go on running, and nothing changes for them."""
        return PassResult(graph, False, ["done by the stage legalize"])


def _registry() -> Iterator[PassEntry]:
    fusions = [partial(Fuse, fusion) for fusion in FUSIONS.values()]
    makers: list[Callable[[PassOptions], Pass]] = [Widen, Shapes, Upgrade, Fold, Tile, Clean, *fusions]
    for make in (*makers, FoldBatchNorm, Reparameterise, Int64, Simplify, Names):
        one = make(PassOptions())
        yield PassEntry(one.name, one.summary, make)


#: Every pass by name, in pipeline order.
PASSES: dict[str, PassEntry] = {entry.name: entry for entry in _registry()}
#: Fixpoint groups end by themselves; this is for the case that two passes disagree.
ROUNDS = 10


def _known(names: Iterable[str]) -> None:
    rules = " (of rules, --keep-node leaves alone what is made of a node)"
    missing = [n for n in names if n not in PASSES]
    problems = [Problem(f"pass '{n}'", "there is no such pass", did_you_mean(n, PASSES) + rules) for n in missing]
    if problems:
        raise ConversionError(*problems)


def default_pipeline(options: PassOptions | None = None, listener: Listener | None = None) -> PassManager:
    """The whole tuning as one pass."""
    o = options or PassOptions()
    _known(o.disabled)

    def some(*names: str) -> list[Pass]:
        return [PASSES[n].make(o) for n in names if n not in o.disabled]

    clean = some("clean")  # one pass at two places: the second has nothing to do where nothing changed in between
    group = [*some("fold", "tile"), *clean]
    if "shapes" not in o.disabled:
        group.append(Shapes(PassOptions(keep_nodes=o.keep_nodes), again=True))  # no second cut
    fixpoint = PassManager(group, steps=ROUNDS, name="fold, tile, clean")
    first, fusions = some("widen", "shapes", "upgrade"), some(*FUSIONS, "batchnorm", "reparameterise")
    last = some("int64", "simplify", "names")
    return PassManager([*first, fixpoint, *fusions, *clean, *last], name="passes", listener=listener)


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
