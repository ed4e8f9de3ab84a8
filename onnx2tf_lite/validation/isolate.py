"""The error that a layer itself introduces: its operators alone, on ONNX Runtime's own values of what it reads.

For every suspect the operators between its tensor and the nearest tensors with a counterpart in the model are taken out
of the file; all suspects together make one model of independent parts, which is run once.  A layer that is right in
this run only carries the error of the layers before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import child
from .flatfile import Segment
from .judge import Difference, Tolerance, compare
from .measure import change
from .reference import jitter
from .report import CARRIES, INTRODUCES, Row
from .targets import TargetFailed, TFLite

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Suspect:
    """A row, the operators that make its tensor, and the ONNX names of the tensors that those read."""

    row: Row
    segment: Segment
    reads: tuple[str, ...]


class Isolation:
    """The parts of one file."""

    def __init__(
        self, target: TFLite, names: Sequence[str], shapes: Mapping[tuple[str, tuple[int, ...]], tuple[int, ...]]
    ):
        """``names``: ONNX tensors whose reference values can be had, the inputs among them; ``shapes``: ONNX tensor and
        its shape -> its shape in the file, as it was seen in a run."""
        self.target, self.shapes, file = target, shapes, target.file
        self.counterpart: dict[int, str] = {}
        for name in names:  # of several ONNX names for one tensor the first is the one that is computed
            index = file.by_name.get(target.program.names.get(name, ""))
            if index is not None:
                self.counterpart.setdefault(index, name)

    def segment(self, tensor: str) -> Segment | None:
        """The operators of an ONNX tensor; None where it is a view of another one, or nothing is known before it."""
        index = self.target.file.by_name.get(self.target.program.names[tensor])
        if index is None or self.counterpart.get(index) != tensor:
            return None
        segment = self.target.file.segment(index, self.counterpart)
        return segment if segment and segment.operators else None

    def is_view(self, tensor: str) -> bool:
        """True where another ONNX tensor, which comes first, is the same tensor of the file."""
        index = self.target.file.by_name.get(self.target.program.names[tensor])
        return index is not None and self.counterpart.get(index, tensor) != tensor

    def suspect(self, row: Row) -> Suspect | None:
        segment = self.segment(row.tensor)
        return Suspect(row, segment, tuple(self.counterpart[t] for t in segment.boundary)) if segment else None

    def measure(
        self,
        suspects: Sequence[Suspect],
        runtime: str,
        values: Arrays,
        symbols: Mapping[str, int],
        limit: Tolerance,
        steps: Mapping[str, float],
    ) -> list[Difference | None]:
        """The isolated difference of each suspect; None for those whose part does not run."""  # fmt: skip
        try:
            return child.call(lambda: self._measure(suspects, runtime, values, symbols, limit, steps))
        except (child.Died, TargetFailed):
            if len(suspects) == 1:
                return [None]
            half = len(suspects) // 2
            return [
                d
                for part in (suspects[:half], suspects[half:])
                for d in self.measure(part, runtime, values, symbols, limit, steps)
            ]

    def _measure(
        self, suspects: Sequence[Suspect], runtime: str, values: Arrays, symbols: Mapping[str, int],
        limit: Tolerance, steps: Mapping[str, float],
    ) -> list[Difference | None]:  # fmt: skip
        read = [(index, n) for s in suspects for index, n in zip(s.segment.boundary, s.reads, strict=True)]
        stored = {index: self._store(n, index, values[n], symbols) for index, n in dict(read).items()}
        runner = self.target.part(runtime, [s.segment for s in suspects], {i: a.shape for i, a in stored.items()})
        results = dict(runner.run({str(k): stored[index] for k, (index, _) in enumerate(read)}))
        got = [self._restore(s, results[str(k)], values, symbols) for k, s in enumerate(suspects)]
        strict = limit.isolated

        def judge(k: int, slack: float = 0.0) -> Difference:
            name = suspects[k].row.tensor
            return compare(got[k], values[name], strict, steps.get(name), slack)

        found: list[Difference | None] = [judge(k) for k in range(len(suspects))]
        doubtful = [k for k, d in enumerate(found) if d and d.what]
        if not doubtful or any(self.target.file.tensors[i].quantised for i in stored):
            return found
        # a part that magnifies the rounding of its own inputs is not to blame for that
        shaken = runner.run({str(k): jitter(stored[index]) for k, (index, _) in enumerate(read)})
        for k in doubtful:
            moved = self._restore(suspects[k], shaken[str(k)], values, symbols)
            found[k] = judge(k, change(moved, got[k]))
        return found

    def _store(self, name: str, index: int, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
        stored = self.target.program.names[name]
        seen = self.shapes.get((name, array.shape), self.target.file.tensors[index].shape)
        place = self.target.program.place(name, array.shape, seen)
        if place is None:
            raise TargetFailed(f"the place of {name} is not known at this size")
        return self.target.store(name, place.store(array, symbols), stored)

    def _restore(self, suspect: Suspect, array: np.ndarray, values: Arrays, symbols: Mapping[str, int]) -> np.ndarray:
        name = suspect.row.tensor
        expected = values[name]
        array = self.target.real(self.target.program.names[name], array, expected.dtype)
        place = self.target.program.place(name, expected.shape, array.shape)
        try:
            return array if place is None else replace(place, real=False).restore(array, symbols)
        except ValueError:
            return array


def judged(row: Row, isolated: Difference | None) -> Row:
    """The row with what it introduces, and its role where it disagrees."""
    role = "" if row.ok or isolated is None else INTRODUCES if isolated.what else CARRIES
    return replace(row, isolated=isolated, role=role)
