"""Compile a model, run the file with LiteRT, compare with ONNX Runtime: what the tests of all stages share.

    from tests.harness import check_model, compile_model, run_tflite
    check_model(model)                      # random feeds, expectation from ONNX Runtime, both runtimes

LiteRT runs in forked children, because a kernel may abort the process.  ``default`` is the interpreter as it comes
(XNNPACK), ``plain`` has no delegates: each catches failures that the other hides.  The cases of ONNX's backend suite
are run by ``python -m tests.conformance``, which compares with what is here.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import ModelProto

from onnx2tf_lite import compile, passes
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.ir import dims
from onnx2tf_lite.ir.graph import Graph, Placement

RTOL, ATOL = 1e-3, 1e-4  # 1e-3 is what ONNX's own backend tests allow
HALF = {"float16": (5e-3, 1e-3), "bfloat16": (4e-2, 8e-3)}  # expectations of 11 and of 8 bits
SECONDS = 60
FORK = multiprocessing.get_context("fork")
compile.AFTER_EACH = True


class Mismatch(AssertionError):
    """The file ran and gave something else."""


class Crash(AssertionError):
    """The interpreter refused the file, died or hung."""


# ------------------------------------------------------------------------------------------------ compiling


def prepare(model: ModelProto, tune: bool = False) -> gs.Graph:
    """The model in the form that handlers know: upgraded and folded; with ``tune`` also fused and simplified."""
    if lacking := [n.op_type for n in model.graph.node if OLD_ONNX and _is_unknown(n)]:
        pytest.skip(f"onnx {version('onnx')} has no {lacking[0]}")
    wanted = set(passes.PASSES) if tune else {"shapes", "upgrade", "fold", "clean", "names"}
    options = passes.PassOptions(disabled=frozenset(set(passes.PASSES) - wanted))
    return passes.optimize(passes.load(model), options)[0]


#: onnx before it lacks some operators and types.
OLD_ONNX = tuple(map(int, version("onnx").split(".")[:2])) < (1, 23)
new_onnx = pytest.mark.skipif(OLD_ONNX, reason=f"onnx {version('onnx')} knows less")


def _is_unknown(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx.preview") and not onnx.defs.has(node.op_type, node.domain)


def compile_model(
    model: ModelProto, *, tune: bool = False, branch: str = "integer", without: Sequence[str] = (), pins: Any = None
) -> Graph:
    """The program that the .tflite emitter writes (``branch="float"``: the SavedModel's); ``without`` some stages."""
    stages = [s for s in compile.STAGES + compile.BRANCHES[branch] if s[0] not in without]
    return compile.run(prepare(model, tune), stages, compile.Settings(pins or {}))


# ------------------------------------------------------------------------------------------------ running


def forked(function: Callable[..., Any], *args: Any, seconds: float = SECONDS) -> Any:
    """``function(*args)`` in a child process; Crash where it dies, hangs or raises."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_serve, args=(theirs, function, args))
    child.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            raise Crash(f"no answer within {seconds:.0f} s")
        ok, result = ours.recv()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        raise Crash(f"the process died: {signal.Signals(-code).name if code < 0 else code}") from None
    finally:
        if child.is_alive():
            child.join(0.5)
        if child.is_alive():
            child.kill()
        ours.close()
    if not ok:
        raise Crash(result)
    return result


def _serve(pipe: Any, function: Callable[..., Any], args: Sequence[Any]) -> None:
    faulthandler.disable()  # a death is reported by the parent, in one line
    try:
        pipe.send((True, function(*args)))
    except Exception as error:  # whatever it is, the parent reports it
        pipe.send((False, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"))


def invoke(path: str, feeds: Mapping[str, np.ndarray], plain: bool) -> dict[str, np.ndarray]:
    """One run in this process, through the signature."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    interpreter = Interpreter(path, experimental_op_resolver_type=resolver)
    signature = interpreter.get_signature_runner()
    inputs, outputs = signature.get_input_details(), signature.get_output_details()
    del signature  # the interpreter does not resize while something else refers to it
    for name, detail in inputs.items():
        if list(detail["shape"]) != list(feeds[name].shape):
            interpreter.resize_tensor_input(detail["index"], feeds[name].shape, strict=True)
    interpreter.allocate_tensors()
    for name, detail in inputs.items():
        if feeds[name].size:
            interpreter.set_tensor(detail["index"], feeds[name])
    interpreter.invoke()
    shapes = {d["index"]: d["shape"] for d in interpreter.get_output_details()}
    return {
        name: np.array(interpreter.get_tensor(d["index"]))
        if np.prod(shapes[d["index"]]) or not len(shapes[d["index"]])
        else np.zeros(shapes[d["index"]], d["dtype"])  # LiteRT does not hand out empty tensors
        for name, d in outputs.items()
    }


def bindings(placement: Placement, array: np.ndarray) -> dict[str, int]:
    """Numbers of the symbols that are an axis of a graph input."""
    return {str(d): n for d, n in zip(placement.shape, array.shape, strict=True) if isinstance(d, dims.Expr)}


def store(places: Mapping[str, Placement], feeds: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The feeds as the files take them, and the numbers of the symbols."""
    arrays = {name: np.asarray(feeds[name]) for name in places}
    symbols: dict[str, int] = {}
    for name, place in places.items():
        symbols |= bindings(place, arrays[name])
    return {
        name: np.array(place.store(arrays[name], symbols).astype(place.value.dtype), order="C")
        for name, place in places.items()
    }, symbols


def run_tflite(
    program: str | os.PathLike[str] | Graph, feeds: Mapping[str, np.ndarray], *, float16: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """``{"plain": outputs, "default": outputs}``; feeds and outputs by ONNX name, in ONNX order.

    A file (no graph) is fed as it is: its own axis order.
    """
    if not isinstance(program, Graph):
        return {
            name: forked(invoke, str(program), feeds, plain) for name, plain in (("plain", True), ("default", False))
        }
    as_is = {v.name: Placement(v, v.shape, tuple(range(v.rank)), v.shape) for v in program.inputs}
    stored, symbols = store({n: program.placements.get(n, place) for n, place in as_is.items()}, feeds)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        tflite.write(program, path, float16=float16)
        results = run_tflite(path, stored)
    places = program.placements
    return {
        runtime: {n: places[n].restore(x, symbols) if n in places else x for n, x in outputs.items()}
        for runtime, outputs in results.items()
    }


# ------------------------------------------------------------------------------------------------ checking


def compare(name: str, expected: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> float:
    """Same shape, and same values: integers and bools exactly, floats within the tolerance.

    The largest difference of floats, relative to the largest finite expected value.
    """
    if expected.shape != got.shape:
        raise Mismatch(f"{name}: shape {list(got.shape)} instead of {list(expected.shape)}")
    if expected.dtype.kind in "iub":
        if not np.array_equal(expected.astype(object), got.astype(object)):
            wrong = np.count_nonzero(expected.astype(object) != got.astype(object))
            raise Mismatch(f"{name}: {wrong} of {expected.size} values differ")
        return 0.0
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), expected.astype(wide)
    with np.errstate(all="ignore"):
        difference = np.abs(a - b)
    difference = difference[np.isfinite(difference)]
    worst = difference.max() if difference.size else np.nan
    if not np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
        nans = f" (NaN: {np.isnan(a).sum()}/{np.isnan(b).sum()})" if np.isnan(a).any() or np.isnan(b).any() else ""
        raise Mismatch(f"{name}: values differ, max abs diff {worst:.3g}{nans}")
    scale = np.max(np.abs(b), initial=0, where=np.isfinite(b))
    return float(worst / scale) if scale and difference.size else 0.0


def compare_all(
    expected: Mapping[str, np.ndarray], results: Mapping[str, Mapping[str, np.ndarray]], rtol: float, atol: float
) -> float:
    """:func:`compare` for every output and runtime; the largest of the differences."""
    worst = 0.0
    for runtime, outputs in results.items():
        for name, array in expected.items():
            r, a = HALF.get(array.dtype.name, (0.0, 0.0))
            worst = max(worst, compare(f"[{runtime}] {name}", array, outputs[name], max(rtol, r), max(atol, a)))
    return worst


def random_feeds(model: ModelProto, seed: int = 0, sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Normal floats, small non-negative integers; a symbolic extent is ``sizes[dim_param]`` or 2."""
    rng = np.random.default_rng(seed)
    constants = {t.name for t in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else (sizes or {}).get(d.dim_param, 2) for d in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        whole = rng.integers(0, 2 if dtype.kind == "b" else 5, shape)
        feeds[value.name] = np.asarray(rng.standard_normal(shape) if dtype.kind == "f" else whole).astype(dtype)
    return feeds


#: ONNX Runtime before it lacks some operators, aborts on others, has a few wrong; the newest for Python 3.10 is 1.23.
SETTLED = (1, 24)
OLD_RUNTIME = tuple(map(int, version("onnxruntime").split(".")[:2])) < SETTLED
new_runtime = pytest.mark.skipif(OLD_RUNTIME, reason=f"ONNX Runtime {version('onnxruntime')} gives other values")


def referenced(function: Callable[..., Any], *args: Any, fork: Callable[..., Any] = forked) -> Any:
    """``function(*args)``, which asks ONNX Runtime: of an old one in a child, and what it cannot give is skipped."""
    if not OLD_RUNTIME:
        return function(*args)
    try:
        return fork(function, *args)
    except Crash as error:
        pytest.skip(f"ONNX Runtime {version('onnxruntime')} gives no reference: {error}")


def reference(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives, or onnx's reference implementation where ONNX Runtime lacks the operator."""
    found: dict[str, np.ndarray] = referenced(_reference, model, feeds)
    return found


def _reference(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    names = [v.name for v in model.graph.output]
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except (ort.capi.onnxruntime_pybind11_state.NotImplemented, ort.capi.onnxruntime_pybind11_state.Fail,
            ort.capi.onnxruntime_pybind11_state.InvalidGraph):  # fmt: skip
        from onnx.reference import ReferenceEvaluator

        return dict(zip(names, ReferenceEvaluator(model).run(names, dict(feeds)), strict=True))


def check_model(
    model: ModelProto,
    feeds: Mapping[str, np.ndarray] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    **options: Any,
) -> Graph:
    """Compile, run on both runtimes, compare with the reference; the compiled graph, for further assertions."""
    feeds = random_feeds(model) if feeds is None else feeds
    graph = compile_model(model, **options)
    compare_all(reference(model, feeds), run_tflite(graph, feeds), rtol, atol)
    return graph


if __name__ == "__main__":
    raise SystemExit("cases are run by: python -m tests.conformance [PATTERN or FOLDER] [--show]")
