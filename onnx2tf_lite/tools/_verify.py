"""Is the result a model?  onnx's checker and strict shape inference; and does it compute what it did before?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from ..errors import ToolError, one_line
from ..model.lazy import np, onnx
from ..model.light import SMALL, light
from ..model.tensors import fetch, inline, is_external, nbytes, refer, reference
from ..model.types import dims, dtype, types
from ..model.walk import initializers, inputs, outputs, remove, scopes

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# --- running ---------------------------------------------------------------------------------------------------------


#: What a run gives by name: arrays, and lists of them for sequences.
Results = dict[str, Any]
Feeds = dict[str, "np.ndarray"]


class NotRunError(Exception):
    """ONNX Runtime does not run the model."""


def session(model: onnx.ModelProto, extra_outputs: list[str] | None = None) -> InferenceSession:
    """An ONNX Runtime session without optimisations; weights in side files are mapped.  Raises NotRunError."""
    import onnxruntime as ort

    for scope in scopes(model):
        if any(n.op_type == "Split" and not all(n.output) for n in scope.graph.node):
            raise NotRunError("ONNX Runtime crashes on a Split with an output left out")
    copy, folder, given = _weights_apart(model)
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in extra_outputs or [])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")  # it copies all weights
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if given:
        values = [ort.OrtValue.ortvalue_from_numpy(v) for v in given.values()]
        options.add_external_initializers(list(given), values)
    try:
        made = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except _errors() as error:
        raise NotRunError(one_line(error)) from error
    made._given = given  # the runtime reads them where they are
    return made


def _weights_apart(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str, dict[str, np.ndarray]]:
    """A copy of which large weights are where they were: in side files of a folder, or arrays by name."""
    copy, pairs = light(model, lambda t: nbytes(t) >= 1 << 20 and t.HasField("raw_data"))
    names = {t.name for t in copy.graph.initializer}
    folder = next((reference(t)["basepath"] for _, t in pairs if "basepath" in reference(t)), "")
    given: dict[str, np.ndarray] = {}
    for own, tensor in pairs:
        data = fetch(tensor)
        if is_external(tensor) and reference(tensor)["basepath"] == folder:
            refer(own, reference(tensor)["location"], reference(tensor))  # the runtime maps the file
        elif len(data) < 1 << 20 or own.name not in names or tensor.name in given or not _plain(tensor.data_type):
            own.CopyFrom(tensor)
            if is_external(tensor):
                inline(own)
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            given[tensor.name] = np.frombuffer(data, dtype).reshape(tuple(tensor.dims))
            refer(own, "none", {})
    return copy, folder, given


def _plain(data_type: int) -> bool:
    return bool(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type)).kind in "fiub")


def _errors() -> tuple[type[Exception], ...]:
    from ..validation.original.reference import ort_errors

    return ort_errors()


def run(model: onnx.ModelProto, feeds: Results, names: list[str] | None = None) -> Results:
    """Run a model in ONNX Runtime: its outputs, or the named tensors, by name.  Raises NotRunError."""
    own = outputs(model.graph)
    wanted = own if names is None else names
    made = session(model, [n for n in wanted if n not in own])
    try:
        results = made.run(wanted, dict(feeds))
    except _errors() as error:
        raise NotRunError(one_line(error)) from error
    return dict(zip(wanted, results, strict=True))


def random_feeds(model: onnx.ModelProto, seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """Candidates of seeded inputs, in the order they are to be tried: free dimensions get one size after another, the
    batch 1 and then 2, integers stay below the tables they index.  NotRunError for inputs that are no tensors."""
    from ..errors import ConversionError
    from ..model.load import load
    from ..validation.feeds.extents import generate
    from ..validation.feeds.inputs import default_place, describe

    wanted = inputs(model.graph)
    try:
        specs = [s for s in describe(load(_weights_as_inputs(model))) if s.name in wanted]
    except ConversionError as error:
        raise NotRunError(str(error)) from error
    for _, feeds in generate(specs, {s.name: default_place(s) for s in specs}, {}, seed):
        yield feeds


def _weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says of large weights only what they look like."""
    copy, pairs = light(model, lambda t: nbytes(t) >= SMALL)
    main, listed = initializers(copy.graph), {v.name for v in copy.graph.input}
    hollow = set()
    for own, tensor in pairs:
        if main.get(tensor.name) is not own:
            inline(own) if is_external(own) else own.CopyFrom(tensor)
            continue
        hollow.add(tensor.name)
        if tensor.name not in listed:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            copy.graph.input.append(info)
    remove(copy.graph.initializer, lambda t: t.name in hollow)
    return copy


