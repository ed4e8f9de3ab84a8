"""The fuzzer: damaged and hostile models through the command line, each in a process of its own with limits.

    python -m tests.fuzz                     12,000 inputs
    python -m tests.fuzz --count 500 --seed 3 --jobs 2
    python -m tests.fuzz --only 77 --keep bad    input 77 alone, what it said, and its model in the folder `bad`

A line per fault: crash, traceback, "mistake of the converter", "defect of a pass", more than 30 s (of processors, or of
the clock where several work at a time) or 300 s of waiting, more than 2 GB, files left behind.  Exit code 1 where there
is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from . import campaign

PROGRESS = 100  # inputs between two signs of life


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--start", type=int, default=0, help="the first input")
    parser.add_argument("--only", type=int, help="one input, and what is said of it")
    parser.add_argument("--keep", type=Path, help="folder for the models that show a fault")
    options = parser.parse_args()
    numbers = range(options.start, options.start + options.count) if options.only is None else [options.only]
    start, kinds, codes = time.perf_counter(), Counter[str](), Counter[int]()
    for result in campaign.run(numbers, options.seed, options.jobs):
        codes[result.outcome.code] += 1
        if codes.total() % PROGRESS == 0:
            print(f"{codes.total()} of {len(numbers)}", file=sys.stderr, flush=True)
        if options.only is not None:
            print(result.outcome.said, f"exit code {result.outcome.code}, {result.outcome.seconds:.1f} s")
        if result.faults:
            kinds.update(fault.partition(":")[0] for fault in result.faults)
            print(f"{result.number} {result.name}: {'; '.join(result.faults)}\n    {result.excerpt}", flush=True)
        if options.keep and (result.faults or options.only is not None):
            options.keep.mkdir(exist_ok=True)
            (options.keep / f"{options.seed}-{result.number}.onnx").write_bytes(result.model)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no fault"
    ends = ", ".join(f"{count} x exit {code}" for code, count in sorted(codes.items()))
    print(f"{len(numbers)} inputs in {time.perf_counter() - start:.0f} s: {ends}; {said}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
