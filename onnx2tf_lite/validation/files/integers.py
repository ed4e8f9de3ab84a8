"""Which operators of a file compute with integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...ir.kinds import KINDS
from ...ir.traits import Elements
from ...record import record
from .flatfile import FlatFile
from .parted import Tensor

CONVERSIONS = frozenset(kind.operator for kind in KINDS.values() if kind.elements is Elements.ENCODED)


@record
class Integers:
    """The operators of a file by what they compute with.

    ``integer``      how many compute with integers that stand for real numbers
    ``floats``       those that compute with float activations: operator -> how many
    ``hybrid``       how many of these read integer weights
    ``conversions``  QUANTIZE and DEQUANTIZE of activations; ``expanded``: weights that a DEQUANTIZE makes floats of
    """

    integer: int
    floats: dict[str, int]
    hybrid: int
    conversions: int
    expanded: int = 0

    @classmethod
    def of(cls, file: FlatFile) -> Integers:
        """Of a file, bodies of control flow included; what handles neither, as shapes, is not counted."""
        bodies = (file.body(number) for number in range(1, file.root.SubgraphsLength()))
        main, *others = map(cls.of_part, (file, *bodies))
        return sum(others, main)

    def __add__(self, other: Integers) -> Integers:
        floats = Counter(self.floats) + Counter(other.floats)
        return Integers(
            self.integer + other.integer,
            dict(sorted(floats.items())),
            self.hybrid + other.hybrid,
            self.conversions + other.conversions,
            self.expanded + other.expanded,
        )

    @classmethod
    def of_part(cls, file: FlatFile) -> Integers:
        """Of its main program, or the body that it is seen from."""
        integer, hybrid, conversions, expanded, floats = 0, 0, 0, 0, Counter[str]()
        weights = set[int]()  # that are expanded
        for op in file.operators:
            given = [file.tensors[i] for i in op.inputs if i >= 0]
            made = [file.tensors[i] for i in op.outputs]
            if op.name in CONVERSIONS:
                conversions += not given[0].constant
                expanded += given[0].constant
                weights.update(op.outputs if given[0].constant else ())
            elif weights.intersection(op.inputs) and all(t.constant or t.index in weights for t in given):
                weights.update(op.outputs)
            elif any(t.dtype == np.float32 for t in made) or _reads_floats(given):
                floats[op.name] += 1
                hybrid += any(t.quantised for t in given)
            elif any(t.quantised for t in (*given, *made)):
                integer += 1
        return cls(integer, dict(sorted(floats.items())), hybrid, conversions, expanded)

    def __str__(self) -> str:
        if not self.integer and not self.hybrid and not self.expanded:
            return "NOTHING is quantised"
        counted = ", ".join(f"{n} {name}" for name, n in self.floats.items())
        total = sum(self.floats.values())
        read = self.hybrid + self.expanded
        weights = f"; {read} of them on integer weights" if read else ""
        parts = [f"{self.integer} integer operators", f"{total} float ({counted}{weights})" if total else "none float"]
        return ", ".join([*parts, f"{self.conversions} QUANTIZE or DEQUANTIZE"])


def _reads_floats(given: Sequence[Tensor]) -> bool:
    return any(t.dtype == np.float32 and not t.constant for t in given)
