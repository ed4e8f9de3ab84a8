"""Write a page with the picture of a model: nodes, shapes, constants, what each node costs and, given the report of a
check, how much it is off.

One HTML file, which asks nothing of any network.  Drag to move, turn the wheel to zoom, click a node for its
attributes, inputs, outputs and constants, type to find nodes, operators and tensors.  Bodies of If, Loop and Scan and
functions are graphs of their own, reached from the node that has them.

examples:
  onnx-tune view model.onnx -o model.html
  onnx-tune view dynamic.onnx -o model.html --shape x:1,3,224,224      what the nodes cost at these sizes
  onnx2tf-check -i model.onnx -t model_float32.tflite --json check.json
  onnx-tune view model.onnx -o model.html --report check.json          coloured by the error
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..commands import Log, command, option
from ..commands.words import shapes as read_shapes
from ..errors import ToolError, naming
from ..model.lazy import onnx
from ..model.read import read_model
from ..model.tensors import nbytes, to_array
from ..model.types import dims, dtype_word, type_text, types
from ..model.walk import Scope, bodies, captures, constants, is_function, scopes, sort, title
from ..model.write import write_text
from ._edit import port
from ._options import GRAPH, QUIET
from ._picture import draw

SMALL = 16  # elements of a constant that are shown
TEXT = 300  # letters of an attribute that are shown
Json = dict[str, Any]


@naming("view")
def view(
    input_onnx_file_path: str = "",
    output_html_file_path: str = "",
    onnx_graph: onnx.ModelProto | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    report: str = "",
    non_verbose: bool = False,
) -> Path:
    """Write the page; returns its path.

    ``report`` is the file that ``onnx2tf-check --json`` wrote of this model.

    :raises ToolError: a file that cannot be read or written.
    """
    model = onnx_graph if onnx_graph is not None else read_model(input_onnx_file_path)
    for given, shape in (shapes or {}).items():
        kind = dims(port(model.graph, "graph input", given, "--shape").type)
        if kind is not None and len(kind) != len(shape):
            raise ToolError(f"--shape: {given} has {len(kind)} axes, not {len(shape)}", given)
    found = graphs(model, shapes or {}, errors(report) if report else {})
    name = Path(input_onnx_file_path or "model.onnx").name
    if report and not any("check" in n for g in found for n in g["nodes"]):
        raise ToolError(f"--report: {report} is of another model: it knows none of these tensors", report)
    write_text(output_html_file_path, page(name, found))
    Log(non_verbose, output_html_file_path).info(
        f"{output_html_file_path}: {sum(len(g['nodes']) for g in found):,} nodes"
    )
    return Path(output_html_file_path)


def graphs(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    wrong: Mapping[str, Json] | None = None,
    marks: Mapping[str, str] | None = None,
    label: str = "",
) -> list[Json]:
    """What the page shows of the main graph, each body and each function.

    ``shapes`` fixes inputs by name, ``wrong`` is what a check says of tensors, ``marks`` what happened to nodes, by the
    address of what they make, and ``label`` what these graphs are called beside others.
    """
    from ._survey import sized

    for scope in scopes(model):
        sort(scope.graph)
    known = [types(s.graph) for s in scopes(sized(model, shapes or {}))]
    pairs = zip(scopes(model), known, strict=True)
    return [{"label": label, **_Drawing(s, k, wrong or {}, marks or {}).to_json()} for s, k in pairs]


def errors(path: str) -> dict[str, Json]:
    """Tensor -> what the report of a check says of it.

    :raises ToolError: it is no such report.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [row for file in report["files"] for row in (*file["outputs"], *file["layers"])]
        return {row["tensor"]: _worst(row) for row in rows}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ToolError(f"--report: {path} is not what `onnx2tf-check --json` writes: {error}", path) from error


def _worst(row: Json) -> Json:
    """The error of a layer by itself where it was measured, else from the inputs to it; of the largest value."""
    measured = [row[k] for k in ("alone", "isolated") if row.get(k)] or [row["difference"]]
    errors = [m["max_rel"] for m in measured]
    finite = all(isinstance(e, int | float) and math.isfinite(e) for e in errors)
    said = next((m["what"] for m in measured if m["what"]), "")
    return {"error": max(errors) if finite else None, "what": said, "limit": row["source"]}


def page(name: str, found: Sequence[Json], changes: Sequence[Sequence[str]] = ()) -> str:
    """The page of these graphs, as one file; ``changes``: rows of kind, sign, address and text."""
    from ..validation.page.frame import window

    data = json.dumps({"graphs": found, "changes": changes}, separators=(",", ":")).replace("</", "<\\/")
    return window(__package__, "page/view", title=name, data=data)


