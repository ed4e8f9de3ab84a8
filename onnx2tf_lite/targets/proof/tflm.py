"""TFLM's interpreter runs the file on seeded operands and has to give the bytes that LiteRT gives.

Where they are other bytes, every operator is run alone: it may be one step from LiteRT's, or as far as LiteRT's own two
sets of kernels are from each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from . import ARENA, Evidence, Place, litert
from .litert import Arrays
from .output import captured

if TYPE_CHECKING:
    from ...validation.files.flatfile import FlatFile

ROOM = 1 << 30  # bytes that the measuring run may take: only what is touched is used
NEAR = "every operator within one step of LiteRT's, or as near as its two sets of kernels are to each other"
FLOAT = 1e-5  # of the largest magnitude: float results of two compilers
FAILED = re.compile(r"Node (\S+) \(number (\d+)\)")
MISSING = re.compile(r"Didn't find op for builtin opcode '(\S+)'")
TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


class UnrunnableError(Exception):
    """TFLM does not run the file; with all that it printed."""


def ask(device: str, file: FlatFile) -> Evidence:
    """In a child.  Operators that refuse negative numbers get a second try without them."""
    content = bytes(file.data)
    for low in (-1.0, 0.0):
        feeds = litert.operands(file, low)
        try:
            results, arena = run(content, feeds, len(file.outputs))
        except UnrunnableError as error:
            refusal = _refusal(file, str(error))
            continue
        found = Evidence(figures={ARENA: arena})
        _compare(found, file, feeds, results)
        return found
    return refusal


def run(content: bytes, feeds: Arrays, count: int) -> tuple[Arrays, int]:
    """In a child: the ``count`` outputs, and the bytes of the arena below which it does not start.

    :raises UnrunnableError: it does not run.
    """
    from tflite_micro.python.tflite_micro import runtime

    with captured() as printed:
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=ROOM)
            for place, array in enumerate(feeds):
                interpreter.set_input(array, place)
            interpreter.invoke()
            results = [np.array(interpreter.get_output(i)) for i in range(count)]
        except (RuntimeError, ValueError) as error:
            raise UnrunnableError(f"{printed.text}\n{error}") from error
        interpreter.print_allocations()
        found = TOTAL.search(printed.text)
    assert found is not None, "TFLM's recorder prints no total any more"
    return results, int(found[1])


# ------------------------------------------------------------------------------------------------ comparing


def _compare(found: Evidence, file: FlatFile, feeds: Arrays, results: Arrays) -> None:
    """Say whose bytes they are; where they are nobody's, look at every operator on its own."""
    wanted = litert.everywhere(bytes(file.data), feeds)
    if not wanted:
        found.notes.append("LiteRT does not run the file: TFLM's results were compared with nothing")
        return
    for kernels, want in wanted.items():
        if all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(results, want, strict=True)):
            found.notes.append(f"byte for byte what LiteRT's {kernels} kernels give, on one sample")
            return
    apart = _apart(results, wanted)
    if len(file.operators) == 1 or apart <= 1:
        if apart > 1:
            found.failed = f"its results are {apart:.3g} times as far from LiteRT's as is allowed"
        found.notes += [] if found.failed else [NEAR]
        return
    for op, more in _operators(file, feeds):
        if more > 1:
            found.refused = {(0, op): f"TFLM's result is {more:.3g} times as far from LiteRT's as is allowed"}
            found.failed = f"{file.operators[op].name} gives other numbers on TFLM than in LiteRT"
            return
    found.notes.append(f"{NEAR}; the model makes {apart:.3g} times that of it")


def _operators(file: FlatFile, feeds: Arrays) -> Iterator[tuple[int, float]]:
    """Every operator of the main program alone, on the operands that LiteRT has there: its number, how far it is."""
    kernels = "optimised"
    _, tensor = litert.inside(bytes(file.data), feeds, kernels)
    known = range(len(file.tensors))
    for op in file.operators:
        segment = file.segment(op.outputs[0], known)
        operands = [np.array(tensor(t)) for t in segment.boundary] if segment else []
        if segment is None or not operands:
            continue
        content = file.extract([segment], [a.shape for a in operands])
        results, _ = run(content, operands, 1)
        yield op.index, _apart(results, litert.everywhere(content, operands))


def _apart(results: Arrays, wanted: dict[str, Arrays]) -> float:
    """How far results are from the nearer of LiteRT's, as a share of what is allowed: by how much these differ from
    each other, at least one step of integers or the rounding of floats."""
    first, *_, last = [*wanted.values()] * 2
    most = 0.0
    for got, a, b in zip(results, first, last, strict=True):
        if got.shape != a.shape:
            return np.inf
        least = FLOAT * max(_largest(a), 1e-30) if got.dtype.kind == "f" else 1.0
        most = max(most, min(_largest(got, a), _largest(got, b)) / max(least, _largest(a, b)))
    return most


def _largest(a: np.ndarray, b: np.ndarray | float = 0.0) -> float:
    return float(np.max(np.abs(a.astype(np.float64) - np.asarray(b, np.float64)), initial=0))


def _refusal(file: FlatFile, printed: str) -> Evidence:
    """Which operator it was: TFLM prints its number, or the name of one that it does not have."""
    if missing := MISSING.search(printed):
        refused = {(0, op.index): "TFLM has no such operator" for op in file.operators if op.name == missing[1]}
        return Evidence(refused=refused, failed=f"TFLM has no {missing[1]}")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    why = next((line for line in lines if not FAILED.search(line)), "TFLM does not run it")
    number = FAILED.search(printed)
    place: list[Place] = [] if number is None else [(0, int(number[2]))]
    return Evidence(refused=dict.fromkeys(place, f"TFLM: {why}"), failed=f"TFLM: {why}")
