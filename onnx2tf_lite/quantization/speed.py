"""How fast quantised files are beside the float32 one of the same conversion, on the machine at hand."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import child
from .recipes import RECIPES

REPEATS = 4  # the first of which also prepares
PATIENCE = 2.0  # seconds after which no other repetition is made
NOTICED = 1.1  # times as long as float32, from where on it is said


def measure(files: Mapping[str, Path]) -> dict[str, float]:
    """Milliseconds of an invocation by kind of file; nothing where there is no float32 beside quantised ones."""
    kinds = [kind for kind in files if kind in RECIPES]
    if "float32" not in files or not kinds:
        return {}
    found = {}
    for kind in ("float32", *kinds):
        try:
            found[kind] = child.call(lambda path=files[kind]: _best(path))  # type: ignore[misc]
        except (child.DiedError, RuntimeError, ValueError):  # whether it runs is the check's to say
            continue
    return found


def _best(path: Path) -> float:
    """Of the inputs' zeros, free extents 1."""
    from ai_edge_litert.interpreter import Interpreter

    from ..validation.files.profile import zeros

    engine = Interpreter(str(path), num_threads=os.cpu_count())
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
