"""Peak memory of checking every layer, of all processes together, against the budget that the check is given.

python -m benchmarks.check_memory [--budgets 200000000 600000000 1800000000] [--channels 16] [--extent 256]

The model is the residual network of 500 nodes: its 300 tensors of 4 MB together are several times the smaller budgets.
The budget is of what a check keeps and compares, above the model and its runtimes: counted is what is above a process
that runs the model once, in ONNX Runtime and with both kinds of LiteRT's kernels.  Exit code 1 where it is more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.process import watch
from benchmarks.stages import written

ROOT = Path(__file__).resolve().parents[1]
#: What a process does that only runs the model.
PLAIN = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, onnx2tf_lite.check_cli
from benchmarks.check import interpreter, reference
source, file, *shape = sys.argv[1:]
x = np.zeros([1, *map(int, shape)], np.float32)
reference(source, x)
for plain in (False, True):
    interpreter(file, np.ascontiguousarray(x.transpose(0, 2, 3, 1)), plain)
time.sleep(0.2)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=int, nargs="*", default=[200_000_000, 600_000_000, 1_800_000_000])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--extent", type=int, default=256)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, file = written(Path(folder), args.channels, args.extent)
        shape = [str(d) for d in (args.channels, args.extent, args.extent)]
        base = watch([sys.executable, "-c", PLAIN, str(source), str(file), *shape])[2]
        print(
            f"a tensor {args.channels * args.extent**2 * 4 / 1e6:.1f} MB, about 300 of them; a plain run {base:.0f} MB"
        )
        beyond = False
        for budget in args.budgets:
            command = [sys.executable, "-m", "onnx2tf_lite.check_cli", "-i", str(source)]
            command += ["-t", str(file), "--budget", str(budget), "--seconds", "3000"]
            wall, _, peak = watch(command)
            above = (peak - base) * 2**20
            beyond |= above > budget
            told = f"{above / 1e6:.0f} MB above a plain run, {above / budget:.0%}; {wall:.0f} s"
            print(f"budget {budget / 1e6:.0f} MB: {told}", flush=True)
    raise SystemExit(beyond)


if __name__ == "__main__":
    main()
