"""The written files, run: a .tflite by LiteRT's interpreter, a SavedModel by TensorFlow."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
#: How each kind of file is run.  Each of the interpreter's two ways catches failures that the other one hides.
RUNTIMES = {
    "float32": ("XNNPACK", "builtin kernels"),
    "float16": ("XNNPACK", "builtin kernels"),
    "saved_model": ("TensorFlow",),
}


class TargetFailed(Exception):
    """A written file cannot be loaded or run."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing on file descriptor 2: the runtimes' C++ code logs there and has no switch for it."""
    try:
        saved = os.dup(2)
    except OSError:  # closed
        yield
        return
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class TFLite:
    """A .tflite file.  Inputs and outputs go by the names of its signature, intermediates by their tensor names."""

    def __init__(self, path: Path, runtime: str, layers: bool):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.layers = layers
        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # keeping all tensors is meant for debugging: this is that
                self.interpreter = Interpreter(
                    str(path),
                    num_threads=os.cpu_count(),
                    experimental_op_resolver_type=OpResolverType.AUTO if runtime == "XNNPACK" else plain,
                    experimental_preserve_all_tensors=layers,
                )
                runner = self.interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise TargetFailed(f"cannot be loaded: {_line(error)}") from error
        self.inputs, self.outputs = runner.get_input_details(), runner.get_output_details()

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """The outputs; with ``layers`` every tensor besides."""
        engine = self.interpreter
        try:
            with quiet():
                for name, detail in self.inputs.items():
                    engine.resize_tensor_input(detail["index"], list(feeds[name].shape))
                engine.allocate_tensors()
                for name, detail in self.inputs.items():
                    if feeds[name].size:
                        engine.set_tensor(detail["index"], feeds[name].astype(detail["dtype"], copy=False))
                engine.invoke()
                return self._results()
        except (ValueError, RuntimeError) as error:
            raise TargetFailed(f"cannot be run: {_line(error)}") from error

    def _results(self) -> dict[str, np.ndarray]:
        details = {d["index"]: d for d in self.interpreter.get_tensor_details()}
        wanted = {name: detail["index"] for name, detail in self.outputs.items()}
        if self.layers:
            produced = {int(t) for op in self.interpreter._get_ops_details() for t in op["outputs"]}
            wanted = {d["name"]: i for i, d in details.items() if i in produced} | wanted
        results = {}
        for name, index in wanted.items():
            if 0 in details[index]["shape"]:
                results[name] = np.zeros(details[index]["shape"], details[index]["dtype"])
                continue
            try:
                results[name] = self.interpreter.get_tensor(index)
            except ValueError:  # XNNPACK computes a few intermediates without keeping them
                if name in self.outputs:
                    raise
        return results


class SavedModel:
    """A SavedModel folder; only its outputs can be read."""

    def __init__(self, path: Path, names: Sequence[str]):
        from ..emitters.saved_model import load, signature_keys
        from ..emitters.saved_model.runtime import tensorflow

        self.keys = signature_keys(list(names))
        self.errors = (tensorflow().errors.OpError, ValueError, TypeError)
        try:
            self.function = load(path)
        except (*self.errors, OSError) as error:
            raise TargetFailed(f"cannot be loaded: {_line(error)}") from error

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        try:
            results = self.function({self.keys[name]: array for name, array in feeds.items()})
        except self.errors as error:
            raise TargetFailed(f"cannot be run: {_line(error)}") from error
        return {name: results[key] for name, key in self.keys.items() if key in results}


def open_target(kind: str, path: Path, runtime: str, names: Sequence[str], layers: bool = False) -> Any:
    """The runner for a file whose inputs and outputs are called ``names``; TargetFailed if it does not load."""
    return SavedModel(path, names) if kind == "saved_model" else TFLite(path, runtime, layers)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
