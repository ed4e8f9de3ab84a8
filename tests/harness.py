"""Compile a model, run the file with LiteRT, compare with ONNX Runtime.  Status: the whole chain works.

    from tests.harness import check_model, check_case, compile_model, run_tflite
    check_model(model)                      # random feeds, expectation from ONNX Runtime, both runtimes
    check_case("DATA/node/test_relu")  # an ONNX backend case with its stored data

    python -m tests.harness case DATA/node/test_relu [...] [--show]      # --show prints the program
    python -m tests.harness sweep DATA/node --match 'test_reduce*' [--fails] [--jobs 2]

A line per case: ok, refused (the converter says why), WRONG (other values), CRASH (the process or the converter died).
LiteRT runs in forked children, because a kernel may abort the process.  ``default`` is the interpreter as it comes
(XNNPACK), ``plain`` has no delegates: each catches failures that the other hides.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import fnmatch
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import ModelProto, TensorProto, numpy_helper

from onnx2tf_lite import passes
from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.fusion import fuse as fuse_program
from onnx2tf_lite.ir import dims, dynamic
from onnx2tf_lite.ir.graph import Graph, Placement
from onnx2tf_lite.ir.legalize import legalize
from onnx2tf_lite.ir.verify import verify
from onnx2tf_lite.layout import assign
from onnx2tf_lite.op_handlers.lower import lower

RTOL, ATOL = 1e-3, 1e-4  # of the shared benchmark, so that results compare
HALF_RTOL, HALF_ATOL = 5e-3, 1e-3  # expectations stored as float16
SECONDS = 60
FORK = multiprocessing.get_context("fork")


class Mismatch(AssertionError):
    """The file ran and gave something else."""


class Crash(AssertionError):
    """The interpreter refused the file, died or hung."""


# ------------------------------------------------------------------------------------------------ compiling


def prepare(model: ModelProto, tune: bool = False) -> gs.Graph:
    """The model in the form that handlers know: upgraded and folded; with ``tune`` also fused and simplified."""
    wanted = set(passes.PASSES) if tune else {"shapes", "upgrade", "fold", "clean", "names"}
    options = passes.PassOptions(disabled=frozenset(set(passes.PASSES) - wanted))
    return passes.optimize(passes.load(model), options)[0]


def compile_model(
    model: ModelProto, *, tune: bool = False, layout: bool = True, fuse: bool = True, pins: Any = None
) -> Graph:
    """The program that the emitter writes."""
    graph = lower(prepare(model, tune))
    verify(graph, "lower")
    stages: list[tuple[str, Callable[..., Any]]] = [("legalize", legalize)]
    if layout:
        stages.append(("layout", lambda g: assign(g, pins)))
    if fuse:
        stages.append(("fusion", fuse_program))
    for name, stage in [*stages, ("dynamic", dynamic.materialise)]:
        stage(graph)
        verify(graph, name)
    return graph


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
    graph, symbols, stored = program, {}, {}
    for value in graph.inputs:
        array = np.asarray(feeds[value.name])
        place = graph.placements.get(value.name)
        if place is not None:
            symbols.update(bindings(place, array))
            array = place.store(array, symbols)
        else:
            symbols.update(
                {str(d): n for d, n in zip(value.shape, array.shape, strict=True) if isinstance(d, dims.Expr)}
            )
        stored[value.name] = np.array(array.astype(value.dtype), order="C")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        tflite.write(graph, path, float16=float16)
        results = run_tflite(path, stored)
    for outputs in results.values():
        for name, array in outputs.items():
            place = graph.placements.get(name)
            if place is not None:
                outputs[name] = place.restore(array, symbols)
    return results


# ------------------------------------------------------------------------------------------------ checking


def compare(name: str, expected: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> None:
    """Same shape, and same values: integers and bools exactly, floats within the tolerance."""
    if expected.shape != got.shape:
        raise Mismatch(f"{name}: shape {list(got.shape)} instead of {list(expected.shape)}")
    if expected.dtype.kind in "iub":
        if not np.array_equal(expected.astype(object), got.astype(object)):
            wrong = np.count_nonzero(expected.astype(object) != got.astype(object))
            raise Mismatch(f"{name}: {wrong} of {expected.size} values differ")
        return
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), expected.astype(wide)
    if not np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True):
        with np.errstate(all="ignore"):
            difference = np.abs(a - b)
        worst = np.nanmax(difference) if np.isfinite(difference).any() else np.nan
        nans = f" (NaN: {np.isnan(a).sum()}/{np.isnan(b).sum()})" if np.isnan(a).any() or np.isnan(b).any() else ""
        raise Mismatch(f"{name}: values differ, max abs diff {worst:.3g}{nans}")


def compare_all(
    expected: Mapping[str, np.ndarray], results: Mapping[str, Mapping[str, np.ndarray]], rtol: float, atol: float
) -> None:
    for runtime, outputs in results.items():
        for name, array in expected.items():
            half = "float16" in array.dtype.name
            tolerance = (max(rtol, HALF_RTOL), max(atol, HALF_ATOL)) if half else (rtol, atol)
            compare(f"[{runtime}] {name}", array, outputs[name], *tolerance)


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


def reference(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives, or onnx's reference implementation where ONNX Runtime lacks the operator."""
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


