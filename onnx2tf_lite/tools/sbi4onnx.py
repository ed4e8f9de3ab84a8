"""Make the batch size symbolic, or fix it to a number.

The batch axis of the inputs is followed through the graph: constants that hold the old batch size (shapes of Reshape
and Expand, ends of Slice, sizes of Resize, initial states of zeros) are rewritten where they provably mean it.  The
result is compared with single runs of the model, stacked: where a node keeps the old batch, that is an error and
nothing is written.

examples:
  sbi4onnx -if m.onnx -of mN.onnx -ics N
  sbi4onnx -if m.onnx -of m4.onnx -ics 4                          four samples at once
  sbi4onnx -if lstm.onnx -of lstm_N.onnx -ics N --inputs x state:1      the state has its batch at axis 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..commands import command, flag, option
from ..errors import ToolError, unknown
from ..model.lazy import np, onnx
from ..model.types import dims, types
from ..model.walk import constants, inputs, title
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT
from ._resize import set_extents
from ._verify import NotRun, random_feeds, run

#: How many samples the check stacks.
SAMPLES = 3


@edit("MODEL GRAPH OUTPUT * QUIET")
def initialize(
    job: Edit,
    initialization_character_string: str = "-1",
    disable_onnxsim: bool = False,
    *,
    input_names: Sequence[str] = (),
    axis: int = 0,
) -> onnx.ModelProto:
    """Give the batch axis of the inputs a name, or a number; returns the new model."""
    text = str(initialization_character_string)
    extent: int | str = int(text) if text.isdigit() else text
    if extent in (0, ""):
        raise ToolError(f"-ics: {text!r} is neither a name nor a size", text)
    batched = _batched(job, list(input_names), axis)
    job.log.info(f"batch: {', '.join(f'axis {k} of {n}' for n, k in batched.items())}")
    for note in set_extents(job.model, dict.fromkeys(batched.items(), extent), guess=job.checks):
        job.log.info(note)
    if job.checks:
        _compare(job, batched, extent)
    for info in job.model.graph.output:
        job.log.info(f"output {info.name}: {dims(info.type)}")
    return job.model


def _batched(job: Edit, asked: list[str], axis: int) -> dict[str, int]:
    """Input -> its batch axis."""
    graph = job.model.graph
    known = types(graph)
    shapes = {n: dims(known.get(n)) or [] for n in inputs(graph)}
    chosen = {}
    for text in asked:
        head, _, number = text.rpartition(":")
        name, place = (head, int(number)) if text not in shapes and head and number.isdigit() else (text, axis)
        if name not in shapes:
            raise unknown("--inputs", "graph input", name, shapes)
        if len(shapes[name]) <= place:
            raise ToolError(f"--inputs: {name} {shapes[name]} has no axis {place}", name)
        chosen[name] = place
    ranked = [n for n, s in shapes.items() if len(s) > axis]
    if not ranked:
        raise ToolError(f"no input has an axis {axis}")
    chosen = chosen or {n: axis for n in ranked if shapes[n][axis] == shapes[ranked[0]][axis]}
    sizes = {n: shapes[n][k] for n, k in chosen.items()}
    if len(set(sizes.values())) > 1:
        raise ToolError(f"--inputs: one batch, and several sizes: {', '.join(f'{n} {d}' for n, d in sizes.items())}")
    for name in [n for n in shapes if n not in chosen]:
        job.log.info(f"{name} {shapes[name]} stays as it is (--inputs names it too)")
    return chosen


def _compare(job: Edit, batched: Mapping[str, int], extent: int | str) -> None:
    """Single runs of the model, stacked, against one run of the result."""
    from ..validation.judge import Tolerance, compare

    before, limit = job.before, Tolerance(1e-4, "the same operators, with other kernels for more rows")
    try:
        first, result = _single(before, 0)
        size = first[next(iter(batched))].shape[next(iter(batched.values()))]
        rows = extent if isinstance(extent, int) else SAMPLES * size
        singles, results = [first], [result]
        for seed in range(1, -(-rows // size)):
            feeds = next(f for f in random_feeds(before, seed) if all(f[n].shape == a.shape for n, a in first.items()))
            singles.append({n: a if n in batched else first[n] for n, a in feeds.items()})
            results.append(run(before, singles[-1]))
    except (NotRun, StopIteration) as error:
        job.log.warning(f"the result was not run, as the model cannot be: {error}")
        return
    fed = {n: _stack([f[n] for f in singles], batched[n], rows, size) if n in batched else first[n] for n in first}
    try:
        got = run(job.model, fed)
    except NotRun as error:
        raise ToolError(f"the old batch size is fixed in the graph: {error}{_suspects(job, size)}") from error
    for name, array in got.items():
        alone = [r[name] for r in results]
        places = [i for i, (m, n) in enumerate(zip(array.shape, alone[0].shape, strict=False)) if m != n]
        if places or not _is_shape(array, alone[0], rows, size):
            stacked = _stack(alone, places[0], rows, size) if len(places) == 1 else alone[0]
            if what := compare(array, stacked, limit).what:
                why = f"output {name!r} is not that of single runs, stacked: {what}{_suspects(job, size)}"
                raise ToolError(why, name)
        _say(job, name, places[:1], extent)
    job.log.info(f"{len(got)} output(s) as in {len(singles)} single runs, stacked (ONNX Runtime, seeded inputs)")


def _is_shape(array: Any, alone: Any, rows: int, size: int) -> bool:
    """Whole numbers that grow with the batch, or stay: the shape of something."""
    whole = array.dtype.kind in "iu" and array.ndim < 2 and array.shape == alone.shape
    return bool(whole and np.all((array == alone) | (array * size == alone * rows)))


def _say(job: Edit, name: str, places: Sequence[int], extent: int | str) -> None:
    """Declare an output as it was, but for the axis that was seen to be the batch."""
    was = dims(types(job.before.graph).get(name))
    info = next(v for v in job.model.graph.output if v.name == name)
    now = dims(info.type)
    if was is None or now is None or len(was) != len(now):
        return
    for axis, (dim, old, found) in enumerate(zip(info.type.tensor_type.shape.dim, was, now, strict=True)):
        said = extent if axis in places else old
        if found is None and said is not None:
            setattr(dim, "dim_value" if isinstance(said, int) else "dim_param", said)


def _single(model: onnx.ModelProto, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs that the model runs with, and what it gives.  Raises NotRun."""

    why = NotRun("no inputs can be made")
    for feeds in random_feeds(model, seed):
        try:
            return feeds, run(model, feeds)
        except NotRun as error:
            why = error
    raise why


