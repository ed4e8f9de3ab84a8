"""Peak memory of checking every layer, of all processes together, against the budget that the check is given.

python benchmarks/check_memory.py [--budgets 200000000 600000000 1800000000] [--channels 16] [--extent 256]

The model is the residual network of 500 nodes: its 300 tensors of 4 MB together are several times the smaller budgets.
Counted is what is above a process that imports the same libraries.  The budget is of tensors; what the runtimes and
Python take for themselves comes on top, so that the default of 1.8 GB stays below 2 GB.  Exit code 1 where it is more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import onnx
from process import watch
from stages import five_hundred_nodes

IMPORTS = "import time, onnx2tf_lite.check_cli, onnx, onnxruntime, ai_edge_litert.interpreter; time.sleep(0.3)"
OWN = 200_000_000  # bytes on top of a budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=int, nargs="*", default=[200_000_000, 600_000_000, 1_800_000_000])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--extent", type=int, default=256)
    args = parser.parse_args()
    from onnx2tf_lite import convert

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "five_hundred_nodes.onnx"
        onnx.save(five_hundred_nodes(args.channels, args.extent), source)
        made = convert(source, f"{folder}/out", outputs=("float32",), check="none", non_verbose=True)
        base = watch([sys.executable, "-c", IMPORTS])[2]
        print(f"a tensor {args.channels * args.extent**2 * 4 / 1e6:.1f} MB, about 300 of them; imports {base:.0f} MB")
        beyond = False
        for budget in args.budgets:
            command = [sys.executable, "-m", "onnx2tf_lite.check_cli", "-i", str(source)]
            command += ["-t", str(made.files["float32"]), "--budget", str(budget), "--seconds", "3000"]
            wall, _, peak = watch(command)
            above = (peak - base) * 2**20
            beyond |= above > budget + OWN
            told = f"{above / 1e6:.0f} MB above the imports, {above / budget:.0%}; {wall:.0f} s"
            print(f"budget {budget / 1e6:.0f} MB: {told}", flush=True)
    raise SystemExit(beyond)


if __name__ == "__main__":
    main()
