"""Put a part in front of a model's input, or behind its tensors, with the sizes that these have.

A port is a tensor of the model, or a slice of one: ``output`` or ``output[:,:,5:]``.  Axes that stand in another order
than the part needs are transposed, where their extents leave no doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from ...errors import ToolError, unknown
from ...model.infer import infer
from ...model.types import dims, types
from ...model.walk import Scope, inputs, one_domain, opset_of
from . import PARTS
from ._template import Dim

FRONT = ("Z001", "Z002")
#: Part -> the ports it has, and the axes of each: B images, S boxes, C classes, or a number.
BEHIND: dict[str, dict[str, str]] = {
    "Z003": {"boxes": "BS4", "scores": "BS"},
    "Z004": {"boxes": "BS4", "scores": "BCS"},
    "Z007": {"boxes": "BS4", "scores": "B1S"},
}


@dataclass
class Port:
    """``source`` is the tensor of the model, ``shape`` what is left of it after ``slices`` (axis, start, end)."""

    name: str
    source: str
    full: list[int | str]
    elem_type: int
    slices: list[tuple[int, int, int]]
    shape: list[int | str]
    order: tuple[int, ...] = ()


def attach(code: str, model: ModelProto, ports: Mapping[str, str], **options: Any) -> ModelProto:
    """The model with the part; ``ports`` maps ``input`` (of Z001, Z002) or the inputs of the part to the model's
    tensors.  Raises ToolError for tensors that do not exist or do not fit."""
    from ..snc4onnx import combine

    part = PARTS[code]
    one_domain(model)
    default = opset_of(model, Scope(model.graph))
    options = {"opset": max(default, part.since)} | options
    if code in FRONT:
        name = _port(code, ports, ("input",))["input"]
        made = part.make(**_image(model, name, code) | options)
        joins, graphs = [made.graph.output[0].name, name], [made, model]
    elif code in BEHIND:
        texts = _port(code, ports, tuple(BEHIND[code]))
        found = [_parse(model, port, text) for port, text in texts.items()]
        made = part.make(**_sizes(found, BEHIND[code]) | options)
        joins, graphs = _adapt(made.graph, found), [model, made]
    else:
        raise ToolError(f"{code} has no fixed place at a model: write it, and join it with snc4onnx", code)
    return combine(srcop_destop=[joins], onnx_graphs=graphs, non_verbose=True, disable_onnxsim=True)


def _port(code: str, given: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    for name in given:
        if name not in wanted:
            raise unknown("attach", f"port of {code}", name, wanted)
    if missing := [w for w in wanted if w not in given]:
        raise ToolError(f"{code} needs {' and '.join(f'--{m}' for m in missing)}: a tensor of the model", code)
    return {w: given[w] for w in wanted}


def _image(model: ModelProto, name: str, code: str) -> dict[str, Dim]:
    if name not in inputs(model.graph):
        raise unknown("--input", "graph input", name, inputs(model.graph))
    shape = dims(types(model.graph)[name])
    if shape is None or len(shape) != 4 or shape[1] not in (3, None):
        raise ToolError(f"--input: {code} makes images [B,3,H,W]; {name!r} is {_text(shape)}", name)
    batch, _, height, width = (d if d is not None else w for d, w in zip(shape, "BCHW", strict=True))
    return {"batch": batch, "height": height, "width": width}


# --- ports behind a model --------------------------------------------------------------------------------------------


def _parse(model: ModelProto, port: str, text: str) -> Port:
    known = types(infer(model).graph)
    found = re.fullmatch(r"(.+?)\[([^\]]*)\]", text) if text not in known else None
    source, cut = (found[1], found[2]) if found else (text, "")
    if source not in known:
        raise unknown(f"--{port}", "tensor", source, known)
    full = dims(known[source])
    if full is None or not all(isinstance(d, int) for d in full[1:]):
        what = f"--{port}: the shape of {source!r} has to be known (it is {_text(full)}); ssi4onnx and sio4onnx set it"
        raise ToolError(what, source)
    sized: list[int | str] = [d if d is not None else "N" for d in full]
    slices = _slices(port, cut, sized) if cut else []
    shape = list(sized)
    for axis, start, end in slices:
        shape[axis] = end - start
    return Port(port, source, sized, known[source].tensor_type.elem_type, slices, shape)


def _slices(port: str, text: str, shape: Sequence[Dim]) -> list[tuple[int, int, int]]:
    words = [w.strip() for w in text.split(",")]
    if len(words) > len(shape):
        raise ToolError(f"--{port}: [{text}] has {len(words)} axes, the tensor {len(shape)}")
    found = []
    for axis, word in enumerate(words):
        if not re.fullmatch(r"-?\d*:-?\d*", word):
            raise ToolError(f"--{port}: {word!r} is no slice such as 0:4, 5: or :")
        extent = shape[axis]
        if word == ":":
            continue
        if not isinstance(extent, int):
            raise ToolError(f"--{port}: axis {axis} has no fixed extent: it cannot be cut")
        start, end, _ = slice(*(int(p) if p else None for p in word.split(":"))).indices(extent)
        if end <= start:
            raise ToolError(f"--{port}: [{text}] leaves nothing of axis {axis}")
        found.append((axis, start, end))
    return found


def _sizes(ports: Sequence[Port], axes: Mapping[str, str]) -> dict[str, Dim]:
    """Batch, boxes and classes, and the order of axes of each port, from the extents."""
    sizes: dict[str, Dim] = {}
    for port in ports:
        orders = [o for o in permutations(range(len(port.shape))) if _fits(port.shape, o, axes[port.name], sizes)]
        if not orders:
            what = f"--{port.name}: {_text(port.shape)} is not {_named(axes[port.name], sizes)} in any order"
            raise ToolError(what, port.source)
        port.order = orders[0]
        for axis, letter in zip(port.order, axes[port.name], strict=False):
            sizes.setdefault(letter, port.shape[axis])
    names = {"B": "batch", "S": "boxes", "C": "classes"}
    return {names[letter]: size for letter, size in sizes.items() if letter in names}


def _fits(shape: Sequence[Dim], order: Sequence[int], letters: str, known: Mapping[str, Dim]) -> bool:
    """Do the axes in this order have these extents?  The batch stays first; axes beyond the letters have to be 1."""
    turned = [shape[a] for a in order]
    if order[0] != 0 or len(turned) < len(letters) or any(d != 1 for d in turned[len(letters) :]):
        return False
    wanted = [int(c) if c.isdigit() else known.get(c, d) for c, d in zip(letters, turned, strict=False)]
    return turned[: len(letters)] == wanted


def _named(letters: str, known: Mapping[str, Dim]) -> str:
    return f"[{','.join(f'{c}={known[c]}' if c in known else c for c in letters)}]"


def _text(shape: Sequence[Dim | None] | None) -> str:
    return "unknown" if shape is None else f"[{','.join('?' if d is None else str(d) for d in shape)}]"


def _adapt(graph: GraphProto, ports: Sequence[Port]) -> list[str]:
    """Slices and transpositions in front of the part; returns the pairs (tensor of the model, input of the part)."""
    nodes, joins, sources = list[NodeProto](), list[str](), dict[str, str]()
    for port in ports:
        wanted = next(v for v in graph.input if v.name == port.name)
        steps = list(_steps(port, len(wanted.type.tensor_type.shape.dim)))
        if not steps and [p.source for p in ports].count(port.source) == 1:
            joins += [port.source, port.name]
            continue
        graph.input.remove(wanted)
        if port.source not in sources:
            sources[port.source] = f"{port.name}_source"
            joins += [port.source, sources[port.source]]
            graph.input.append(helper.make_tensor_value_info(sources[port.source], port.elem_type, port.full))
        nodes += _chain(graph, sources[port.source], port.name, steps or [("Identity", {}, {})])
    for index, node in enumerate(nodes):
        graph.node.insert(index, node)
    return joins


Step = tuple[str, dict[str, Sequence[int]], dict[str, Any]]


def _steps(port: Port, rank: int) -> Iterator[Step]:
    """What makes the port's tensor the part's input: operators, with constants and attributes."""
    if port.slices:
        axes, starts, ends = zip(*port.slices, strict=True)
        yield "Slice", {"starts": starts, "ends": ends, "axes": axes}, {}
    if port.order != tuple(range(len(port.shape))):
        yield "Transpose", {}, {"perm": port.order}
    if rank != len(port.shape):
        yield "Reshape", {"shape": (0, -1)}, {}


def _chain(graph: GraphProto, source: str, result: str, steps: Sequence[Step]) -> Iterator[NodeProto]:
    for k, (op, constants, attributes) in enumerate(steps, 1):
        made = f"{result}_{op.lower()}"
        target = result if k == len(steps) else f"{made}_out"
        for name, values in constants.items():
            graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{made}_{name}"))
        yield helper.make_node(op, [source, *(f"{made}_{n}" for n in constants)], [target], made, **attributes)
        source = target
