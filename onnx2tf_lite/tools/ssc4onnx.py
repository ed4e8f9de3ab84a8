"""Show what a model is made of: operators, parameters, sizes, cost, inputs and outputs; or what two models differ in.

Only headers are read: neither the weights in side files nor any runtime.  Operators in bodies of If, Loop and Scan and
in functions are counted too, in a column of their own.  MACs (multiply-accumulates) and FLOPs are those of one run,
each body once, and leave out what is done on tensors of open shapes; --shape fixes inputs.

examples:
  ssc4onnx -if model.onnx
  ssc4onnx -if before.onnx --compare after.onnx
  ssc4onnx -if dynamic.onnx --shape x:1,3,224,224
  ssc4onnx -if model.onnx --json > report.json
"""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..commands import Log, command, flag, option
from ..commands.words import shapes
from ..errors import ToolError, naming, unknown
from ..model.lazy import onnx
from ..model.read import read_model, view_model
from ..model.walk import inputs
from ._options import GRAPH, INPUT, QUIET

if TYPE_CHECKING:
    from ._survey import End, OperatorRow, Survey

Shapes = Mapping[str, Sequence[int]]


@naming("ssc4onnx")
def structure_check(
    input_onnx_file_path: str = "",
    onnx_graph: onnx.ModelProto | None = None,
    *,
    compare: str = "",
    shapes: Shapes | None = None,
    json: bool = False,
    markdown: bool = False,
    non_verbose: bool = False,
) -> tuple[dict[str, int], int]:
    """Print the report; returns how many there are of each operator, bodies included, and the bytes of all files.

    ``compare`` is the path of a second model: then the report is what changes from the first to the second.
    """
    found = read(input_onnx_file_path, onnx_graph, shapes or {})
    other = read(compare, None, shapes or {}) if compare else None
    log = Log(non_verbose)
    if json:
        report = found.to_json() if other is None else {"before": found.to_json(), "after": other.to_json()}
        log.plain(json_format.dumps(report, indent=1))
    else:
        page = _Page(log, markdown)
        if other is None:
            _describe(page, found)
        else:
            _differ(page, found, other)
        page.finish()
    counts = {label: row.nodes + row.inside for label, row in found.rows.items()}
    return counts, found.bytes


def read(path: str, graph: onnx.ModelProto | None, shapes: Shapes) -> Survey:
    """The numbers of a model in a file, or in memory; ToolError for no model, or shapes of no input."""
    from ._survey import survey

    if graph is None and not path:
        raise ToolError("no model: give input_onnx_file_path or onnx_graph")
    model = graph if graph is not None else read_model(path) if path == "-" else view_model(path)
    for name in shapes:
        if name not in inputs(model.graph):
            raise unknown("--shape", "graph input", name, inputs(model.graph))
    file = path if graph is None and path != "-" else ""
    return survey(model, file, os.path.getsize(file) if file else model.ByteSize(), shapes)


# --- what is said ----------------------------------------------------------------------------------------------------


def _describe(page: _Page, s: Survey) -> None:
    inside, costly = any(r.inside for r in s.rows.values()), any(r.macs for r in s.rows.values())
    header = ["OP Type", "OPs", *["in bodies"] * inside, "Sizes", *["MACs"] * costly]
    rows = []
    for label, row in s.rows.items():
        counts = [str(row.nodes + row.inside), *[str(row.inside)] * inside]
        rows.append([label, *counts, size(row.bytes), *[number(row.macs)] * costly])
    totals = [["Total number of OPs", str(s.nodes)], ["Total params", number(s.parameters)]]
    totals += [["Model Size", size(s.bytes), *[""] * inside, size(s.parameter_bytes)]]
    page.table(header, rows, totals)
    page.pair("file", s.file or "(none)")
    page.pair("producer", s.producer)
    page.pair("ir_version", s.ir_version)
    page.pair("opset", s.opsets.get("ai.onnx", "(none)"))
    for domain, version in s.opsets.items():
        if domain != "ai.onnx":
            page.pair(f"opset {domain}", version)
    _ends(page, s)
    for name in s.functions:
        page.pair("function", name)
    for key, value in s.metadata.items():
        page.pair(f"metadata {key}", value)
    for dtype, (elements, held) in s.bytes_by_dtype.items():
        page.pair(f"params {dtype}", f"{number(elements)} ({size(held)})")
    if s.external_bytes:
        page.pair("side files", size(s.external_bytes))
    rest = f" (without {s.uncounted} OPs on tensors of open shapes: --shape fixes inputs)" if s.uncounted else ""
    page.pair("MACs", number(s.macs) + rest)
    page.pair("FLOPs", number(s.flops) + rest)
    page.pair("activations at the peak", "(open shapes)" if s.peak_bytes is None else size(s.peak_bytes))
    page.pair("tensors without a shape", f"{s.unknown_shapes} of {s.tensors}")
    page.pair("tensors with open dimensions", f"{s.dynamic_shapes} of {s.tensors}")
    from ._survey import LARGEST

    largest = [[c.name, f"{c.dtype}{list(c.shape)}", size(c.bytes), _some(c.users)] for c in s.constants[:LARGEST]]
    if largest:
        page.table(["Largest constants", "Type", "Size", "Read by"], largest)


