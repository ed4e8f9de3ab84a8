"""Change the declared shapes of inputs and outputs; only those that change need naming.

A name for a name renames that dimension everywhere, a number for a name fixes it, and another number for a number is
carried through the graph (constants that hold the old size are rewritten where they provably mean it).  An output shape
that contradicts what the model computes is an error that names the node.  A scalar has no dimensions: -is with nothing.

examples:
  sio4onnx -if m.onnx -of o.onnx -i x -is N 3 H W -o y -os N 4
  sio4onnx -if m.onnx -of o.onnx -i x -is 2 3 16 16
  sio4onnx -if m.onnx -of o.onnx --rename-dim N=batch H=height
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..commands import command, option, repeated
from ..commands.words import assignments, dim
from ..errors import ToolError
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.light import light
from ..model.types import dims, types
from ..model.walk import producers, title
from ._edit import Edit, edit, port, set_shape
from ._options import COMMON, INPUT, OUTPUT
from ._resize import forget, set_extents
from .ssi4onnx import set_dims

Dims = Sequence[int | str | None]
Shapes = Sequence[Sequence[int | str]]


@edit("MODEL GRAPH OUTPUT * QUIET")
def io_change(
    job: Edit,
    input_names: Sequence[str] = (),
    input_shapes: Shapes = (),
    output_names: Sequence[str] = (),
    output_shapes: Shapes = (),
    *,
    rename_dim: Mapping[str, int | str] | None = None,
) -> onnx.ModelProto:
    """Declare other shapes of inputs and outputs; returns the new model."""
    graph = job.model.graph
    named: dict[str, int | str] = dict(rename_dim or {})
    extents = _extents(graph, _pairs("-i", "-is", input_names, input_shapes), named)
    fixes = any(isinstance(d, int) for d in named.values())
    set_dims(job.model, named)
    if fixes:
        _refine(job.model)
    for note in set_extents(job.model, extents) if extents else ():
        job.log.info(note)
    for name, shape in _pairs("-o", "-os", output_names, output_shapes):
        _output(job, name, shape)
    for info in (*graph.input, *graph.output):
        job.log.info(f"{info.name}: {dims(info.type)}")
    if extents or fixes:
        job.must_run()
    else:
        job.same_outputs()
    return job.model


def _extents(
    graph: onnx.GraphProto, shapes: Sequence[tuple[str, list[int | str]]], named: dict[str, int | str]
) -> dict[tuple[str, int], int | str]:
    """What changes of the inputs: names go to ``named``, the rest is returned by input and axis."""
    found: dict[tuple[str, int], int | str] = {}
    for name, shape in shapes:
        info = port(graph, "graph input", name, "-i")
        for axis, (a, b) in enumerate(zip(_ranked("-is", name, dims(info.type), shape), shape, strict=True)):
            if a != b and not (isinstance(a, str) and named.setdefault(a, b) == b):
                found[name, axis] = b
    return found


def _refine(model: onnx.ModelProto) -> None:
    """Numbers, where a number for a name makes names or unknown dimensions behind it known."""
    known = types(infer(model, strict=True).graph)
    for info in (*model.graph.output, *model.graph.value_info):
        for axis, found in zip(info.type.tensor_type.shape.dim, dims(known.get(info.name)) or [], strict=False):
            if isinstance(found, int):
                axis.dim_value = found


def _pairs(a: str, b: str, names: Sequence[str], shapes: Shapes) -> list[tuple[str, list[int | str]]]:
    if len(names) != len(shapes):
        raise ToolError(f"{a} and {b} go in pairs: {len(names)} name(s), {len(shapes)} shape(s)")
    plain = [[str(d) if isinstance(d, int) and d < 0 else d for d in s] for s in shapes]
    return list(zip(names, plain, strict=True))


def _ranked(flag: str, name: str, old: Dims | None, new: Dims) -> Dims:
    if old is None:
        raise ToolError(f"{flag}: the model declares no rank for {name!r}", name)
    if len(old) != len(new):
        raise ToolError(f"{flag}: {name!r} is {old}, of rank {len(old)}: {list(new)} has rank {len(new)}", name)
    return old


def _output(job: Edit, name: str, shape: list[int | str]) -> None:
    """Declare an output; a number that the model computes differently is an error.  A name that inputs have, too, is
    renamed everywhere; another one is that of this output only, though others may be declared with it."""
    graph = job.model.graph
    info = port(graph, "graph output", name, "-o")
    declared = _ranked("-os", name, dims(job.types().get(name)) or [None] * len(shape), shape)
    common = {d for v in graph.input for d in dims(v.type) or () if isinstance(d, str)}
    computed = _computed(job.model, name) or [None] * len(shape)
    known = [a if a is not None else b if b in common else None for a, b in zip(computed, declared, strict=True)]
    wrong = [i for i, (a, b) in enumerate(zip(known, shape, strict=True)) if isinstance(a, int) and a != b]
    if wrong:
        node = producers(job.model.graph).get(name)
        maker = f": {node.op_type} '{title(node)}' makes {known}" if node is not None else f": it is {known}"
        raise ToolError(f"-os: {name!r} cannot be {shape}{maker}", name)
    set_dims(job.model, {a: b for a, b in zip(known, shape, strict=True) if isinstance(a, str) and a != b})
    set_shape(info, shape)


def _computed(model: onnx.ModelProto, name: str) -> Dims | None:
    """The shape that follows from those of the inputs, whatever is declared."""
    bare = light(model, lambda t: False)[0]
    forget(bare)
    return dims(types(infer(bare).graph).get(name))


def _shapes(rows: Sequence[Sequence[str]]) -> list[list[int | str]]:
    return [list(map(dim, row)) for row in rows]


_SHAPES = {"convert": _shapes, "form": "[[1, 3, 'H', 'W'], ...], one for each name"}
main = command(
    io_change,
    INPUT,
    OUTPUT,
    repeated("-i --input_names NAME", "a graph input"),
    repeated("-is --input_shapes [DIM...]", "its shape, in words", **_SHAPES),
    repeated("-o --output_names NAME", "a graph output"),
    repeated("-os --output_shapes [DIM...]", "its shape, in words", **_SHAPES),
    option("--rename-dim NAME=VALUE...", "rename or fix dimensions everywhere", convert=assignments, form="{'N': 1}"),
    *COMMON,
)