def compare_runs(
    before: Callable[[], tuple[Feeds, Results]],
    after: Callable[[Feeds], Results],
    like: str = "as before",
    differ: Callable[[Results, Results], tuple[str, str]] | None = None,
) -> str:
    """Run what was before and what came of it; returns what was found, in words.

    ``before`` gives inputs and what is expected of them, ``after`` what comes of these inputs, by name; ``like`` says
    what it is to be.  ``differ`` is :func:`difference` unless it is given.  Raises ToolError where ``after`` does not
    run, or gives something else, NotRunError where ``before`` does not run, or gives something else each time.
    """
    feeds, expected = before()
    name, what = (differ or difference)(_run_again(after, feeds), expected)
    if what:
        if difference(before()[1], expected)[1]:
            raise NotRunError("it gives something else each time")
        raise ToolError(f"output {name!r} is not {like}: {what}", name)
    return f"{len(expected)} output(s) {like} (ONNX Runtime, seeded inputs)"


def same_outputs(
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    feed: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    result: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    tensors: list[str] | None = None,
    seed: int = 0,
) -> str:
    """Compare both models (see :func:`compare_runs`).

    ``feed`` makes the inputs of ``after`` from those of ``before``, ``result`` what ``after`` is to give from the
    outputs of ``before``; with ``tensors``, these are computed instead of the outputs, and ``feed`` gets
    them besides the inputs.
    """
    own = outputs(before.graph)
    names = tensors or own

    turns = count(1)

    def run_before() -> tuple[Feeds, Results]:
        """In a session that is gone when that of the result begins, as each holds all weights.  What is random begins
        alike in each: when this is asked again, the second run tells."""
        first = session(before, [n for n in names if n not in own])
        for _ in range(next(turns)):
            feeds, wanted = first_run(first, names, random_feeds(before, seed))
        given = feeds | wanted if tensors else feeds
        return feed(given) if feed else given, result(wanted) if result else wanted

    return compare_runs(run_before, lambda feeds: run(after, feeds))


