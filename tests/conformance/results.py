"""The last whole run of the measure, stored beside the code: ``python -m tests.conformance --write``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import onnx

from onnx2tf_lite.op_handlers.catalogue import Entry, catalogue
from tests.conformance.cases import VARIANTS, Case
from tests.conformance.judge import OK, Verdict

PATH = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Result:
    """What is kept of a case: the operator that it is about, in which version, of which type; the verdict on it; the
    verdict ("ok", or "status: reason") on each variant that it takes part in."""

    operator: str
    version: int
    dtype: str
    in_scope: bool
    status: str
    reason: str
    operators: Sequence[str]
    error: float
    variants: Mapping[str, str]

    @property
    def counts(self) -> bool:
        """True for a case in scope that matches as it is: the variants are measured on those."""
        return self.in_scope and self.status == OK


@dataclass(frozen=True)
class Results:
    """``onnx`` is the version of the package that the cases come from."""

    onnx: str
    operators: Sequence[Entry]
    cases: Mapping[str, Result]


def read() -> Results:
    """What is stored."""
    found = json.loads(PATH.read_text(encoding="utf-8"))
    operators = [Entry(name, tuple(row[0]), row[1]) for name, row in found["operators"].items()]
    return Results(found["onnx"], operators, {name: Result(*row) for name, row in found["cases"].items()})


def write(found: Mapping[str, Sequence[tuple[Case, Verdict]]]) -> None:
    """Store a run of all variants; one line per case, so that changes can be read."""
    variants: dict[str, dict[str, str]] = {c.name: {} for c, _ in found["plain"]}
    for kind in VARIANTS[1:]:
        for case, v in found[kind]:
            variants[case.name][kind] = v.status if v.status == OK else f"{v.status}: {v.reason}"
    cases = {
        c.name: Result(c.operator, c.version, c.dtype, c.in_scope, v.status, v.reason,
                       v.operators if c.operator else (), rounded(v.error), variants[c.name])
        for c, v in sorted(found["plain"], key=lambda pair: pair[0].name)
    }  # fmt: skip
    _store(onnx.__version__, cases)


def refresh() -> None:
    """Store what the converter knows of every operator today, beside the last run."""
    found = read()
    _store(found.onnx, found.cases)


def _store(version: str, cases: Mapping[str, Result]) -> None:
    parts: dict[str, Any] = {
        "onnx": version,
        "operators": {e.name: (e.versions, e.support) for e in catalogue()},
        "cases": {name: astuple(result) for name, result in cases.items()},
    }
    text = ",\n".join(f"{json.dumps(name)}: {_lines(part)}" for name, part in parts.items())
    PATH.write_text(f"{{{text}}}\n", encoding="utf-8")


def _lines(part: Any) -> str:
    """JSON with a line for each entry of the mapping."""
    if not isinstance(part, dict):
        return json.dumps(part)
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in part.items()) + "\n}"


def rounded(error: float) -> float:
    """To one digit: the others depend on the processor."""
    return float(f"{error:.0e}")
