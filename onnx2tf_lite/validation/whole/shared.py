"""What the original model's layers make of operands that were made for them: several files of one model ask for it, and
in one process the second one finds it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ..figures.measure import Array

Results = Sequence[Mapping[str, Array]]  # of each set of operands


@dataclass
class Shared:
    """Results by all that they depend on, as many as ``room`` bytes hold."""

    room: int = 0
    results: dict[Hashable, Results] = field(default_factory=dict)

    def keep(self, key: Hashable, results: Results) -> None:
        """Where there is room."""
        size = sum(a.nbytes for one in results for a in one.values())
        if size <= self.room:
            self.room -= size
            self.results[key] = results
