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

from collections.abc import Iterator, Mapping, Sequence

from ..commands import command, flag, option
from ..errors import ToolError, unknown
from ..model.lazy import np, onnx
from ..model.types import dims, types
from ..model.walk import all_constants, inputs, title
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT
from ._resize import set_extents
from ._verify import Feeds, NotRunError, Results, compare_runs, random_feeds, run, sample

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
    batched = _batched(job, input_names, axis)
    job.log.info(f"batch: {', '.join(f'axis {k} of {n}' for n, k in batched.items())}")
    for note in set_extents(job.model, dict.fromkeys(batched.items(), extent), guess=job.checks):
        job.log.info(note)
    job.test(lambda: _compare(job, batched, extent))
    return job.model


def _batched(job: Edit, asked: Sequence[str], axis: int) -> dict[str, int]:
    """Input -> its batch axis."""
    graph = job.model.graph
    known = types(graph)
    shapes = {n: dims(known.get(n)) or [] for n in inputs(graph)}
    ranked = [n for n, s in shapes.items() if len(s) > axis]
    if not ranked:
        raise ToolError(f"no input has an axis {axis}")
    first = shapes[ranked[0]][axis]
    named = {n: s.index(first) for n, s in shapes.items() if isinstance(first, str) and first in s}
    chosen = _asked(asked, shapes, axis) or named | {n: axis for n in ranked if shapes[n][axis] == first}
    sizes = {n: shapes[n][k] for n, k in chosen.items()}
    if len(set(sizes.values())) > 1:
        raise ToolError(f"--inputs: one batch, and several sizes: {', '.join(f'{n} {d}' for n, d in sizes.items())}")
    for name in [n for n in shapes if n not in chosen]:
        job.log.info(f"{name} {shapes[name]} stays as it is (--inputs names it too)")
    return chosen


def _asked(asked: Sequence[str], shapes: Mapping[str, Sequence[object]], axis: int) -> dict[str, int]:
    """``name`` and ``name:axis``."""
    chosen = {}
    for text in asked:
        head, _, number = text.rpartition(":")
        name, place = (head, int(number)) if text not in shapes and head and number.isdigit() else (text, axis)
        if name not in shapes:
            raise unknown("--inputs", "graph input", name, shapes)
        if len(shapes[name]) <= place:
            raise ToolError(f"--inputs: {name} {shapes[name]} has no axis {place}", name)
        chosen[name] = place
    return chosen


def _compare(job: Edit, batched: Mapping[str, int], extent: int | str) -> str:
    """Single runs of the model, stacked, against one run of the result, whose outputs are declared accordingly."""
    name, axis = next(iter(batched.items()))
    size = rows = 0
    places: dict[str, list[int]] = {}

    def single() -> tuple[Feeds, Results]:
        nonlocal size, rows
        feeds, results = _singles(job.before, batched, extent)
        size = feeds[0][name].shape[axis]
        rows = extent if isinstance(extent, int) else SAMPLES * size
        fed = {n: _stack([f[n] for f in feeds], batched[n], rows, size) for n in batched}
        return feeds[0] | fed, {n: [r[n] for r in results] for n in results[0]}

    def stacked(feeds: Feeds) -> Results:
        try:
            return run(job.model, feeds)
        except NotRunError as error:
            raise NotRunError(f"the old batch size is fixed in the graph: {error}{_suspects(job, size)}") from error

    def differ(got: Results, alone: Results) -> tuple[str, str]:
        for output, array in got.items():
            places[output], what = _stacked(array, alone[output], rows, size)
            if what:
                return output, what + _suspects(job, size)
        return "", ""

    said = compare_runs(single, stacked, "as in single runs, stacked", differ)
    for output, axes in places.items():
        _say(job, output, axes, extent)
    return said


