"""ONNX's backend suite through this converter and through generations of onnx2tf, each from an environment of its own.

    python -m benchmarks.peers_conformance --peer 1.29=one/bin/python --peer 2.6=two/bin/python [--sample 200]

``sample``: of the cases whose types TFLite has, so many, drawn by a fixed seed.  Per converter: cases whose float32
file gives what ONNX expects; gives something else; does not run in LiteRT; was not written; and how many of the last
three ended with exit code 0, as if they were right.  Inputs and outputs may have their axes in any order in which the
numbers are right.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.peer_worker import pictures
from tests import harness
from tests.conformance import cases as suite

SECONDS = 120
OURS = {"outputs": ["float32"], "check": "none"}
WORKER = Path(__file__).with_name("peer_worker.py")


class Converter:
    """A converter in a process of its environment."""

    def __init__(self, python: str, module: str, keywords: Mapping[str, object]):
        words = [python, str(WORKER), module, str(SECONDS), json.dumps({"non_verbose": True, **keywords})]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def convert(self, model: Path, folder: Path) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(model, folder, file=self.process.stdin)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended")
        return int(answer)


def orders(shape: Sequence[int], stored: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Orders of the axes of ``shape`` that the extents ``stored`` (-1: free) allow; channels-last is tried second."""
    rank = len(shape)
    if rank != len(stored):
        return
    first = [tuple(range(rank)), (0, *range(2, rank), 1)] if rank > 2 else [tuple(range(rank))]
    every = itertools.permutations(range(rank)) if rank < 6 else ()
    for order in dict.fromkeys([*first, *every]):
        if all(s in (-1, shape[axis]) for s, axis in zip(stored, order, strict=True)):
            yield order


def feeds_for(details: Sequence[Any], given: Mapping[str, np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Arrays for the inputs of a file: by name, else in the order of ONNX; every order of axes that fits."""
    names = {d["name"].removeprefix("serving_default_").removesuffix(":0"): d for d in details}
    rest = iter([array for name, array in given.items() if name not in names])
    arrays = [given[name] if name in given else next(rest) for name in names]
    fitting = [
        [array.transpose(order) for order in orders(array.shape, d.get("shape_signature", d["shape"]))]
        for array, d in zip(arrays, details, strict=True)
    ]
    return (list(chosen) for chosen in itertools.islice(itertools.product(*fitting), 24))


def results_of(file: str, given: Mapping[str, np.ndarray]) -> Iterator[list[np.ndarray]]:
    """What the file gives for each way to feed it."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(file).get_input_details()
    for arrays in feeds_for(details, given):
        interpreter = Interpreter(file)
        for detail, array in zip(details, arrays, strict=True):
            if list(detail["shape"]) != list(array.shape):
                interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        for detail, array in zip(details, arrays, strict=True):
            if array.size:
                interpreter.set_tensor(detail["index"], np.array(array, detail["dtype"], order="C"))
        interpreter.invoke()
        found = interpreter.get_output_details()
        yield [np.array(interpreter.get_tensor(d["index"])) if np.prod(d["shape"]) else np.zeros(d["shape"])
               for d in found]  # fmt: skip


def is_right(case: suite.Case, expected: Mapping[str, np.ndarray], results: Sequence[np.ndarray]) -> bool:
    """Whether every expected output is among the results, in any order of axes."""

    def same(wanted: np.ndarray, got: np.ndarray) -> bool:
        if case.random or not wanted.size:
            return sorted(wanted.shape) == sorted(got.shape)
        r, a = harness.HALF.get(wanted.dtype.name, (harness.RTOL, harness.ATOL))
        return any(
            np.allclose(got.transpose(order).astype(float), wanted.astype(float), rtol=r, atol=a, equal_nan=True)
            for order in orders(got.shape, wanted.shape)
        )

    return all(any(same(np.asarray(wanted), got) for got in results) for wanted in expected.values())


def verdict(case: suite.Case, file: str) -> str:
    """``right``, ``wrong`` or ``does not run``; in a process of its own, since runtimes die of some files."""
    try:
        right = all(
            any(is_right(case, expected, got) for got in results_of(file, given)) for given, expected in case.data
        )
    except (ValueError, RuntimeError, StopIteration):
        return "does not run"
    return "right" if right else "wrong"


def outcome(case: suite.Case, converter: Converter, folder: Path) -> tuple[str, int]:
    """What became of a case, and the exit code."""
    folder.mkdir(parents=True)
    sample = pictures(folder)
    onnx.save(case.model, folder / "model.onnx")
    code = converter.convert(folder / "model.onnx", folder / "out")
    sample.unlink()
    found = sorted((folder / "out").glob("*_float32.tflite"))
    if not found:
        return "not written", code
    try:
        return harness.forked(verdict, case, str(found[0]), seconds=SECONDS), code
    except harness.Crash:
        return "does not run", code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], help="NAME=python of the peer's environment")
    parser.add_argument("--sample", type=int, default=200)
    args = parser.parse_args()
    converters = {"ours": Converter(sys.executable, "onnx2tf_lite", OURS)}
    converters |= {
        n: Converter(str(Path(p).absolute()), "onnx2tf", {}) for n, _, p in (x.partition("=") for x in args.peer)
    }
    every = [case for case in suite.cases().values() if case.in_scope]
    chosen = random.Random(0).sample(every, min(args.sample, len(every)))
    counts = {name: Counter[str]() for name in converters}
    with tempfile.TemporaryDirectory() as work:
        for number, case in enumerate(chosen):
            for name, converter in converters.items():
                status, code = outcome(case, converter, Path(work, str(number), name))
                counts[name][status] += 1
                counts[name]["wrong with exit code 0"] += status != "right" and code == 0
                print(f"{case.name:60} {name:8} {code:4} {status}", file=sys.stderr, flush=True)
    columns = ("right", "wrong", "does not run", "not written", "wrong with exit code 0")
    print(f"{len(chosen)} of {len(every)} cases\n{'by':8}", *(f"{c:>12}" for c in columns))
    for name, found in counts.items():
        print(f"{name:8}", *(f"{found[c]:{max(12, len(c))}}" for c in columns))


if __name__ == "__main__":
    main()
