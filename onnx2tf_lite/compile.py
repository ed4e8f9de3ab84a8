"""The compiler: its stages as data, verified, for `convert`, the tests and the benchmarks alike.

    model, _ = passes.optimize(passes.load("model.onnx"))
    graph = compile.run(model, compile.STAGES)
    for name, program in compile.branches(graph, ("float", "integer")): ...

The stages are common to everything that is written; then every branch finishes a program of its own.  A program is
verified where it changes hands: before it branches and before it is written; in the tests after every stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_graphsurgeon as gs

from .errors import ConversionError, Problem, boundary, did_you_mean
from .fusion import fuse, qdq, splits, windows
from .fusion.qdq import arithmetic
from .ir.editor import rewrite
from .ir.graph import Graph, copy_graph
from .ir.verify import verify
from .layout.stage import LayoutReport, assign
from .legalize import dilation, dtypes, dynamic, stored, sums
from .op_handlers.lower import lower
from .quantization import RECIPES, Recipe

if TYPE_CHECKING:
    from .quantization import Quantiser


@dataclass
class Settings:
    """What the stages are asked to do, and what they report.

    ``pins``: input or output name -> ``"onnx"`` or ``"channels_last"``; ``io_layout``: the rule for the others
    (``layout.edges``); ``keep_nodes``: names of ONNX nodes whose operations fusion leaves alone;
    ``keep_batchnorm``: BatchNormalization nodes are such nodes;
    ``listener(i, n)`` hears of every ONNX node before it is lowered; ``quantiser`` has what the branches of quantised
    programs need.
    """

    pins: Mapping[str, str] = field(default_factory=dict)
    keep_nodes: frozenset[str] = frozenset()
    listener: Callable[[int, int], None] | None = None
    quantiser: Quantiser | None = None
    io_layout: str = "auto"
    keep_batchnorm: bool = False
    forms: frozenset[str] = frozenset()
    layout: LayoutReport = field(default_factory=LayoutReport)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


#: Verify after every stage and not only after the last one, as the tests do: the fault is then of that stage alone.
AFTER_EACH = False

Stage = tuple[str, Callable[[Any, Settings], Graph]]  # its name; from the program before it to the one after it
Around = Callable[[str], AbstractContextManager[object]]


def _lower(model: gs.Graph, settings: Settings) -> Graph:
    if settings.keep_batchnorm:
        settings.keep_nodes |= {n.name for n in model.nodes if n.op == "BatchNormalization"}
    graph = lower(model, settings.listener)
    made = {v.name: v for v in graph.inputs} | dict(zip(graph.output_names, graph.outputs, strict=True))
    wide = {t.name for t in [*model.inputs, *model.outputs] if t.dtype == np.float64}
    if doubles := [name for name, value in made.items() if name in wide and value.dtype != np.float64]:
        settings.warnings.append(f"float64 is computed in float32, which the files have for {', '.join(doubles)}")
    names = [v.name for v in graph.inputs] + graph.output_names
    if unknown := [n for n in settings.pins if n not in names]:
        what = "no input or output has this name"
        raise ConversionError(*(Problem(f"'{n}'", what, did_you_mean(n, names)) for n in unknown))
    return graph


def _stored(graph: Graph, settings: Settings) -> Graph:
    stored.canonicalise(graph)
    return graph


def _legalize(graph: Graph, settings: Settings) -> Graph:
    return dtypes.legalize(graph)


def _layout(graph: Graph, settings: Settings) -> Graph:
    settings.layout = assign(graph, settings.pins, settings.io_layout)
    return graph


def _fuse(graph: Graph, settings: Settings) -> Graph:
    settings.notes += fuse(graph, settings.keep_nodes)
    return graph


def _int8(graph: Graph, settings: Settings) -> Graph:
    settings.notes += qdq(graph)
    return graph


def _quantise(recipe: Recipe) -> Callable[[Graph, Settings], Graph]:
    return lambda graph, settings: _quantiser(settings).run(graph, recipe)


def _quantiser(settings: Settings) -> Quantiser:
    from .quantization import Quantiser

    settings.quantiser = settings.quantiser or Quantiser()
    return settings.quantiser


def _windows(graph: Graph, settings: Settings) -> Graph:
    settings.notes += rewrite(graph, windows.RULES, settings.keep_nodes)
    return graph


def _integers(kind: str, recipe: Recipe) -> Callable[[Graph, Settings], Graph]:
    """The integer kernels of a program that was quantised here; throughout, where its ends are integers."""

    def stage(graph: Graph, settings: Settings) -> Graph:
        from .quantization import refuse_floats, refuse_islands

        closed = _quantiser(settings).closed(recipe)
        settings.notes += qdq(graph, throughout=closed)
        if closed:
            refuse_islands(graph, kind)
        refuse_floats(graph, kind, *_quantiser(settings).ends(recipe))
        return graph

    return stage


def _fit(late: bool, coarse: bool = False) -> Callable[[Graph, Settings], Graph]:
    def stage(graph: Graph, settings: Settings) -> Graph:
        from .targets.forms import fit

        settings.notes += fit(graph, settings.forms, late=late, coarse=coarse)
        return graph

    return stage


def _public(graph: Graph, settings: Settings) -> Graph:
    """Nothing that TensorFlow has no kernel for."""
    rewrite(graph, [arithmetic])
    return dilation.fill_kernels(graph)


def _splits(graph: Graph, settings: Settings) -> Graph:
    splits.together(graph)
    return graph


def _sums(graph: Graph, settings: Settings) -> Graph:
    return sums.split(graph)


def _shapes(infers: bool) -> Callable[[Graph, Settings], Graph]:
    return lambda graph, settings: dynamic.materialise(graph, infers)


def _merge(graph: Graph, settings: Settings) -> Graph:
    rewrite(graph, [])  # no rule: operations that compute the same, as extents are read for each reader, become one
    return graph


def _own(recipe: Recipe) -> tuple[Stage, ...]:
    """The kernels of the model's own integers, before weights that float kernels read are quantised: its weights are
    no such ones.  Activations that it has integers of are left alone by the recipes for those."""
    return (("own integers", _int8),) if recipe.activations is None else ()


#: From a normalised ONNX model (`passes.optimize`) to the program that all branches start from.
STAGES: tuple[Stage, ...] = (
    ("lower", _lower),
    ("stored", _stored),
    ("legalize", _legalize),
    ("layout", _layout),
    ("fuse", _fuse),
)

#: The last stages of every branch.
_LAST: tuple[Stage, ...] = (("sums", _sums), ("splits", _splits), ("shapes", _shapes(infers=True)), ("merge", _merge))
#: From there to what emitters write: with TensorFlow's float kernels alone, with integer ones where the model is
#: quantised, or with those that a recipe makes of a float model.
BRANCHES: dict[str, tuple[Stage, ...]] = {
    "float": (("dilation", _public), ("splits", _splits), ("shapes", _shapes(infers=False)), ("merge", _merge)),
    "integer": (("int8", _int8), ("windows", _windows), *_LAST),
    **{
        name: (*_own(recipe), ("quantize", _quantise(recipe)), ("int8", _integers(name, recipe)), *_LAST)
        for name, recipe in RECIPES.items()
    },
}


def stages(branch: str, forms: Collection[str] = ()) -> tuple[Stage, ...]:
    """The stages of a branch; with forms that a device wants (``targets.forms``) where they belong: those of integer
    kernels behind the stage that makes these, all others first."""
    found = BRANCHES[branch]
    names = [name for name, _ in found]
    if not forms or "int8" not in names:
        return found
    at = names.index("int8") + 1
    early = ("forms", _fit(late=False, coarse=branch in RECIPES))
    return early, *found[:at], ("kernels", _fit(late=True)), *found[at:]


def run(
    program: gs.Graph | Graph, stages: Sequence[Stage], settings: Settings | None = None, around: Around = nullcontext
) -> Graph:
    """``program`` after ``stages``, which change it in place; ``around(name)`` is entered around each.

    :raises ConversionError: what cannot be compiled, or a stage leaves what the next one cannot read.
    """
    settings = settings or Settings()
    unverified: list[str] = []
    for number, (name, stage) in enumerate(stages, 1):
        with around(name), boundary(f"stage '{name}'"):
            program = stage(program, settings)
            unverified.append(name)
            if AFTER_EACH or number == len(stages):
                verify(program, *unverified)
                unverified.clear()
    return program


def branches(
    graph: Graph, names: Sequence[str], settings: Settings | None = None, around: Around = nullcontext
) -> Iterator[tuple[str, Graph]]:
    """The finished program of every branch.  All start from ``graph``: each from a copy, which shares its constants,
    but for the last one, which takes ``graph`` over."""
    for name in names:
        start = graph if name == names[-1] else copy_graph(graph)
        forms = settings.forms if settings else ()
        yield name, run(start, stages(name, forms), settings, around)
