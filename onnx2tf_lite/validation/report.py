"""What a check found, as data and as sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .compare import SLACK, Difference


@dataclass(frozen=True)
class Row:
    """One tensor in one file: the worst over all samples and runtimes.

    ``shape`` is in ONNX order, ``stored_shape`` that of the file, ``perm`` leads from ONNX to stored order (None where
    more than a permutation lies between).
    """

    node: str
    op: str
    tensor: str
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]
    perm: tuple[int, ...] | None
    dtype: str
    difference: Difference
    runtime: str

    @property
    def ok(self) -> bool:
        return not self.difference.what


@dataclass
class FileReport:
    """One file.  ``layers`` are in the order of the ONNX graph, outputs included; ``error`` says why it did not run."""

    kind: str
    path: str
    tolerance: str
    reason: str
    runtimes: tuple[str, ...]
    outputs: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        return not self.error and all(r.ok for r in [*self.outputs, *self.layers])

    @property
    def first_divergence(self) -> Row | None:
        """The first tensor, in graph order, that does not agree."""
        return next((r for r in [*self.layers, *self.outputs] if not r.ok), None)

    @property
    def ill_conditioned(self) -> bool:
        """True where rounding moves the original model itself beyond the limit: it says little of the file."""
        return any(r.difference.slack for r in [*self.outputs, *self.layers])

    def worst(self, n: int = 10) -> list[Row]:
        """The tensors whose error takes up most of their limit."""
        return sorted(self.layers or self.outputs, key=lambda r: (r.ok, -r.difference.used))[:n]

    @property
    def verdict(self) -> str:
        """One line."""
        if self.error:
            return f"{self.path}: {self.error}"
        rows, bad = self.layers or self.outputs, self.first_divergence
        if bad is None:
            count = f"{len(rows)} {'layer' if self.layers else 'output'}{'s' * (len(rows) != 1)}"
            used = max((r.difference.used for r in rows), default=0.0)
            least = min((r.difference.within for r in rows), default=1.0)
            seen = f"largest difference {used:.1%} of" if used <= 1 else f"{least:.2%} of the elements within"
            return f"{self.path}: matches ({count}; {seen} the limit {self._limit(rows)})"
        place = f"first at {bad.op} '{bad.node}', tensor '{bad.tensor}'" if self.layers else f"output '{bad.tensor}'"
        others = sum(not r.ok for r in self.layers) - 1
        more = f"; {others} later tensors differ too" if others > 0 else ""
        more += "; the outputs agree" if all(r.ok for r in self.outputs) else ""
        what = f"{bad.difference.what}{more} (limit {self._limit([bad])})"
        return f"{self.path}: DIFFERS, {place} ({bad.runtime}): {what}"

    def _limit(self, rows: list[Row]) -> str:
        text = self.tolerance + (f" {self.reason}" if "user" in self.reason else "")
        moved = max((r.difference.slack for r in rows), default=0.0)
        if not moved:
            return text
        return f"{text}, or {SLACK} x what such rounding does to the original model: {moved:.0e} of max|ref|"


@dataclass
class Report:
    """A whole check: ``error`` says why nothing could be compared."""

    engine: str = ""
    samples: list[dict[str, tuple[int, ...]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[FileReport] = field(default_factory=list)
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all files match, 1 one differs or does not run, 2 the reference could not be run."""
        return 2 if self.error else int(not all(f.ok for f in self.files))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok, "verdicts": [f.verdict for f in self.files]}


HEADER = ("", "node", "op", "tensor", "ONNX shape", "stored", "perm", "max|diff|", "of max|ref|", "cosine", "within %")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table as text."""
    perm = "..." if row.perm is None else "" if row.perm == tuple(range(len(row.perm))) else _dims(row.perm)
    d = row.difference
    numbers = (f"{d.max_abs:.1e}", f"{d.max_rel:.1e}", f"{d.cosine:.7f}", f"{100 * d.within:.4g}")
    return (
        "ok" if row.ok else "DIFFERS",
        row.node,
        row.op,
        row.tensor,
        _dims(row.shape),
        _dims(row.stored_shape),
        perm,
        *numbers,
    )


def _dims(shape: Iterable[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