def _ends(page: _Page, s: Survey) -> None:
    for kind, ends in (("input", s.inputs), ("output", s.outputs)):
        for k, end in enumerate(ends, 1):
            page.pair(f"{kind}_name.{k}", f"{end.name} shape: {_shape(end)} dtype: {end.dtype}")


def _shape(end: End) -> str:
    return "unknown" if end.shape is None else str(end.shape)


def _some(users: Sequence[str]) -> str:
    return ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "") or "(nobody)"


def _differ(page: _Page, before: Survey, after: Survey) -> None:
    def count(rows: Mapping[str, OperatorRow], label: str) -> int:
        return rows[label].nodes + rows[label].inside if label in rows else 0

    labels = sorted({*before.rows, *after.rows})
    pairs = [(label, count(before.rows, label), count(after.rows, label)) for label in labels]
    totals: list[tuple[str, int, int, Callable[[int], str]]] = [
        ("Total number of OPs", before.nodes, after.nodes, str),
        ("Total params", before.parameters, after.parameters, number),
        ("Tensors without a shape", before.unknown_shapes, after.unknown_shapes, str),
        ("Model Size", before.bytes, after.bytes, size),
    ]
    open_ = before.uncounted or after.uncounted
    page.table(
        ["OP Type", "Before", "After", "Difference"],
        [[label, str(old), str(new), signed(new - old, str)] for label, old, new in pairs],
        [
            *([title, form(old), form(new), signed(new - old, form)] for title, old, new, form in totals),
            ["MACs", _macs(before), _macs(after), "" if open_ else signed(after.macs - before.macs, number)],
        ],
    )
    page.pair("before", before.file or "(none)")
    page.pair("after", after.file)
    change = before.nodes - after.nodes
    page.pair("removed" if change >= 0 else "added", f"{abs(change)} operators ({before.nodes} -> {after.nodes})")
    for kind, old, new in (("inputs", before.inputs, after.inputs), ("outputs", before.outputs, after.outputs)):
        if old != new:
            page.pair(f"{kind} differ", f"{_all(old)} -> {_all(new)}")


def _macs(s: Survey) -> str:
    """Where a shape is open, what could not be counted is said."""
    return number(s.macs) + (f" (without {s.uncounted} OPs)" if s.uncounted else "")


def _all(ends: Sequence[End]) -> str:
    return ", ".join(f"{e.name} {e.dtype}{_shape(e)}" for e in ends)


# --- how it is said --------------------------------------------------------------------------------------------------


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.1f}{unit}"


def number(count: int) -> str:
    """With the thousands apart."""
    return f"{count:,}"


def signed(count: int, form: Callable[[int], str]) -> str:
    """A difference, as ``form`` says a number."""
    return ("+" if count > 0 else "") + form(count) if count else "0"


class _Page:
    """Tables with rules in the terminal's way, or Markdown."""

    def __init__(self, log: Log, markdown: bool):
        self.log, self.markdown, self.pairs = log, markdown, list[tuple[str, str]]()

    def pair(self, key: str, value: object) -> None:
        if self.markdown:
            self.pairs.append((key, str(value)))
        else:
            self.log.pair(key, value)

    def table(self, header: list[str], rows: list[list[str]], totals: Sequence[list[str]] = ()) -> None:
        padded = [[*row, *[""] * (len(header) - len(row))] for row in (*rows, *totals)]
        if self.markdown:
            self._flush()
            for row in [header, ["---"] * len(header), *padded]:
                self.log.plain(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(header_style="bold")
        for k, title in enumerate(header):
            table.add_column(title, justify="left" if k == 0 or not totals else "right")
        for k, row in enumerate(padded):
            if k == len(padded) - 1 and totals:
                table.add_row(*("═" * max(len(r[c]) for r in [header, *padded]) for c in range(len(header))))
            table.add_row(*map(Text, row), end_section=bool(totals) and len(rows) - 1 <= k < len(padded) - 2)
        if not self.log.quiet:
            stream = self.log.stream
            Console(file=stream, width=None if stream.isatty() else 160).print(table)

    def _flush(self) -> None:
        if self.pairs:
            self.log.plain("")
            for key, value in self.pairs:
                self.log.plain(f"- {key}: {value}")
            self.log.plain("")
        self.pairs = []

    def finish(self) -> None:
        self._flush()
        if not self.markdown:
            self.log.info("Finish!")


main = command(
    structure_check,
    INPUT,
    GRAPH,
    option("--compare FILE", "a second model: show what changes"),
    option(
        "--shape NAME:DIMS...",
        "sizes of inputs with open dimensions, for MACs and activations",
        dest="shapes",
        convert=shapes,
        form="{name: [1, 3, 224, 224]}",
    ),
    flag("--json", "the report as JSON"),
    flag("--markdown", "the report as Markdown"),
    QUIET,
)