# ------------------------------------------------------------------------------------------------ ONNX backend cases


def read_tensor(path: Path) -> np.ndarray:
    tensor = TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return np.asarray(numpy_helper.to_array(tensor))


def read_sets(folder: Path, model: ModelProto) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """(feeds, expectations) of every data set.  Only tensors: sequences and optionals are out of scope."""
    constants = {t.name for t in model.graph.initializer}
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.WhichOneof("value") != "tensor_type" or value.type.tensor_type.elem_type == TensorProto.STRING:
            raise ConversionError(f"'{value.name}' is no numeric tensor")
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        infos = [v for v in model.graph.input if v.name not in constants]
        if len(list(data.glob("input_*.pb"))) > len(infos):
            infos = list(model.graph.input)
        feeds = {v.name: read_tensor(data / f"input_{i}.pb") for i, v in enumerate(infos)
                 if (data / f"input_{i}.pb").exists()}  # fmt: skip
        outputs = {v.name: read_tensor(data / f"output_{i}.pb") for i, v in enumerate(model.graph.output)}
        sets.append((feeds, outputs))
    return sets


def check_case(folder: str | os.PathLike[str], show: bool = False, **options: Any) -> Graph:
    """One case of ONNX's backend suite, with the benchmark's tolerance."""
    folder = Path(folder)
    model = onnx.load(folder / "model.onnx")
    sets = read_sets(folder, model)
    graph = compile_model(model, **options)
    if show:
        print(*graph.ops, sep="\n")
    for feeds, outputs in sets:
        compare_all(outputs, run_tflite(graph, feeds), RTOL, ATOL)
    return graph


def outcome(folder: str, show: bool, options: Mapping[str, Any]) -> tuple[str, str]:
    """(verdict, reason) of one case."""
    with open(os.devnull, "w") as null, contextlib.redirect_stderr(null if not show else sys.stderr):
        try:
            check_case(folder, show, **options)
        except ConversionError as error:
            return "refused", str(error).splitlines()[0]
        except Mismatch as error:
            return "WRONG", str(error)
        except Crash as error:
            return "CRASH", str(error)
        except Exception as error:  # a sweep goes on
            if show:
                traceback.print_exc()
            place = traceback.extract_tb(error.__traceback__)[-1]
            return "CRASH", f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return "ok", ""


def _child(folder: str, show: bool, options: Mapping[str, Any]) -> tuple[str, str]:
    os.dup2(os.open(os.devnull, os.O_WRONLY) if not show else 2, 2)  # LiteRT's log
    return outcome(folder, show, options)


def judge(job: tuple[str, bool, Mapping[str, Any]]) -> tuple[str, str, str]:
    try:
        return (Path(job[0]).name, *forked(_child, *job, seconds=2 * SECONDS))
    except Crash as error:
        return Path(job[0]).name, "CRASH", str(error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mode", choices=["case", "sweep"])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--match", default="*", help="pattern of case names, for sweep")
    parser.add_argument("--fails", action="store_true", help="print only what is not ok")
    parser.add_argument("--show", action="store_true", help="print the program and tracebacks")
    parser.add_argument("--no-layout", action="store_true")
    parser.add_argument("--no-fuse", action="store_true")
    parser.add_argument("--tune", action="store_true", help="run all passes, also fusions and onnxsim")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    cases = list(args.folders)
    if args.mode == "sweep":
        cases = [str(p.parent) for f in args.folders for p in sorted(Path(f).glob("*/model.onnx"))
                 if fnmatch.fnmatch(p.parent.name, args.match)]  # fmt: skip
    import onnxruntime  # noqa: F401  (before forking)
    from ai_edge_litert import interpreter  # noqa: F401

    options = {"layout": not args.no_layout, "fuse": not args.no_fuse, "tune": args.tune}
    totals: dict[str, int] = {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(args.jobs) as pool:
        for name, verdict, reason in pool.map(judge, [(c, args.show, options) for c in cases]):
            totals[verdict] = totals.get(verdict, 0) + 1
            if not (args.fails and verdict == "ok"):
                print(f"{verdict:8}{name}{': ' + reason if reason else ''}", flush=True)
    print("total:", ", ".join(f"{n} {v}" for v, n in sorted(totals.items())) or "nothing")
    return 0 if set(totals) <= {"ok"} else 1


if __name__ == "__main__":
    sys.exit(main())