def _singles(
    before: onnx.ModelProto, batched: Mapping[str, int], extent: int | str
) -> tuple[list[Feeds], list[Results]]:
    """Inputs and outputs of as many single runs as the stack needs; what has no batch is the same in all."""
    first, result = sample(before)
    name, axis = next(iter(batched.items()))
    count = -(-extent // first[name].shape[axis]) if isinstance(extent, int) else SAMPLES
    feeds, results = [first], [result]
    for seed in range(1, count):
        same = (f for f in random_feeds(before, seed) if all(f[n].shape == a.shape for n, a in first.items()))
        other = next(same, first)
        feeds.append({n: a if n in batched else first[n] for n, a in other.items()})
        results.append(run(before, feeds[-1]))
    return feeds, results


def _stacked(array: np.ndarray, alone: Sequence[np.ndarray], rows: int, size: int) -> tuple[list[int], str]:
    """The batch axis of an output, if it has one, and how it differs from the single results, stacked.

    How long an axis is may depend on the data: then it is not the batch."""
    from ..validation.figures.judge import Tolerance, compare

    axes = sorted({i for a in alone for i, (m, n) in enumerate(zip(array.shape, a.shape, strict=False)) if m != n})
    if not axes and _is_shape(array, alone[0], rows, size):
        return axes, ""
    limit = Tolerance(1e-4, "the same operators, with other kernels for more rows")
    stacked = _stack(alone, axes[0], rows, size) if len(axes) == 1 else alone[0]
    what = compare(array, stacked, limit).what
    if len(axes) == 1 and what and any(np.array_equal(array, n) for n in _numbered(alone, axes[0], rows, size)):
        return [], ""
    return axes[:1] if len({a.shape for a in alone}) == 1 else [], what


def _numbered(alone: Sequence[np.ndarray], axis: int, rows: int, size: int) -> Iterator[np.ndarray]:
    """The single results, stacked, as they would be if one of their columns were the number of the sample, as it is
    where their length depends on the data (NonMaxSuppression, NonZero)."""
    if alone[0].ndim != 2 or alone[0].dtype.kind not in "iu":
        return
    for column in np.eye(alone[0].shape[1 - axis], dtype=alone[0].dtype):
        shift = column if axis == 0 else column[:, None]
        yield _stack([a + k * size * shift for k, a in enumerate(alone)], axis, rows, size)


def _is_shape(array: np.ndarray, alone: np.ndarray, rows: int, size: int) -> bool:
    """Whole numbers that grow with the batch, or stay: the shape of something."""
    whole = array.dtype.kind in "iu" and array.ndim < 2 and array.shape == alone.shape
    return bool(whole and np.all((array == alone) | (array * size == alone * rows)))


def _say(job: Edit, name: str, places: Sequence[int], extent: int | str) -> None:
    """Declare an output as it was, but for the axis that was seen to be the batch."""
    was = dims(types(job.before.graph).get(name))
    info = next(v for v in job.model.graph.output if v.name == name)
    now = dims(info.type)
    if was is not None and now is not None and len(was) == len(now):
        for axis, (dim, old, found) in enumerate(zip(info.type.tensor_type.shape.dim, was, now, strict=True)):
            said = extent if axis in places else old
            if found is None and said is not None:
                setattr(dim, "dim_value" if isinstance(said, int) else "dim_param", said)
    job.log.info(f"output {name}: {dims(info.type)}")


def _stack(arrays: Sequence[np.ndarray], axis: int, rows: int, size: int) -> np.ndarray:
    """One behind the other; of arrays of one length what ``rows`` samples take where ``size`` of them are in each."""
    whole, lengths = np.concatenate(arrays, axis), {a.shape[axis] for a in arrays}
    return np.take(whole, range(rows * lengths.pop() // size), axis) if len(lengths) == 1 else whole


#: Operator -> the input slots that may hold a shape or a state with the old batch size in it.
SUSPECTS = {"Reshape": (1,), "Expand": (1,), "Resize": (3,), "LSTM": (5, 6), "GRU": (5,), "RNN": (5,), "Concat": (0, 1)}


def _suspects(job: Edit, size: int) -> str:
    """The nodes that read such a constant."""
    held = all_constants(job.model.graph)
    slots = [(n, i) for n in job.model.graph.node for i in SUSPECTS.get(n.op_type, ()) if i < len(n.input)]
    found = [f"{n.op_type} '{title(n)}' ({n.input[i]})" for n, i in slots if n.input[i] in held]
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
