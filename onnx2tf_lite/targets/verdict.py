"""The verdict on every operator of a file: by the table of the device, and by its tool, which has the last word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..record import record
from . import DEVICES, device, proof
from .facts import STATIC
from .node import Node, nodes
from .proof import ARENA, Evidence, Place
from .table import Device, Fact

if TYPE_CHECKING:
    from ..validation.files.flatfile import FlatFile

STATUSES = RUNS, FALLS_BACK, IMPOSSIBLE = "runs", "falls back to the CPU", "not possible"


@record
class OperatorVerdict:
    """On one operator.

    ``place``     number of the subgraph and of the operator in it
    ``operator``  its name; ``result`` that of the tensor that it makes; ``node`` that of the ONNX node, if it is known
    ``status``    :data:`RUNS`, :data:`FALLS_BACK` (to the processor beside the device) or :data:`IMPOSSIBLE`
    ``why``       what is missing, ``remedy`` what to change; nothing where it runs
    """

    place: Place
    operator: str
    result: str
    node: str
    status: str
    why: str = ""
    remedy: str = ""

    @property
    def name(self) -> str:
        """Operator, and the ONNX node or the tensor."""
        return f"{self.operator} '{self.node or self.result}'"


MANY = {FALLS_BACK: "fall back to the CPU", IMPOSSIBLE: "are not possible"}
HEADER = ("", "operator", "why", "what to change")


def cells(verdict: OperatorVerdict) -> tuple[str, ...]:
    """A verdict as text, under :data:`HEADER`."""
    return verdict.status, verdict.name, verdict.why, verdict.remedy


@dataclass
class Fit:
    """How a file fits a device.

    ``proved``   the tool that was asked, with its version; empty: by table only, and ``notes`` say why
    ``figures``  what the tool measured
    """

    device: str
    title: str
    path: str
    verdicts: list[OperatorVerdict]
    accelerator: bool
    source: str
    proved: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: str = ""

    @property
    def share(self) -> float:
        """Percent of the operators that run on the device itself."""
        return 100 * self.count(RUNS) / len(self.verdicts) if self.verdicts else 100.0

    @property
    def stranded(self) -> list[OperatorVerdict]:
        """On what does not run on the device itself."""
        return [v for v in self.verdicts if v.status != RUNS]

    @property
    def arena(self) -> int:
        """Bytes of memory that TFLM takes, where it runs the file; else 0."""
        return int(self.figures.get(ARENA, 0)) if self.ok else 0

    @property
    def ok(self) -> bool:
        """Everything runs, what falls back included; and on an accelerator something does run there."""
        nothing = self.accelerator and bool(self.verdicts) and not self.count(RUNS)
        return not (self.failed or self.count(IMPOSSIBLE) or nothing)

    def count(self, status: str) -> int:
        """Operators of a status."""
        return sum(v.status == status for v in self.verdicts)

    @property
    def sentence(self) -> str:
        """The summary line."""
        total, parts = len(self.verdicts), [f"{self.count(RUNS)} of {len(self.verdicts)} operators run"]
        parts += [f"{n} {MANY[s]}" for s in MANY if (n := self.count(s))]
        if self.accelerator and total:
            parts.append(f"{self.share:.1f} % on the device")
        by = f"proved by {self.proved}" if self.proved else "by table only"
        verdict = "runs" if self.ok else "does not run"
        said = "".join(f"; {name} {value:,}" for name, value in self.figures.items())
        end = f": {self.failed}" if self.failed else ""
        return f"{self.path} on {self.device}: {verdict}: {', '.join(parts)} ({by}{said}){end}"

    def to_json(self) -> dict[str, object]:
        """Everything, as plain data."""
        return {**asdict(self), "share": self.share, "ok": self.ok}


def judge(name: str, file: FlatFile, prove: bool = True) -> Fit:
    """How ``file`` fits the device called ``name``; ``prove``: its tool is run, if it is installed."""
    table = device(name)
    fit = Fit(name, table.title, file.path.name, [], table.accelerator, table.source)
    evidence = Evidence()
    if table.tool and prove:
        evidence = proof.run(table.tool, name, file)
    elif prove:
        fit.notes.append("by table only: there is no tool for it here")
    fit.notes += evidence.notes
    fit.proved, fit.figures, fit.failed = evidence.tool, evidence.figures, evidence.failed
    fit.verdicts = list(_verdicts(table, file, nodes(file), evidence))
    return fit


def by_table(file: FlatFile) -> Iterator[Fit]:
    """How a file fits every device, as far as tables say it: no tool is run."""
    found = list(nodes(file))
    for name in DEVICES:
        table = device(name)
        verdicts = list(_verdicts(table, file, found, Evidence()))
        yield Fit(name, table.title, file.path.name, verdicts, table.accelerator, table.source)


def _verdicts(table: Device, file: FlatFile, found: Iterable[Node], evidence: Evidence) -> Iterator[OperatorVerdict]:
    known = file.tensor_map
    names: Sequence[str] = known.operators if known else ()
    began = behind = False
    for node in found:
        status, why, remedy = _judged(table, node, evidence)
        if status is RUNS and behind:
            status, why = FALLS_BACK, "it is behind an operator that falls back: the compiler makes one part"
        began |= status is RUNS
        behind |= table.one_part and began and status is not RUNS
        index = node.operator.index
        named = names[index] if not node.subgraph and index < len(names) else ""
        yield OperatorVerdict(node.place, node.name, node.result, named, status, why, remedy)


Judgement = tuple[str, str, str]  # status, reasons, remedy


def _judged(table: Device, node: Node, evidence: Evidence) -> Judgement:
    """By the table, or as the tool has it where it says something of the operator."""
    found = list(table.complaints(node))
    why, remedy = _said(found)
    if node.place in evidence.refused:
        return IMPOSSIBLE, evidence.refused[node.place], remedy or STATIC.remedy * (not STATIC.holds(node))
    if evidence.tool and not evidence.failed and (evidence.bodies or not node.subgraph):
        if node.place not in evidence.left:
            return RUNS, "", ""
        return _beside(table, node, why or evidence.left[node.place] or "the tool leaves it to the processor", remedy)
    if not found:
        return RUNS, "", ""
    if any(fact.fatal for fact in found):
        return IMPOSSIBLE, why, remedy
    return _beside(table, node, why, remedy)


def _beside(table: Device, node: Node, why: str, remedy: str) -> Judgement:
    """Of what the device itself does not run: whether what is beside it does."""
    if not table.fallback:
        return IMPOSSIBLE, why, remedy
    missing = list(device(table.fallback).complaints(node)) if table.fallback in DEVICES else []
    if missing:
        more, instead = _said(missing)
        return IMPOSSIBLE, f"{why}; the processor beside it {more}", remedy or instead
    return FALLS_BACK, why, remedy


def _said(facts: Sequence[Fact]) -> tuple[str, str]:
    """What is missing, and what can be done about some of it."""
    why = f"needs {' and '.join(f.needs for f in facts)}" if facts else ""
    return why, next((f.remedy for f in facts if f.remedy), "")
