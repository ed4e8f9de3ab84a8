"""``docs/operators.md``: the registry, the stored run of the measure and what the handlers refuse, as one table.

python -m tests.conformance.operators     after a change of a handler; no case is run
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onnx2tf_lite.op_handlers.catalogue import HANDLER, Entry
from onnx2tf_lite.op_handlers.registry import every
from tests.conformance import exclusions, results
from tests.conformance.cases import SUITES, VARIANTS
from tests.conformance.judge import OK

PATH = Path(__file__).parents[2] / "docs" / "operators.md"
#: Operators that move or rename data: they say nothing about what computes a result.
MOVES = {"TRANSPOSE", "RESHAPE", "IDENTITY", "CAST", "SHAPE"}
HEAD = """\
# Operators

Generated from the registry of handlers and from the last run of `python -m tests.conformance --write`; CI checks that
both are current. `onnx2tf --list-ops` prints the operators, versions and support of an installation.

The measure is the backend suite of onnx {onnx}. A case matches where the written file gives what ONNX expects: floats
within 0.001 relative + 0.0001 (float16 expectations 0.005 + 0.001), everything else exactly, with XNNPACK and without.
Out of scope are strings, sequences, optionals and sparse tensors at a model's edges, the training domain, and types
without TFLite kernels (bfloat16, float8, float4, 2- and 4-bit integers, complex): those cases are converted right or
refused.

| | match | of |
|---|--:|--:|
{summary}

The variants are measured on the cases in scope that match as they are. *baked*: every input but the first a constant,
as exporters write parameters. *dynamic*: every extent of every input unknown, apart from lengths that are a rank (axes,
shapes, pads). No case of any variant is wrong: what does not match is refused with the operator, the node and the
reason.
"""
LEGEND = """\
- **versions**: those of ONNX's schema; older forms are rewritten to the newest before the conversion.
- **types**: of the first input of the cases that match.
- **TFLite**: the operators that the files of those cases consist of, views and casts aside; what only some of them
  contain is in parentheses.
- **error**: the largest difference in a case that matches, relative to the largest expected value.
- **cases**: those that are about this operator alone, matching / in scope.
- **limits**: what the handler refuses (... stands for a value), and why cases are refused.
"""


def document(stored: results.Results) -> str:
    """The file's text."""
    parts = [HEAD.format(onnx=stored.onnx, summary="\n".join(summary(stored.cases)))]
    domains: dict[str, list[Entry]] = {}
    for entry in stored.operators:
        domains.setdefault(entry.name.rpartition(".")[0], []).append(entry)
    for domain, entries in domains.items():
        title = domain or "ONNX (the default domain)"
        rows = [row(e, stored.cases) for e in entries]
        parts.append(f"## {title}\n\n{LEGEND if not domain else ''}")
        parts.append("\n".join(["| operator | versions | types | TFLite | error | cases | limits |",
                                "|---|---|---|---|--:|--:|---|", *rows, ""]))  # fmt: skip
    return "\n".join(parts)


def summary(cases: Mapping[str, results.Result]) -> Iterator[str]:
    """Rows of totals."""

    def line(what: str, ok: int, total: int) -> str:
        return f"| {what} | {ok} ({100 * ok / total:.1f} %) | {total} |"

    for suite in SUITES:
        some = [r for name, r in cases.items() if name.startswith(f"{suite}/") and r.in_scope]
        yield line(suite, sum(r.counts for r in some), len(some))
    some = [r for r in cases.values() if r.in_scope]
    yield line("**all in scope**", sum(r.counts for r in some), len(some))
    for kind in VARIANTS[1:]:
        found = [r.variants[kind] for r in some if r.counts and kind in r.variants]
        yield line(kind, found.count(OK), len(found))


def row(entry: Entry, cases: Mapping[str, results.Result]) -> str:
    """The line of one operator."""
    about = {name: r for name, r in cases.items() if r.operator == entry.name}
    scope = [r for r in about.values() if r.in_scope]
    good = [r for r in scope if r.status == OK]
    errors = max((r.error for r in good), default=0.0)
    limits = refusals(entry.name) if entry.support == HANDLER else [entry.support]
    limits += [why for name, r in about.items() if r.in_scope and (why := exclusions.reason(name))]
    cells = [
        entry.name.rpartition(".")[2],
        " ".join(map(str, entry.versions)),
        " ".join(sorted({r.dtype for r in good})),
        form([r.operators for r in good]),
        f"{errors:.0e}" if errors else "",
        f"{len(good)}/{len(scope)}" if scope else "",
        "; ".join(dict.fromkeys(limits)),
    ]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def form(files: Sequence[Sequence[str]]) -> str:
    """The operators that all files have, and in parentheses those that some have."""
    if not files:
        return ""
    sets = [set(f) - MOVES for f in files]
    always, ever = set.intersection(*sets), set.union(*sets)
    if not ever:
        return "views and casts"
    parts = [", ".join(sorted(always)), f"({', '.join(sorted(ever - always))})" if ever - always else ""]
    return " ".join(p for p in parts if p)


# ------------------------------------------------------------------------------------------------ refusals


def refusals(name: str) -> list[str]:
    """What the handler of an operator, and the functions of its module that it calls, refuse."""
    domain, _, op = name.rpartition(".")
    handler = inspect.unwrap(every()[domain, op].handler)
    if handler.__name__ == "<lambda>" or inspect.getmodule(handler) is None:
        return []
    functions = module_functions(inspect.getmodule(handler).__file__ or "")
    seen: list[str] = [handler.__name__]
    found: list[str] = []
    for function in seen:  # grows
        if function in functions:
            calls, texts = functions[function]
            seen += [c for c in calls if c not in seen]
            found += texts
    return list(dict.fromkeys(found))


@functools.cache
def module_functions(path: str) -> dict[str, tuple[list[str], list[str]]]:
    """Function -> (functions that it names, texts of its refusals) of a source file."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {f.name: _scan(f) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)}


def _scan(function: ast.FunctionDef) -> tuple[list[str], list[str]]:
    names, texts = [], []
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            names.append(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            if node.func.id == "UnsupportedError":
                texts += _text(node.args[0])
            elif node.func.id == "const" and len(node.args) > 1:
                texts += [f"{t} has to be a constant" for t in _text(node.args[1])]
    return names, texts


def _text(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(p.value) if isinstance(p, ast.Constant) else "..." for p in node.values)]
    return []


def main() -> int:
    results.refresh()
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(document(results.read()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