def _stack(arrays: Sequence[Any], axis: int, rows: int, size: int) -> Any:
    """One behind the other; of that, what ``rows`` samples take where ``size`` of them are in each."""
    return np.take(np.concatenate(arrays, axis), range(rows * arrays[0].shape[axis] // size), axis)


def _suspects(job: Edit, size: int) -> str:
    """The nodes that read a shape or a state with the old batch size in it."""
    held: Mapping[str, Any] = constants(job.model.graph)
    found = []
    for node in job.model.graph.node:
        slots = {
            "Reshape": (1,),
            "Expand": (1,),
            "Resize": (3,),
            "LSTM": (5, 6),
            "GRU": (5,),
            "RNN": (5,),
            "Concat": (0, 1),
        }
        for slot in slots.get(node.op_type, ()):
            if slot < len(node.input) and node.input[slot] in held:
                found.append(f"{node.op_type} '{title(node)}' ({node.input[slot]})")
    return f"; look at {', '.join(found[:5])}" if found else f" (batch {size})"


main = command(
    initialize,
    INPUT,
    OUTPUT,
    option("-ics --initialization_character_string TEXT", "name (N, batch, -1) or number of the batch", required=True),
    flag("-dos --disable_onnxsim", "no effect: nothing is simplified, as that would write the old size into constants"),
    option("--inputs NAME...", "those with a batch, NAME:AXIS (default: all of the first's size)", dest="input_names"),
    option("--axis N", "where the batch axis is (default: 0)", type=int),
    *COMMON,
)
