"""What a conversion says of the program: its inputs and outputs, and how many of each operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from .ir.graph import Graph, Placement
from .record import record

SHOWN = 8  # names that a signature cannot have, in a line


@record
class TensorInfo:
    """An input or output of the files: ``stored = onnx.transpose(perm)``; symbolic extents are given by name."""

    name: str
    dtype: str
    onnx_shape: tuple[int | str, ...]
    shape: tuple[int | str, ...]
    perm: tuple[int, ...]

    @classmethod
    def of(cls, name: str, place: Placement) -> TensorInfo:
        """By where ``place`` puts the tensor."""
        perm = tuple(int(i) for i in np.argsort(place.perm))
        plain = [tuple(d if isinstance(d, int) else str(d) for d in s) for s in (place.shape, place.value.shape)]
        return cls(name, place.value.dtype.name, plain[0], plain[1], perm)

    @property
    def moved(self) -> bool:
        """True where the axes of the file are not those of the model."""
        return self.perm != tuple(range(len(self.perm)))

    def __str__(self) -> str:
        moved = f" stored as [{_commas(self.shape)}] = transpose({_commas(self.perm)})" if self.moved else ""
        return f"{self.name}: {self.dtype}[{_commas(self.onnx_shape)}]{moved}"


def _commas(items: Iterable[object]) -> str:
    return ",".join(text if len(text := str(item)) < 20 else "?" for item in items)


def edges(
    inputs: Iterable[TensorInfo], outputs: Iterable[TensorInfo], signature: Mapping[str, str], rule: str
) -> Iterator[str]:
    """Lines of how the files have the inputs and outputs, and of names that TensorFlow's ``signature`` cannot have."""
    if rule != "auto":
        yield f"inputs and outputs are stored by the rule --io-layout {rule}"
    yield from (f"input  {end}" for end in inputs)
    yield from (f"output {end}" for end in outputs)
    if renamed := [f"{name} is {key}" for name, key in signature.items() if name != key]:
        rest = ", ... (signature in the report)" if len(renamed) > SHOWN else ""
        yield f"names in TensorFlow's signature, which takes identifiers: {', '.join(renamed[:SHOWN])}{rest}"


def operators(graph: Graph) -> dict[str, int]:
    """How many of each operator the program has, bodies included."""
    counts: dict[str, int] = {}
    for part in [graph, *graph.subgraphs()]:
        for op in part.ops:
            counts[op.kind.name] = counts.get(op.kind.name, 0) + 1
    return dict(sorted(counts.items()))