class _Drawing:
    """A graph as the page gets it: nodes in order, the graph's inputs first and its outputs last."""

    def __init__(
        self, scope: Scope, known: Mapping[str, onnx.TypeProto], wrong: Mapping[str, Json], marks: Mapping[str, str]
    ):
        self.scope, self.known, self.wrong, self.marks = scope, known, wrong, marks
        self.held = constants(scope.graph)
        self.extents = {n: shape for n, k in known.items() if (shape := _fixed(k)) is not None}
        self.extents |= {n: tuple(t.dims) for n, t in self.held.items()}
        self.nodes, self.edges, self.made = list[Json](), list[tuple[int, int]](), dict[str, int]()

    def to_json(self) -> Json:
        graph = self.scope.graph
        ends = _ends(graph)
        for name in (n for n in ends[0] if n not in self.held):
            self._add("input", name, [], [name])
        for index, node in enumerate(graph.node):
            if node.output and node.output[0] in self.held:
                continue  # a Constant
            inside = [i for _, body in bodies(node) for i in captures(body)]
            about = self._of(node, title(node, index))
            self._add(node.op_type, title(node, index), [*node.input, *inside], list(node.output), about)
        for name in ends[1]:
            self._add("output", name, [name], [])
        picture = draw(len(self.nodes), self.edges)
        for node, (x, y) in zip(self.nodes, picture.places, strict=True):
            node |= {"x": round(x, 2), "y": y}
        lines = [[round(c, 2) for point in line for c in point] for line in picture.lines]
        return {"path": self.scope.path, "nodes": self.nodes, "edges": self.edges, "lines": lines}

    def _add(self, op: str, name: str, reads: list[str], makes: list[str], more: Json | None = None) -> None:
        number = len(self.nodes)
        self.edges += [(self.made[i], number) for i in dict.fromkeys(reads) if i in self.made]
        for result in makes:
            self.made.setdefault(result, number)
        about: Json = {"op": op, "name": name}
        about["in"] = [self._tensor(i) for i in reads if i]
        about["out"] = [self._tensor(o) for o in makes if o]
        about |= more or {}
        checked = [self.wrong[o] for o in makes if o in self.wrong]
        if checked:
            about["check"] = max(checked, key=lambda c: math.inf if c["error"] is None else c["error"])
        mark = next((self.marks[a] for o in makes if (a := self.scope.address(o)) in self.marks), "")
        self.nodes.append(about | ({"mark": mark} if mark else {}))

    def _of(self, node: onnx.NodeProto, name: str) -> Json:
        from . import _flops

        texts = {a.name: _attribute(a) for a in node.attribute if a.type not in (a.GRAPH, a.GRAPHS)}
        inside = [f"{self.scope.path}/{name}/{key}".lstrip("/") for key, _ in bodies(node)]
        cost = _flops.count(node, self.extents)
        found: Json = {"attrs": texts, "domain": node.domain, "bodies": inside}
        return found | ({"macs": cost[0], "flops": cost[1]} if cost else {})

    def _tensor(self, name: str) -> list[str]:
        """Name, type, and of a constant its bytes or values."""
        if name not in self.held:
            return [name, type_text(self.known.get(name))]
        tensor = self.held[name]
        kind = f"{dtype_word(tensor.data_type)}[{','.join(map(str, tensor.dims))}]"
        few = math.prod(tensor.dims) <= SMALL and tensor.data_type != onnx.TensorProto.STRING
        return [name, kind, str(to_array(tensor).tolist()) if few else f"{nbytes(tensor):,} bytes"]


def _ends(graph: onnx.GraphProto | onnx.FunctionProto) -> tuple[list[str], list[str]]:
    if is_function(graph):
        return list(graph.input), list(graph.output)
    return [v.name for v in graph.input], [v.name for v in graph.output]


def _fixed(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    shape = dims(kind)
    numbers = tuple(d for d in shape or () if isinstance(d, int))
    return numbers if shape is not None and len(numbers) == len(shape) else None


def _attribute(attribute: onnx.AttributeProto) -> str:
    if attribute.HasField("t"):
        return f"{dtype_word(attribute.t.data_type)}[{','.join(map(str, attribute.t.dims))}]"
    value = onnx.helper.get_attribute_value(attribute)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= TEXT else f"{text[:TEXT]} ..."


main = command(
    view,
    option("input_onnx_file_path MODEL", 'the model; "-": standard input'),
    option("-o --output_html_file_path FILE", 'the page; "-": standard output', required=True),
    GRAPH,
    option("--shape NAME:DIMS...", "sizes of inputs with open extents", dest="shapes", convert=read_shapes),
    option("--report FILE", "what `onnx2tf-check --json FILE` wrote of this model", default=""),
    QUIET,
)
