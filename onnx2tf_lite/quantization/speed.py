"""How fast quantised files are beside the float32 one of the same conversion, on the machine at hand."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from .. import child
from ..ir.graph import Placement
from ..validation.feeds.inputs import bind
from .recipes import RECIPES

REPEATS = 4  # the first of which also prepares
Shapes = Mapping[str, Sequence[int]]
Samples = Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]] | None
NO_SHAPES: Shapes = MappingProxyType({})
PATIENCE = 2.0  # seconds after which no other repetition is made
NOTICED = 1.1  # times as long as float32, from where on it is said


def on(files: Mapping[str, Path], samples: Samples, places: Mapping[str, Placement]) -> dict[str, float]:
    """See :func:`measure`, on inputs as large as those of the samples."""
    return measure(files, shapes(samples, places))


def shapes(samples: Samples, places: Mapping[str, Placement]) -> Shapes:
    """Of the inputs in the files, as the first of several samples has them; nothing where there are none."""
    if not samples or isinstance(samples, Mapping):
        return NO_SHAPES
    sample = {name.partition("@")[0]: array for name, array in samples[0].items()}
    symbols = bind([(places[n].shape, a.shape) for n, a in sample.items()], {})
    return {n: places[n].store(a, symbols).shape for n, a in sample.items()}


def measure(files: Mapping[str, Path], shapes: Shapes = NO_SHAPES) -> dict[str, float]:
    """Milliseconds of an invocation by kind of file; nothing where there is no float32 beside quantised ones, or an
    input has open extents that ``shapes``, by its name, does not say: of the least picture nobody wants to know it."""
    kinds = [kind for kind in files if kind in RECIPES]
    if "float32" not in files or not kinds:
        return {}
    found = {}
    for kind in ("float32", *kinds):
        try:
            found[kind] = child.call(lambda path=files[kind]: _best(path, shapes))  # type: ignore[misc]
        except (child.DiedError, RuntimeError, ValueError):  # whether it runs is the check's to say
            continue
    return {kind: best for kind, best in found.items() if np.isfinite(best)}


def _best(path: Path, shapes: Shapes) -> float:
    """Of the inputs' zeros; infinite where their extents are not known."""
    from ai_edge_litert.interpreter import Interpreter

    from ..validation.files.profile import zeros

    engine = Interpreter(str(path), num_threads=os.cpu_count())
    for name, detail in engine.get_signature_runner().get_input_details().items():
        if -1 in detail["shape_signature"]:
            if name not in shapes:
                return np.inf
            engine.resize_tensor_input(detail["index"], shapes[name])
    engine.allocate_tensors()
    zeros(engine)
    best, end = np.inf, time.perf_counter() + PATIENCE
    for _ in range(REPEATS):
        start = time.perf_counter()
        engine.invoke()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return 1e3 * best


def sentences(milliseconds: Mapping[str, float]) -> list[str]:
    """Which kinds are slower than float32."""
    plain = milliseconds.get("float32")
    if plain is None:
        return []
    slower = {kind: ms for kind, ms in milliseconds.items() if ms > NOTICED * plain}
    return [
        f"{kind} is SLOWER than float32 on this machine: {ms:.3g} ms instead of {plain:.3g}"
        for kind, ms in slower.items()
    ]