def still_runs(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Run the result with the inputs that the model ran with before, or, where it has others now, with those of its
    own.  Raises ToolError where it does not run, NotRunError where the model never did; what was found, in words."""
    feeds, _ = sample(before)
    if fits(after, feeds):
        _run_again(lambda given: run(after, given), feeds)
        return "the result runs (ONNX Runtime, seeded inputs)"
    try:
        feeds, _ = sample(after)
    except NotRunError as error:
        raise ToolError(f"the result does not run, and the model did before: {error}") from error
    return f"the result runs with {_shapes(feeds)} (ONNX Runtime, seeded inputs)"


def _run_again(after: Callable[[Feeds], Results], feeds: Feeds) -> Results:
    try:
        return after(feeds)
    except NotRunError as error:
        what = f"the result does not run with {_shapes(feeds)}, and the model did before: {error}"
        raise ToolError(what) from error


def _shapes(feeds: Results) -> str:
    return ", ".join(f"{n}{list(a.shape)}" for n, a in feeds.items()) or "no inputs"


def fits(model: onnx.ModelProto, feeds: Results) -> bool:
    """Are these the inputs of the model, of shapes that it takes?"""
    names, known = inputs(model.graph), types(model.graph)
    shapes = {n: dims(known.get(n)) for n in names}
    return feeds.keys() == set(names) and all(
        shape is None
        or (
            len(shape) == feeds[n].ndim
            and all(not isinstance(d, int) or d == m for d, m in zip(shape, feeds[n].shape, strict=True))
        )
        for n, shape in shapes.items()
    )


def difference(
    got: Results, expected: Results, rounding: float = 1e-5, why: str = "the same operators in another order"
) -> tuple[str, str]:
    """The first of the expected results that is not as expected, and why; two empty strings where all are.

    ``rounding``, of the largest value of a result, is what it may be off, and ``why``.
    """
    from ..validation.figures.judge import Tolerance, compare

    limit = Tolerance(rounding, why)
    for name, wanted in expected.items():
        what = _difference(got[name], wanted, lambda a, b: compare(a, b, limit).what)
        if what:
            return name, what
    return "", ""


def sample(model: onnx.ModelProto) -> tuple[Feeds, Results]:
    """The first seeded inputs that ONNX Runtime runs a model with, and its outputs.  Raises NotRunError."""
    return first_run(session(model), outputs(model.graph), random_feeds(model))


def first_run(made: InferenceSession, names: list[str], candidates: Iterator[Feeds]) -> tuple[Feeds, Results]:
    """The first of the candidates that a session runs, and its results by name.  Raises NotRunError."""
    why = ""
    for feeds in candidates:
        try:
            return feeds, dict(zip(names, made.run(names, feeds), strict=True))
        except _errors() as error:
            why = why or one_line(error)
    raise NotRunError(why or "it has no inputs to try")


def _difference(got: object, reference: object, compare: Callable[[np.ndarray, np.ndarray], str]) -> str:
    """Tensors, sequences of tensors, and what an optional output without a value gives."""
    if isinstance(reference, list):
        if not isinstance(got, list) or len(got) != len(reference):
            return "another length of the sequence"
        return next((w for a, b in zip(got, reference, strict=True) if (w := _difference(a, b, compare))), "")
    if not isinstance(reference, np.ndarray) or reference.dtype.kind in "OUS":
        return "" if np.array_equal(np.asarray(got), np.asarray(reference)) else "other values"
    return compare(np.asarray(got), reference)


def runtime_types(model: onnx.ModelProto, names: list[str]) -> dict[str, onnx.TypeProto]:
    """The types that ONNX Runtime finds for tensors of the main graph; the rank is that of one run, where the model
    runs.  Raises NotRunError."""
    made = session(model, names)
    found = {o.name: _type_proto(o.type, o.shape) for o in made.get_outputs()}
    try:
        _, arrays = first_run(made, names, random_feeds(model))
    except NotRunError:
        return {name: found[name] for name in names}
    for name in names:
        rank = getattr(arrays[name], "ndim", None)
        if rank is not None and len(dims(found[name]) or ()) != rank:
            elem = found[name].tensor_type.elem_type
            found[name] = onnx.helper.make_tensor_type_proto(elem, [None] * rank)
    return {name: found[name] for name in names}


def _type_proto(text: str, shape: Sequence[int | str | None] | None) -> onnx.TypeProto:
    """``tensor(float)`` or ``seq(tensor(int64))`` and a shape, as a TypeProto."""
    word = re.sub(r"^(?:seq\(|optional\()*tensor\(|\)+$", "", text)
    elem = dtype(word if word != "double" else "float64")
    if text.startswith("tensor("):
        return onnx.helper.make_tensor_type_proto(elem, None if shape is None else list(shape))
    inner = onnx.helper.make_tensor_type_proto(elem, None)
    make = {"seq": onnx.helper.make_sequence_type_proto, "optional": onnx.helper.make_optional_type_proto}
    for outer in reversed(re.findall(r"(seq|optional)\(", text)):
        inner = make[outer](inner)
    return inner
