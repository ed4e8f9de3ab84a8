"""Run models on made-up inputs, and time them.

The inputs are all ones, which is a poor test of values (a transposed image of ones is the same): --seed makes random
ones instead, which suit type and range.  Times are those of single runs after a warm-up.  A provider that is not there
is replaced by the CPU with a warning, or is an error with --require-provider.  .tflite files can be run, too.

examples:
  sit4onnx -if LayerNormalization2D_11.onnx -oep cpu
  sit4onnx -if LayerNormalization2D_11.onnx LayerNormalization2D_17.onnx -oep cpu --compare
  sit4onnx -if dynamic.onnx -oep cpu -fs 1 3 224 224 --seed 0 -tlc 100
  sit4onnx -if model.onnx -oep cpu -ifp image=photo.npy -ofp
"""

from __future__ import annotations

import json as json_format
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..commands import Log, command, flag, option, parameter, repeated
from ..errors import ToolError, naming, unknown
from ..model.lazy import np, onnx
from ._options import QUIET

if TYPE_CHECKING:
    from ..validation.feeds.inputs import InputSpec
    from ._latency import Arrays, Endpoint, Engine, Results, Timing

PROVIDERS = ("tensorrt", "cuda", "openvino_cpu", "openvino_gpu", "cpu")


@naming("sit4onnx")
def inference(
    input_onnx_file_path: str | Sequence[str],
    batch_size: int = 1,
    fixed_shapes: Sequence[Sequence[int]] | None = None,
    test_loop_count: int = 10,
    onnx_execution_provider: str = "tensorrt",
    intra_op_num_threads: int = 0,
    enable_profiling: bool = False,
    input_numpy_file_paths_for_testing: Sequence[str] | None = None,
    numpy_ndarrays_for_testing: Sequence[np.ndarray] | None = None,
    output_numpy_file: bool = False,
    non_verbose: bool = False,
    *,
    compare: bool = False,
    seed: int | None = None,
    require_provider: bool = False,
    json: bool = False,
) -> list[Any]:
    """Run a model ``test_loop_count`` times; returns the outputs of the last run.

    Of several models a list of these; with ``compare`` they are run in turn on the same inputs, and times and outputs
    are compared with those of the first.  Raises ToolError for what cannot be run.
    """
    many = not isinstance(input_onnx_file_path, str)
    paths = list(input_onnx_file_path) if many else [str(input_onnx_file_path)]
    _possible(paths, test_loop_count, compare)
    log, loops = Log(non_verbose or json, "-" if json else ""), test_loop_count or 10
    settings = onnx_execution_provider, intra_op_num_threads, enable_profiling, require_provider
    engines = [_opened(path, *settings, log) for path in paths]
    given = _given(input_numpy_file_paths_for_testing or (), numpy_ndarrays_for_testing)
    feeds: list[Arrays] = []
    for path, engine in zip(paths, engines, strict=True):
        same = feeds[:1] if compare else []  # a second model gets what the first one got
        feeds.append(_feeds(path, engine, batch_size, fixed_shapes, given, seed, same, log))
    jobs = [partial(engine.run, fed) for engine, fed in zip(engines, feeds, strict=True)]
    timings, results = _timed([jobs] if compare else [[job] for job in jobs], loops)
    for path, engine, fed, timing, result in zip(paths, engines, feeds, timings, results, strict=True):
        _tell(log, path, engine, fed, timing, result)
        if output_numpy_file:
            _keep(engine.outputs, result, log)
    differences = _differences(engines, results) if compare else []
    _compare(log, paths, timings, differences)
    if json:
        _report(paths, engines, timings, differences)
    log.info("Finish!")
    return results if many else list(results[0])


def _timed(turns: Sequence[list[Any]], loops: int) -> tuple[list[Timing], list[Results]]:
    """Jobs of one turn are timed alternately."""
    from ._latency import measure

    found = [measure(jobs, loops) for jobs in turns]
    return [t for timings, _ in found for t in timings], [r for _, results in found for r in results]


