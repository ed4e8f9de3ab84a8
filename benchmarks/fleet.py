"""A fleet of small models: the rate of two workers against one, and what a model costs beside its conversion.

python -m benchmarks.fleet [--models 200] [--workers 1 2]

The models are the committed exports, real models and graphs of two operators, as many as asked for.  ``start`` is the
time from the call to the first result, ``end`` that from the last one to the return (the cluster is closed, the page
written).  ``overhead`` is what the workers do between first and last result other than converting, idle ones included:
that time for each worker, less what they spent inside of conversions in it, per model.  ``again`` is the rate at which
models that are done are passed over.  ``beside its conversion`` is what a worker does for a model (fork, pages that are
copied because of it, key, latency, devices, record, delivery) in seconds of a processor, less those of ``convert`` in
this process, which is warm and has children for the check (a worker has none: it may cost less): it does not depend on
what else runs on the machine.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.fleet import convert_many
from onnx2tf_lite.fleet import job as work
from onnx2tf_lite.fleet.job import Job
from onnx2tf_lite.fleet.progress import Silent

HERE = Path(__file__).resolve().parents[1] / "tests" / "models"
OPTIONS: dict[str, Any] = {"outputs": ["float32"]}


class Between(Silent):
    """Remembers when the first model was done, and the last one."""

    first = last = 0.0

    def done(self, record: Mapping[str, Any]) -> None:
        """Take the time."""
        self.last = time.time()
        self.first = self.first or self.last

    def inside(self, begin: float, seconds: float) -> float:
        """Seconds of something that lie between the two."""
        return max(min(begin + seconds, self.last) - max(begin, self.first), 0.0)


def small(path: Path, seed: int) -> None:
    """y = Relu(x @ w)."""
    weight = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "mul"), helper.make_node("Relu", ["h"], ["y"], "relu")]
    ends = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 16])] for name in "xy")
    graph = helper.make_graph(nodes, "small", *ends, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def gather(folder: Path, count: int) -> None:
    """Exports, real models, and small ones up to the count."""
    found = [*sorted((HERE / "exports").glob("*.onnx")), *sorted((HERE / "real").glob("*.onnx"))][: count * 3 // 4]
    for path in found:
        shutil.copy(path, folder / path.name)
    for seed in range(count - len(found)):
        small(folder / f"small{seed}.onnx", seed)


def processor(work: Callable[[], object], runs: int = 1) -> float:
    """Seconds of a processor for one run of ``work``, with the processes that it starts and waits for."""

    def spent() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in used)

    begin = spent()
    for _ in range(runs):
        work()
    return (spent() - begin) / runs


def beside(models: Sequence[Path], room: Path) -> float:
    """Seconds of a processor that a worker spends on a model beside its conversion."""

    def fleet(chosen: Sequence[Path]) -> None:
        for path in chosen:
            work.run(Job(path.stem, str(path), path.stat().st_size, OPTIONS), str(room / "beside"))
        work.HERE.warm.close()
        work.HERE.warm = None

    def alone() -> None:
        for path in models[1:]:
            convert(path, room / "alone" / path.stem, non_verbose=True, **OPTIONS)

    convert(models[0], room / "first", non_verbose=True, **OPTIONS)  # imports
    start = processor(lambda: fleet(models[:1]))
    return (processor(lambda: fleet(models[1:])) - start - processor(alone)) / len(models[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room, "models")
        folder.mkdir()
        gather(folder, args.models)
        rates = []
        for workers in args.workers:
            span, begin = Between(), time.time()
            fleet = convert_many([folder], f"{room}/out{workers}", options=OPTIONS, workers=workers, view=span)
            end, records = time.time(), fleet.records.values()
            spent = sum(span.inside(record["began"], record.get("seconds", 0.0)) for record in records)
            overhead, whole = (((to - span.first) * workers - spent) / (args.models - 1) for to in (span.last, end))
            rates.append((args.models - 1) / (end - span.first))
            right = sum(record["status"] == "right" for record in records)
            print(f"{workers} workers: {right} of {args.models} right, {rates[-1]:.2f} models a second, overhead "
                  f"{overhead * 1e3:.0f} ms a model ({whole * 1e3:.0f} with the end), "
                  f"start {span.first - begin:.1f} s, end {end - span.last:.1f} s", flush=True)  # fmt: skip
        begin = time.perf_counter()
        convert_many([folder], f"{room}/out{args.workers[-1]}", options=OPTIONS, workers=args.workers[-1])
        print(f"again: {args.models / (time.perf_counter() - begin):.1f} models a second, start included")
        models = sorted(folder.glob("*.onnx"))[:: max(args.models // 40, 1)]
        print(f"beside its conversion: {beside(models, Path(room)) * 1e3:.0f} ms of a processor a model")
        print(f"{args.workers[-1]} workers against {args.workers[0]}: {rates[-1] / rates[0]:.2f} x the rate")


if __name__ == "__main__":
    main()
