"""On paper, with constants measured here: how long do 100,000 models take on 100 workers, and what gives first?

python -m benchmarks.fleet_scale [--models 100000] [--workers 100] [--megabytes 20] [--price 0.05] [--storage 1250]

Measured are, in seconds of a processor (so that what else runs here does not count): a conversion to float32 with the
check of every layer, of a network of convolutions of so many megabytes; an import of everything against a fork of a
process that has it; what a model costs the scheduler and the client (submission, messages of its stages, its record);
what its key, its record and its delivery cost a worker; its line on the page.  Assumed are the price of a core for an
hour and the megabytes a second that the storage gives to all workers together (1250: a network of 10 Gbit/s).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fleet import processor
from onnx2tf_lite.child import Limits
from onnx2tf_lite.fleet.job import TOPIC, Job, identity
from onnx2tf_lite.fleet.page import render, summary
from onnx2tf_lite.fleet.process import Warm
from onnx2tf_lite.fleet.storage import Record, Results

CHANNELS = 128
STAGES = 6  # messages about a model: one every 0.3 s of its conversion
ROOMY = Limits(600, 8 << 30)  # for the least that another process can do: bool(tell)


def network(path: Path, megabytes: int) -> None:
    """Residual blocks of 3 x 3 convolutions on pictures of 28 x 28."""
    layers = (megabytes << 20) // (4 * 9 * CHANNELS * CHANNELS)
    rng = np.random.default_rng(0)
    weights, nodes, before = [], [], "x"
    for i in range(layers):
        kernel = rng.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) / np.float32(3 * CHANNELS**0.5)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes += [helper.make_node("Conv", [before, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
                  helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
                  helper.make_node("Add", [f"r{i}", before], [f"a{i}"])]  # fmt: skip
        before = f"a{i}"
    ends = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, 28, 28])] for name in ("x", before))
    graph = helper.make_graph(nodes, "network", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def fresh() -> None:
    """A process that imports everything, does nothing and ends."""
    warm = Warm()
    warm.run(bool, ROOMY, lambda stage: None)
    warm.close()


def no_model(record: Record) -> Record:
    """What a worker does for a model, without the conversion."""
    from distributed import get_worker

    for _ in range(STAGES):
        get_worker().log_event(TOPIC, {"name": record["name"], "stage": "tune"})
    return record


def scheduling(record: Record, count: int = 1500) -> float:
    """Seconds of a processor that client and scheduler, which are one process here, spend on a model."""
    from distributed import as_completed

    from onnx2tf_lite.fleet.cluster import Capacity, connected

    with connected(Capacity(workers=2)) as client:
        client.subscribe_topic(TOPIC, lambda event: None)

        def all_of_them() -> None:
            keys = (("convert", str(i), time.monotonic_ns()) for i in range(count))
            futures = [client.submit(no_model, record, pure=False, key=key) for key in keys]
            for future in as_completed(futures, loop=client.loop):
                future.result()

        begin = time.process_time()
        all_of_them()
        return (time.process_time() - begin) / count


def measure(megabytes: int) -> tuple[dict[str, float], float, Record]:
    """The constants by name, the megabytes that a worker reads and writes for a model, and its record."""
    from onnx2tf_lite.fleet import made

    with tempfile.TemporaryDirectory() as room:
        os.chdir(room)
        model = Path("network.onnx")
        network(model, megabytes)
        job = Job("network", str(model), model.stat().st_size, {"outputs": ["float32"]})
        import_and_fork = processor(fresh)
        warm = Warm()
        warm.run(bool, ROOMY, lambda stage: None)
        warm.close()

        def converted() -> None:
            found.append(made.make(model, Path("made"), job.options, "", "none", lambda stage: None))

        found: list[Record] = []
        converted()  # imports
        convert = processor(converted)
        record = found[-1] | {"name": "network", "model": "s3://bucket/models/network.onnx", "key": "0" * 64}
        record |= {"files": {p.name: p.stat().st_size for p in Path("made").iterdir()}, "began": time.time()}
        constants = {
            "conversion, with its check": convert,
            "import of everything": import_and_fork,
            "fork of a warm process": _fork(),
            "key, record, delivery": processor(partial(_around, job, model, record), 5),
            "scheduler and client": scheduling(record),
            "its line of the page": processor(partial(_page, record)) / 1000,
        }
        read_and_written = (model.stat().st_size + sum(record["files"].values())) / (1 << 20)
        return constants, read_and_written, record


def _fork(runs: int = 20) -> float:
    """What one more fork costs, its warm process being there."""

    def several(count: int) -> None:
        warm = Warm()
        for _ in range(count):
            warm.run(bool, ROOMY, lambda stage: None)
        warm.close()

    return (processor(partial(several, runs + 1)) - processor(partial(several, 1))) / runs


def _around(job: Job, model: Path, record: Record) -> None:
    made = Path("again")
    made.mkdir()
    (made / "network_float32.tflite").write_bytes(Path("made", "network_float32.tflite").read_bytes())
    store = Results("out")
    store.record(job.name)
    identity(job, model)
    store.publish(made, job.name, record)
    made.rmdir()


def _page(record: Record) -> None:
    models = {f"m{i}": record | {"name": f"m{i}"} for i in range(1000)}
    run = summary(models, {}, 0.0)
    render(run, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=100, help="of one core each")
    parser.add_argument("--megabytes", type=int, default=20, help="of a model")
    parser.add_argument("--price", type=float, default=0.05, help="of a core for an hour")
    parser.add_argument("--storage", type=float, default=1250, help="megabytes a second, for all workers together")
    args = parser.parse_args()
    cost, moved, record = measure(args.megabytes)
    print(f"{'measured, for a model':<32}{'ms':>10}")
    for name, seconds in cost.items():
        print(f"{name:<32}{seconds * 1e3:>10,.2f}")
    print(f"{'read and written':<32}{moved:>10.1f} MB; its record {len(str(record)):,} bytes\n")

    busy = sum(cost[name] for name in ("conversion, with its check", "fork of a warm process", "key, record, delivery"))
    rows = (
        ("long-lived workers, warm imports", busy, cost["import of everything"]),
        ("an import for every model", busy - cost["fork of a warm process"] + cost["import of everything"], 0.0),
    )
    print(f"{args.models:,} models on {args.workers} workers{'':<8}{'hours':>8}{'core hours':>12}{'cost':>10}")
    for name, each, once in rows:
        hours = (args.models * each / args.workers + once) / 3600
        print(f"{name:<39}{hours:>8.2f}{hours * args.workers:>12.1f}{hours * args.workers * args.price:>10.2f}")

    rate = args.workers / busy
    print(f"\nat {rate:.1f} models a second{'':<15}{'used':>8}{'gives at':>12}")
    limits = {
        "scheduler and client, one core": 1 / cost["scheduler and client"],
        f"storage, {args.storage:,.0f} MB a second": args.storage / moved,
    }
    ordered = sorted(limits.items(), key=lambda entry: entry[1])
    for name, most in ordered:
        print(f"{name:<37}{rate / most:>8.1%}{most * busy:>12,.0f} workers, {most:,.0f} models a second")
    name, most = ordered[0]
    if most < rate:
        print(f"so it takes {args.models / most / 3600:.2f} hours with {most * busy:.0f} workers or more: {name}")
    print(f"the page, at the end: {args.models * cost['its line of the page']:.0f} s")


if __name__ == "__main__":
    main()