def _possible(paths: Sequence[str], loops: int, compare: bool) -> None:
    if loops < 0:
        raise ToolError("-tlc: the number of runs cannot be negative")
    if compare and len(paths) < 2:
        raise ToolError("--compare: give at least two models")


def _opened(path: str, provider: str, threads: int, profile: bool, required: bool, log: Log) -> Engine:
    """A model in its runtime; a provider that is not there is an error if it is required."""
    from ._latency import open_model

    if provider not in PROVIDERS:
        raise unknown("-oep", "execution provider", provider, PROVIDERS)
    engine = open_model(path, provider, threads, profile)
    if engine.missing:
        what = f"{path}: {engine.missing} ({provider}) is not there: {', '.join(engine.providers)} runs"
        if required:
            raise ToolError(f"{what} instead", engine.missing)
        log.warning(what)
    return engine


# --- inputs ----------------------------------------------------------------------------------------------------------


def _given(words: Sequence[str], arrays: Sequence[np.ndarray] | None) -> dict[str | int, np.ndarray]:
    """The user's arrays by name, or by position."""
    found: dict[str | int, np.ndarray] = dict(enumerate(arrays or ()))
    for word in words:
        name, equals, path = word.rpartition("=")
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ToolError(f"-ifp: {path}: cannot be read: {error}", path) from error
        if not isinstance(loaded, np.ndarray):
            found |= {key: loaded[key] for key in loaded.files}
        else:
            found[name if equals else sum(isinstance(k, int) for k in found)] = loaded
    return found


def _feeds(
    path: str,
    engine: Engine,
    batch: int,
    fixed: Sequence[Sequence[int]] | None,
    given: Mapping[str | int, np.ndarray],
    seed: int | None,
    same: Sequence[Arrays],
    log: Log,
) -> Arrays:
    names = [e.name for e in engine.inputs]
    for key in given:
        if isinstance(key, str) and key not in names:
            raise unknown("-ifp", "input", key, names)
        if isinstance(key, int) and key >= len(names):
            raise ToolError(f"-ifp: more arrays than inputs ({', '.join(names)})")
    if fixed and len(fixed) != len(names):
        raise ToolError(f"-fs: {len(fixed)} shapes; the model has {len(names)} inputs: {', '.join(names)}")
    specs = _specs(engine) if seed is not None else {}
    feeds: Arrays = {}
    for k, end in enumerate(engine.inputs):
        array = given.get(end.name, given.get(k))
        for first in same if array is None else ():
            array = first.get(end.name, list(first.values())[k] if len(first) == len(names) else None)
            array = None if array is None else _turned(array, end)
        if array is None:
            array = _made(end, _shape(end, batch, fixed[k] if fixed else None), seed, specs.get(end.name))
        feeds[end.name] = _fitted(array, end, log)
    return feeds


def _shape(end: Endpoint, batch: int, fixed: Sequence[int] | None) -> tuple[int, ...]:
    if fixed is not None:
        wrong = [d for d, f in zip(end.shape, fixed, strict=False) if isinstance(d, int) and d != f]
        if wrong or len(fixed) != len(end.shape):
            raise ToolError(f"-fs: {list(fixed)} is no shape of input {end.name!r}: {end.text}", end.name)
        return tuple(fixed)
    dims = [batch if k == 0 and not isinstance(d, int) else d for k, d in enumerate(end.shape)]
    if not all(isinstance(d, int) for d in dims):
        raise ToolError(f"input {end.name!r} has open dimensions {end.text}: give its size with -fs", end.name)
    return tuple(d for d in dims if isinstance(d, int))


def _made(end: Endpoint, shape: tuple[int, ...], seed: int | None, spec: InputSpec | None) -> np.ndarray:
    from ..validation.feeds.inputs import HIGHS, InputSpec
    from ._values import numpy_dtype

    if not end.elem:
        raise ToolError(f"input {end.name!r} is no tensor: nothing can be made up for it", end.name)
    if end.elem == onnx.TensorProto.STRING:
        return np.full(shape, "1", object)
    kind = numpy_dtype(end.elem)
    if seed is None:
        return np.ones(shape, kind)
    tiny = kind.isbuiltin != 1
    spec = spec or InputSpec(end.name, np.dtype(np.float32) if tiny else kind, shape)
    made: np.ndarray = spec.random(shape, np.random.default_rng(seed), HIGHS[-1])
    return made.astype(kind)


