"""Many inputs: which model each one is made of, and the processes that try them."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path

import onnx

from tests.conformance import cases

from . import mutate, trial

HERE = Path(__file__).resolve().parents[1]
#: Folders of real models, and the size up to which one is a good start: a damaged copy for each input.
REAL = (HERE / "models" / "exports", HERE.parent.parent / "shared" / "models")
LARGEST = 3 << 20


@dataclass(frozen=True)
class Result:
    number: int
    name: str
    model: bytes
    outcome: trial.Outcome
    faults: tuple[str, ...]

    @property
    def excerpt(self) -> str:
        """The telling end of what was said."""
        lines = [line.strip() for line in self.outcome.said.splitlines() if line.strip()]
        telling = [line for line in lines if any(words in line for words in trial.FORBIDDEN)]
        before = lines[lines.index(telling[0]) - 1] + " " if telling and lines.index(telling[0]) else ""
        return (before + (telling[0] if telling and "Traceback" not in telling[0] else lines[-1] if lines else ""))[
            :400
        ]


@functools.cache
def models() -> dict[str, bytes]:
    """Good models by name: conformance cases, exports, real ones."""
    found = {name: case.model.SerializeToString() for name, case in cases.cases().items()}
    for folder in REAL:
        for path in sorted(folder.rglob("*.onnx")):
            if path.stat().st_size <= LARGEST:
                found[f"real/{path.stem}"] = path.read_bytes()
    return found


def made(number: int, seed: int) -> tuple[str, bytes]:
    """Input ``number`` of a campaign: the name of the good model, and the damaged one.  One in ten is a real model."""
    chance = random.Random(f"{seed}/{number}")
    real = chance.random() < 0.1
    name = chance.choice([n for n in models() if n.startswith("real/") == real])
    return name, mutate.damaged(models()[name], f"{seed}/{number}/{name}")


def _try(job: tuple[int, int]) -> Result:
    name, model = made(*job)
    outcome = trial.attempt(model)
    return Result(job[0], name, model, outcome, tuple(outcome.faults()))


def run(numbers: Iterable[int], seed: int = 0, jobs: int = 2) -> Iterator[Result]:
    """Every input, in order."""
    with _pool(jobs) as pool:
        yield from pool.imap(_try, [(number, seed) for number in numbers])


def outcomes(models: Iterable[bytes], options: Sequence[str] = trial.OPTIONS) -> list[trial.Outcome]:
    """How the conversions of ``models`` end, under the same limits."""
    with _pool(1) as pool:
        return pool.starmap(trial.attempt, [(model, options) for model in models])


def _pool(jobs: int) -> Pool:
    """Processes that have nothing of the one that asks, as a user's has not."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.ready"])
    return context.Pool(jobs)


def warm() -> None:
    """Import once what every child needs; what the collector visits from now on is what a child makes."""
    import ai_edge_litert.interpreter
    import numpy.random
    import onnxruntime

    import onnx2tf_lite.cli
    import onnx2tf_lite.conversion
    import onnx2tf_lite.validation.checking

    assert onnx and ai_edge_litert.interpreter and numpy.random and onnxruntime and onnx2tf_lite
    gc.collect()
    gc.freeze()
