"""Time and peak memory of the tuning tools on a model of 1 GB, beside those of the original tools.

python -m benchmarks.toolbox [--bin originals/bin] [--gigabytes 1] [--tools sor4onnx ...] [--runs 1]

The model is a chain of Gemm and Relu with seeded weights of 16 MiB each, in one file and with a side file; every run is
a process of its own in a folder that is deleted afterwards.  ``--bin`` is where the commands of the original tools are
(see tests/tools/originals.py); without it ours run alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

WIDTH = 2048
ROOT = Path(__file__).resolve().parents[1]
#: Tool -> the words behind the input and output.
COMMANDS = {
    "sne4onnx": "-if {model} -of {out} -ion r2 -oon r4",
    "snd4onnx": "-if {model} -of {out} -rn relu1",
    "scs4onnx": "{model} {out} -d",
    "sam4onnx": "-if {model} -of {out} -on gemm1 -a alpha float32 0.5",
    "soc4onnx": "-if {model} -of {out} -os 18",
    "scc4onnx": "-if {model} -of {out} -ioo x [1,0]",
    "sna4onnx": "-if {model} -of {out} -aot Neg -aon new -aoiv i float32 [1,2048] -aoov o float32 [1,2048]"
    " -csoon relu0 r0 new i -cdoin new o gemm1 r0",
    "sbi4onnx": "-if {model} -of {out} -ics N -dos",
    "sor4onnx": "-if {model} -of {out} -on r0 hidden",
    "soa4onnx": "-if {model} -of {out} -on r0",
    "sod4onnx": "-if {model} -of {out} -on early",
    "ssi4onnx": "-if {model} -of {out}",
    "sio4onnx": "-if {model} -of {out} -i x -is N 2048 -o y -os N 2048 -o early -os N 2048",
    "svs4onnx": "-if {model} -of {out} -fovn g1 -tivn r1",
    "sng4onnx": "-if {model} -of {out}",
    "sde4onnx": "-if {model} -of {out}",
    "snc4onnx": "-if {model} {tail} -of {out} -sd y in -dos",
    "ssc4onnx": "-if {model}",
    "sit4onnx": "-if {model} -oep cpu -tlc 1",
    "onnx2json": "-if {model} -oj {out}",
}


def build(folder: Path, size: int) -> None:
    """``one.onnx``, ``side.onnx`` with ``side.data``, and ``tail.onnx``."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng, layers = np.random.default_rng(0), max(5, size // (4 * WIDTH * WIDTH))
    nodes, inits, last = [], [], "x"
    for k in range(layers):
        weights = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
        inits.append(numpy_helper.from_array(weights, f"w{k}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{k}"], [f"g{k}"], f"gemm{k}"))
        last = "y" if k == layers - 1 else f"r{k}"
        nodes.append(helper.make_node("Relu", [f"g{k}"], [last], f"relu{k}"))
    nodes.append(helper.make_node("Neg", ["r1"], ["early"], "neg"))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, WIDTH]) for n in ("x", "y", "early")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], inits)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "one.onnx")
    onnx.save(made, folder / "side.onnx", save_as_external_data=True, location="side.data")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, WIDTH]) for n in ("in", "out")]
    tail = helper.make_graph([helper.make_node("Tanh", ["in"], ["out"], "tanh")], "tail", ends[:1], ends[1:])
    onnx.save(helper.make_model(tail, opset_imports=made.opset_import, ir_version=8), folder / "tail.onnx")


def measure(words: list[str], environment: dict[str, str], folder: str) -> tuple[float, int, bool]:
    """Seconds, peak resident bytes, and whether the exit code was 0."""
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env=environment, cwd=folder, **quiet) as process:  # type: ignore[call-overload]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_maxrss * 1024, process.returncode == 0


def cell(tool: str, source: Path, program: list[str], environment: dict[str, str], runs: int) -> str:
    """A figure of the table: the best time of some runs, and the memory of that one."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=source.parent) as folder:
            names = {"model": source, "tail": source.parent / "tail.onnx", "out": Path(folder, "o.onnx")}
            words = [word.format(**names) for word in COMMANDS[tool].split()]
            found.append(measure([*program, *words], environment, folder))
    seconds, peak, done = min(found)
    return f"{seconds:.1f} s, {peak / 2**30:.2f} GiB" if done else f"fails ({seconds:.1f} s)"


def main() -> None:
    """Print a table in Markdown, a line after each tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, help="where the commands of the original tools are")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--tools", nargs="+", default=list(COMMANDS), choices=list(COMMANDS), metavar="TOOL")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    start = "import sys; from onnx2tf_lite.tools.{0} import main; sys.exit(main())"
    plain = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a child's peak begins with the size of its parent
            pool.submit(build, Path(folder), int(options.gigabytes * 2**30)).result()
        whose = ["ours", *(["original"] if options.bin else [])]
        heads = [f"{kind}: {who}" for kind in ("one file", "side file") for who in whose]
        print(f"| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
        for tool in options.tools:
            programs = [([sys.executable, "-c", start.format(tool)], plain | {"PYTHONPATH": str(ROOT)})]
            if options.bin:
                programs.append(([str(options.bin.absolute() / tool)], plain))
            sources = [Path(folder, f"{name}.onnx") for name in ("one", "side")]
            cells = [cell(tool, source, *program, options.runs) for source in sources for program in programs]
            print(f"| `{tool}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