def _specs(engine: Engine) -> dict[str, InputSpec]:
    """What is known of each input of an ONNX model: the bounds of ids."""
    from ..errors import ConversionError
    from ..model.load import load
    from ..validation.feeds.inputs import describe

    source = getattr(engine, "source", None)
    if source is None:  # a .tflite
        return {}
    try:
        return {s.name: s for s in describe(load(source))}
    except ConversionError:  # what runs need not be what we can read: without bounds then
        return {}


def _fitted(array: np.ndarray, end: Endpoint, log: Log) -> np.ndarray:
    """The array as the input takes it; another dtype of the same kind is converted, which a warning says."""
    from ._values import numpy_dtype

    dims = [d if isinstance(d, int) else n for d, n in zip(end.shape, array.shape, strict=False)]
    if len(dims) != len(end.shape) or dims != list(array.shape):
        what = f"an array of shape {list(array.shape)} for input {end.name!r}, which is {end.text}"
        raise ToolError(f"-ifp: {what}", end.name)
    kind = numpy_dtype(end.elem) if end.elem != onnx.TensorProto.STRING else np.dtype(object)
    if array.dtype == kind:
        return np.asarray(array, order="C")
    if not np.can_cast(array.dtype, kind, "same_kind"):
        raise ToolError(f"-ifp: an array of {array.dtype} for input {end.name!r}, which is {end.dtype}", end.name)
    log.warning(f"input {end.name!r}: {array.dtype} is converted to {end.dtype}")
    return np.asarray(array, kind, order="C")


def _turned(array: np.ndarray, end: Endpoint) -> np.ndarray | None:
    """The same data where the other model (a .tflite) takes it channels-last or channels-first."""
    n = array.ndim
    orders = [tuple(range(n)), (0, *range(2, n), 1), (0, n - 1, *range(1, n - 1))]
    for order in orders if n > 2 else orders[:1]:
        turned = array.transpose(order)
        if len(end.shape) == n and all(not isinstance(d, int) or d == turned.shape[k] for k, d in enumerate(end.shape)):
            return turned
    return None


# --- messages --------------------------------------------------------------------------------------------------------


def _tell(log: Log, path: str, engine: Engine, feeds: Arrays, timing: Timing, results: Results) -> None:
    """The original's lines, then the spread."""
    log.pair("file", path)
    log.pair("providers", engine.providers)
    for k, end in enumerate(engine.inputs, 1):
        log.pair(f"input_name.{k}", f"{end.name} shape: {list(feeds[end.name].shape)} dtype: {end.dtype}")
    log.pair("test_loop_count", len(timing.runs))
    log.pair("total elapsed time", f" {timing.total} ms")
    log.pair("avg elapsed time per pred", f" {timing.average} ms")
    for k, (end, result) in enumerate(zip(engine.outputs, results, strict=True), 1):
        if isinstance(result, list):
            for j, part in enumerate(result):
                log.pair(f"output_name.{k}-{j}", f"{end.name}-{j} shape: {list(part.shape)} dtype: {part.dtype}")
        elif result is None:
            log.pair(f"output_name.{k}", f"{end.name} (nothing)")
        else:
            log.pair(f"output_name.{k}", f"{end.name} shape: {list(result.shape)} dtype: {end.dtype}")
    spread = ", ".join(f"{n} {timing.percentile(p):.4f}" for n, p in (("p10", 10), ("median", 50), ("p90", 90)))
    log.pair("elapsed time per pred", f"{spread}, min {min(timing.runs):.4f}, max {max(timing.runs):.4f} ms")
    if timing.outliers:
        log.pair("outliers", f"{timing.outliers} of {len(timing.runs)} runs")
    if profile := engine.close():
        log.pair("profile", profile)


