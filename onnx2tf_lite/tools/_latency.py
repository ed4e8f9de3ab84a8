"""Models that can be run and timed: ONNX files by ONNX Runtime, .tflite files by LiteRT."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ToolError, one_line
from ..model.lazy import np, onnx
from ..model.read import read_model
from ..model.types import dtype, dtype_word
from ..record import record
from ._values import numpy_dtype
from ._verify import _errors

Arrays = dict[str, np.ndarray]
#: What a run gives, in order: arrays, and lists of them for sequences.
Results = list[Any]
#: What a user calls an execution provider -> ONNX Runtime's name and options, in the order they are tried.
PROVIDERS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "tensorrt": [
        ("TensorrtExecutionProvider", {"trt_engine_cache_enable": True, "trt_fp16_enable": True}),
        ("CUDAExecutionProvider", {}),
    ],
    "cuda": [("CUDAExecutionProvider", {})],
    "openvino_cpu": [("OpenVINOExecutionProvider", {"device_type": "CPU"})],
    "openvino_gpu": [("OpenVINOExecutionProvider", {"device_type": "GPU"})],
    "cpu": [],
}
CPU = "CPUExecutionProvider"
#: Runs that are not timed.
WARM_UP = 1


@record
class Endpoint:
    """An input or output; ``elem`` is a TensorProto type, 0 for what is no tensor; open extents are names or None."""

    name: str
    shape: tuple[int | str | None, ...]
    elem: int

    @property
    def dtype(self) -> str:
        return dtype_word(self.elem) if self.elem else "sequence"

    @property
    def text(self) -> str:
        return f"[{', '.join('?' if d is None else str(d) for d in self.shape)}]"


class OnnxEngine:
    """An ONNX model.  ``missing`` is the provider that was asked for and is not there."""

    def __init__(self, path: str, provider: str, threads: int = 0, profile: bool = False):
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
        wanted = PROVIDERS[provider]
        found = [(n, o) for n, o in wanted if n in ort.get_available_providers()]
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads, options.enable_profiling = threads, profile
        if found and "trt_engine_cache_enable" in found[0][1]:
            found[0][1]["trt_engine_cache_path"] = str(Path(path).resolve().parent)
        self.source = read_model(path) if path == "-" else path  # which can be read once only
        try:
            given = path if isinstance(self.source, str) else self.source.SerializeToString()
            self.session = ort.InferenceSession(given, options, providers=[*found, CPU])
        except _errors() as error:
            raise ToolError(f"{path}: ONNX Runtime: {one_line(error)}", path) from error
        self.providers: list[str] = self.session.get_providers()
        self.missing = next((n for n, _ in wanted[:1] if n not in self.providers), "")
        self.inputs = [_end(v) for v in self.session.get_inputs()]
        self.outputs = [_end(v) for v in self.session.get_outputs()]
        self.plain = all(not e.elem or numpy_dtype(e.elem).isbuiltin == 1 for e in (*self.inputs, *self.outputs))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Results:
        try:
            if self.plain:
                return list(self.session.run(None, dict(feeds)))
            return self._run_by_reference(feeds)
        except _errors() as error:
            raise ToolError(f"ONNX Runtime: {one_line(error)}") from error

    def _run_by_reference(self, feeds: Mapping[str, np.ndarray]) -> Results:
        """For types that the runtime does not exchange as arrays: bfloat16 and the like."""
        import onnxruntime as ort

        make, elems = ort.OrtValue.ortvalue_from_numpy_with_onnx_type, {e.name: e.elem for e in self.inputs}
        values = {
            n: make(a.view(f"u{a.itemsize}") if a.dtype.isbuiltin != 1 else a, elems[n]) for n, a in feeds.items()
        }
        found = self.session.run_with_ort_values(None, values)
        return [self._array(v, end.elem) for v, end in zip(found, self.outputs, strict=True)]

    @staticmethod
    def _array(value: Any, elem: int) -> Any:
        kind, shape = numpy_dtype(elem), value.shape()
        if kind.isbuiltin == 1:
            return value.numpy()
        data = ctypes.string_at(value.data_ptr(), math.prod(shape) * kind.itemsize)
        return np.frombuffer(data, kind).reshape(shape)

    def close(self) -> str:
        """The profile that was written, if one was asked for."""
        return str(self.session.end_profiling()) if self.session.get_session_options().enable_profiling else ""


class TFLiteEngine:
    """A .tflite file, with XNNPACK."""

    providers, missing = ["LiteRT (XNNPACK)"], ""

    def __init__(self, path: str, threads: int = 0):
        from ai_edge_litert.interpreter import Interpreter

        try:
            self.interpreter = Interpreter(path, num_threads=threads or None)
            runner = self.interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise ToolError(f"{path}: LiteRT: {one_line(error)}", path) from error
        self.details = runner.get_input_details(), runner.get_output_details()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.inputs, self.outputs = ([self._end(n, d) for n, d in side.items()] for side in self.details)

    def _end(self, name: str, detail: Any) -> Endpoint:
        elem = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(detail["dtype"]))
        signature = detail.get("shape_signature", detail["shape"])
        return Endpoint(name, tuple(None if d < 0 else int(d) for d in signature), elem)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Results:
        engine, (inputs, outputs) = self.interpreter, self.details
        try:
            shapes = {name: feeds[name].shape for name in inputs}
            if shapes != self.shapes:
                for name, shape in shapes.items():
                    engine.resize_tensor_input(inputs[name]["index"], list(shape))
                engine.allocate_tensors()
                self.shapes = shapes
            for name, detail in inputs.items():
                engine.set_tensor(detail["index"], feeds[name])
            engine.invoke()
            return [engine.get_tensor(detail["index"]) for detail in outputs.values()]
        except (ValueError, RuntimeError) as error:
            raise ToolError(f"LiteRT: {one_line(error)}") from error

    def close(self) -> str:
        return ""


Engine = OnnxEngine | TFLiteEngine


def open_model(path: str, provider: str, threads: int, profile: bool) -> Engine:
    """Raises ToolError for what is not there, and for what the runtime does not take."""
    if path != "-" and not Path(path).is_file():
        raise ToolError(f"{path}: no such file", path)
    return TFLiteEngine(path, threads) if path.endswith(".tflite") else OnnxEngine(path, provider, threads, profile)


def _end(value: Any) -> Endpoint:
    kind = value.type
    elem = dtype(kind[7:-1]) if kind.startswith("tensor(") else 0
    return Endpoint(value.name, tuple(value.shape), elem)


# --- timing ----------------------------------------------------------------------------------------------------------


@record
class Timing:
    """Milliseconds of each run."""

    runs: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.runs)

    @property
    def average(self) -> float:
        return self.total / len(self.runs)

    def percentile(self, p: float) -> float:
        return float(np.percentile(self.runs, p))

    @property
    def outliers(self) -> int:
        """Runs that took longer than the upper quartile by more than one and a half times the quartile distance."""
        low, high = self.percentile(25), self.percentile(75)
        return sum(r > high + 1.5 * (high - low) for r in self.runs)

    def to_json(self) -> dict[str, float]:
        whole = {"runs": len(self.runs), "total": self.total, "average": self.average}
        parts = {f"p{p}": self.percentile(p) for p in (10, 50, 90)}
        return whole | parts | {"min": min(self.runs), "max": max(self.runs), "outliers": self.outliers}


def measure(jobs: Sequence[Callable[[], Results]], loops: int) -> tuple[list[Timing], list[Results]]:
    """Run the jobs in turn, so that whatever else the machine does meets all of them; also their last results."""
    results: list[Results] = [[]] * len(jobs)
    runs: list[list[float]] = [[] for _ in jobs]
    for turn in range(WARM_UP + loops):
        for k, job in enumerate(jobs):
            start = time.perf_counter()
            results[k] = job()
            if turn >= WARM_UP:
                runs[k].append((time.perf_counter() - start) * 1000)
    return [Timing(tuple(r)) for r in runs], results
