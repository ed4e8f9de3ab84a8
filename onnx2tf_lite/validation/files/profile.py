"""What the time of a .tflite is made of: each of its operators alone, on the operands that it has in a run.

One thread, the default interpreter (XNNPACK), the fastest of several runs.  An operator alone is not fused with its
neighbours and pays for its own start, so the sum is not the time of the file, which is measured too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...record import record
from .flatfile import FlatFile
from .parted import Operator, Segment

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SECONDS = 4.0  # for all operators together, above the least number of runs
LEAST = 5  # runs of each


@record
class Timed:
    """One operator of the main program: its place, kind, result (name, shape) and the seconds that it takes alone."""

    index: int
    kind: str
    result: str
    shape: tuple[int, ...]
    seconds: float


@record
class Share:
    """All operators of one kind: their number, the seconds that they take alone, and the slowest."""

    kind: str
    count: int
    seconds: float
    slowest: Timed


@record
class Profile:
    """The operators in the order of the file; its own seconds; operators that do not run alone."""

    operators: tuple[Timed, ...]
    seconds: float
    left_out: tuple[str, ...]

    @property
    def rows(self) -> list[Share]:
        """By kind, the most expensive first."""
        found: dict[str, list[Timed]] = {}
        for timed in self.operators:
            found.setdefault(timed.kind, []).append(timed)
        spent = (Share(k, len(v), sum(t.seconds for t in v), max(v, key=lambda t: t.seconds)) for k, v in found.items())
        return sorted(spent, key=lambda share: -share.seconds)

    def lines(self) -> Iterator[str]:
        """The table."""
        total = sum(timed.seconds for timed in self.operators) or 1.0
        yield f"{'operator':24} {'count':>5} {'ms':>9} {'share':>6}  slowest"
        for row in self.rows:
            extents = ",".join(map(str, row.slowest.shape))
            slowest = f"{row.slowest.result} [{extents}] {row.slowest.seconds * 1e3:.3f} ms"
            yield f"{row.kind:24} {row.count:5} {row.seconds * 1e3:9.3f} {row.seconds / total:6.1%}  {slowest}"
        yield f"{'sum of all, each alone':24} {len(self.operators):5} {total * 1e3:9.3f}"
        yield f"{'the file in one run':24} {'':5} {self.seconds * 1e3:9.3f}"
        if self.left_out:
            yield f"not run alone: {', '.join(self.left_out)}"


def profile(path: Path, seed: int = 0) -> Profile:
    """Time every operator of the main program of a file; extents that are only known at run time are those of its
    first inputs, 1.

    :raises ValueError: for a file that does not run.
    """
    file = FlatFile(path)
    whole = _interpreter(path, preserve=True)
    _fill(whole, np.random.default_rng(seed))
    whole.invoke()
    found, left_out = list[Timed](), list[str]()
    share = SECONDS / max(len(file.operators), 1)
    for operator in file.operators:
        result = operator.outputs[0]
        try:
            seconds = _alone(file, operator, whole, share)
        except (RuntimeError, ValueError):  # of the runtime: it does not load such a part, or has no operand to give
            left_out.append(f"{operator.name} {file.tensors[result].name}")
            continue
        shape = tuple(int(d) for d in whole.get_tensor(result).shape)
        found.append(Timed(operator.index, operator.name, file.tensors[result].name, shape, seconds))
    engine = _interpreter(path)
    _fill(engine, np.random.default_rng(seed))
    return Profile(tuple(found), fastest(engine, 1.0), tuple(left_out))


def _alone(file: FlatFile, operator: Operator, whole: Interpreter, share: float) -> float:
    """The seconds of one operator."""
    operands = tuple(dict.fromkeys(t for t in operator.inputs if t >= 0 and not file.tensors[t].constant))
    arrays = [whole.get_tensor(t) for t in operands]
    part = file.extract([Segment(operator.outputs[0], operands, (operator.index,))], [a.shape for a in arrays])
    engine = _interpreter(part)
    for detail, array in zip(engine.get_input_details(), arrays, strict=True):
        engine.set_tensor(detail["index"], array)
    return fastest(engine, share)


def _interpreter(model: Path | bytes, preserve: bool = False) -> Interpreter:
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that tensors are preserved takes memory: it is meant
        engine = Interpreter(**source, num_threads=1, experimental_preserve_all_tensors=preserve)
    engine.allocate_tensors()
    return engine


def _fill(engine: Interpreter, rng: np.random.Generator) -> None:
    """Normal floats, zeros else: every whole number is an index somewhere."""
    for detail in engine.get_input_details():
        array = np.zeros(detail["shape"], detail["dtype"])
        if array.dtype.kind == "f":
            array += np.asarray(rng.standard_normal(array.shape), array.dtype)
        engine.set_tensor(detail["index"], array)


def zeros(engine: Interpreter) -> None:
    """Feed zeros: what lies in memory by chance may be a number of turns."""
    for detail in engine.get_input_details():
        engine.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))


def fastest(engine: Interpreter, seconds: float, least: int = LEAST) -> float:
    """The shortest of at least so many runs, as many as fit, after one that does not count."""
    best, runs, end = float("inf"), 0, time.perf_counter() + seconds
    engine.invoke()
    while runs < least or (time.perf_counter() < end and runs < 200):
        start = time.perf_counter()
        engine.invoke()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best