def _keep(outputs: Sequence[Endpoint], results: Results, log: Log) -> None:
    for end, result in zip(outputs, results, strict=True):
        name = f"result_{re.sub('[/:;]', '_', end.name)}.npy"
        if not isinstance(result, np.ndarray):
            log.warning(f"{name}: output {end.name!r} is no tensor: not written")
            continue
        np.save(name, result)
        log.pair("wrote", name)


def _differences(engines: Sequence[Engine], results: Sequence[Results]) -> list[dict[str, str]]:
    """For every model after the first: output -> how it differs."""
    found = []
    for engine, result in zip(engines[1:], results[1:], strict=True):
        said = {}
        for k, (end, value) in enumerate(zip(engine.outputs, result, strict=True)):
            names = [e.name for e in engines[0].outputs]
            at = names.index(end.name) if end.name in names else k
            said[end.name] = _difference(results[0][at], value) if at < len(names) else "only here"
        found.append(said)
    return found


def _difference(a: object, b: object) -> str:
    from ._latency import Endpoint

    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return "no tensors: not compared"
    turned = _turned(b, Endpoint("", a.shape, 0))
    if turned is None:
        return f"shape {list(b.shape)} instead of {list(a.shape)}"
    if a.dtype.kind == "O":
        return "equal" if (a == turned).all() else "other text"
    wide = [v.astype(np.complex128 if v.dtype.kind == "c" else np.float64) for v in (a, turned)]
    largest = float(np.abs(np.nan_to_num(wide[0] - wide[1], nan=np.inf)).max(initial=0.0))
    if np.array_equal(wide[0], wide[1], equal_nan=True):
        return "equal"
    return f"largest difference {largest:.3g} (largest value {float(np.abs(wide[0]).max(initial=0.0)):.3g})"


def _compare(log: Log, paths: list[str], timings: list[Timing], differences: list[dict[str, str]]) -> None:
    for path, timing, said in zip(paths[1:], timings[1:], differences, strict=False):
        ratio = timing.percentile(50) / timings[0].percentile(50)
        log.pair("ratio of the medians", f"{ratio:.3f} ({path} / {paths[0]})")
        for name, text in said.items():
            log.pair(f"output {name}", text)


def _report(
    paths: list[str], engines: Sequence[Engine], timings: list[Timing], differences: list[dict[str, str]]
) -> None:
    rows = zip(paths, engines, timings, strict=True)
    models = [{"file": p, "providers": e.providers, "milliseconds": t.to_json()} for p, e, t in rows]
    for model, said in zip(models[1:], differences, strict=False):
        model["differences"] = said
    print(json_format.dumps(models, indent=1))


def _models(words: Sequence[str]) -> str | list[str]:
    return words[0] if len(words) == 1 else list(words)


_SHAPES = "[[1, 3, 224, 224], [1, 5], ...]"
_INPUT: Any = {"group": "input and output", "required": True, "convert": _models}
main = command(
    inference,
    option("-if --input_onnx_file_path FILE...", "the model, or several: .onnx or .tflite", **_INPUT),
    option("-b --batch_size N", "size of an open first dimension (default: 1)", type=int),
    repeated("-fs --fixed_shapes [N...]", "the shape of an input; once per input, in order", type=int, form=_SHAPES),
    option("-tlc --test_loop_count N", "how many runs are timed (default: 10)", type=int),
    option("-oep --onnx_execution_provider", "who runs it (default: tensorrt)", choices=PROVIDERS),
    option("-iont --intra_op_num_threads N", "threads (default: the runtime's choice)", type=int),
    flag("-pro --enable_profiling", "write the runtime's profile to the current folder"),
    repeated("-ifp --input_numpy_file_paths_for_testing FILE", "inputs: .npy in order, name=.npy, or .npz by name"),
    parameter("numpy_ndarrays_for_testing", "inputs in order: [array of the shape of the first input, ...]"),
    flag("-ofp --output_numpy_file", "write result_<output>.npy to the current folder"),
    flag("--compare", "run several models in turn on the same inputs; compare times and outputs with the first"),
    option("--seed N", "random inputs instead of ones", type=int),
    flag("--require-provider", "a provider that is not there is an error"),
    flag("--json", "a report in JSON instead of the lines"),
    QUIET,
)
