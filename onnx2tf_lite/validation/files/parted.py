"""A written file as tensors and operators: the layers in it, whatever its format is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np

from ...record import record

BRANCHES = frozenset({"IF", "If", "StatelessIf"})  # operators that run one of two bodies


@record
class Tensor:
    """A tensor of the main program.

    ``shape`` has -1 for extents known at run time only; ``scale`` is empty where the tensor is not quantised;
    ``constant``: its data lies in the file; ``int4``: two elements in a byte, ``dtype`` is that of both.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    buffer: int
    constant: bool
    scale: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), compare=False)
    zero: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), compare=False)
    axis: int = 0
    int4: bool = False

    @property
    def nbytes(self) -> int:
        """Of a tensor whose shape is known, as a constant's is."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def quantised(self) -> bool:
        """True where integers stand for real numbers."""
        return bool(self.scale.size) and self.dtype.kind in "iu"

    def _along(self, values: np.ndarray, rank: int) -> Any:
        return values[0] if values.size == 1 else values.reshape([-1 if i == self.axis else 1 for i in range(rank)])

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that stored integers stand for."""
        zero = self._along(self.zero, array.ndim) if self.zero.size else 0
        return np.asarray((array.astype(np.float32) - zero) * self._along(self.scale, array.ndim), np.float32)

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The integers that stand for real numbers, rounded half to even and saturated as QUANTIZE does."""
        info = np.iinfo(self.dtype)
        zero = self._along(self.zero, array.ndim) if self.zero.size else 0
        with np.errstate(invalid="ignore"):
            levels = np.rint(np.nan_to_num(array.astype(np.float64) / self._along(self.scale, array.ndim))) + zero
        return np.asarray(np.clip(levels, info.min, info.max).astype(self.dtype), order="C")


@record
class Operator:
    """An operator of the main program: its index, its name, the tensors it reads (-1: absent) and makes."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def branches(self) -> bool:
        """True of an IF, which runs one of its two bodies."""
        return self.name in BRANCHES


@record
class Segment:
    """The operators between ``boundary`` tensors and ``target``."""

    target: int
    boundary: tuple[int, ...]
    operators: tuple[int, ...]


@record
class Body:
    """A body of control flow: its number in the file, the operator whose body it is and the name of that one's first
    result; of an operator that runs one of two, ``branch``, the condition for which it is run."""

    number: int
    operator: int
    result: str
    branch: bool
    way: bool


class Parted(ABC):
    """A file: the ``tensors`` and ``operators`` of its main program, both by their index."""

    tensors: list[Tensor]
    operators: list[Operator]

    @property
    @abstractmethod
    def by_name(self) -> dict[str, int]:
        """Tensors by their names in the file."""

    @abstractmethod
    def extract(self, segments: Sequence[Segment], shapes: Sequence[Sequence[int]]) -> object:
        """A model of independent parts: its inputs are the boundaries of all segments in order, its outputs their
        targets and behind those :meth:`conditions`.  ``shapes`` of its inputs."""

    @abstractmethod
    def below(self, body: int | None = None) -> Iterator[Body]:
        """The bodies of the main program, or in one of its bodies; not those in them."""

    @abstractmethod
    def elements(self, body: int) -> int:
        """Elements of the float constants of a body."""

    @abstractmethod
    def has_halves(self, body: int) -> bool:
        """Are constants of a body, or of one in it, floats of 16 bits?"""

    @cached_property
    def producers(self) -> dict[int, Operator]:
        """Tensor -> the operator that makes it."""
        return {t: op for op in self.operators for t in op.outputs}

    @cached_property
    def on_halves(self) -> frozenset[int]:
        """The operators in whose bodies constants are floats of 16 bits."""
        return frozenset(body.operator for body in self.below() if self.has_halves(body.number))

    def segment(self, target: int, known: Container[int]) -> Segment | None:
        """The operators that make ``target`` from ``known`` tensors; None where that is not possible."""
        needed, boundary, queue = set(), [], [target]
        seen = {target}
        while queue:
            tensor = queue.pop()
            if tensor != target and tensor in known:
                boundary.append(tensor)
                continue
            op = self.producers.get(tensor)
            if op is None:
                if not self.tensors[tensor].constant and 0 not in self.tensors[tensor].shape:  # empty ones have no data
                    return None  # an input of the model that has no counterpart
                continue
            needed.add(op.index)
            fresh = [t for t in op.inputs if t >= 0 and t not in seen]
            seen.update(fresh)
            queue += fresh
        return Segment(target, tuple(sorted(boundary)), tuple(sorted(needed)))

    def conditions(self, segments: Sequence[Segment]) -> list[int]:
        """The IF operators of all segments in order."""
        return [i for segment in segments for i in segment.operators if self.operators[i].branches]
