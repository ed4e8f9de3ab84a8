"""``onnx2tf-check``: ONNX Runtime against converted files, layer by layer."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

EPILOG = """\
files:
  .tflite in float32, float16 or quantised, a SavedModel folder, a .keras or an .h5.  A file that onnx2tf wrote says
  where the tensors are; in any other they are matched by names and shapes, and where several permutations fit the
  shapes one is chosen by rule (channels-last in a file of convolutions, else the order of ONNX) and said to be assumed.

tolerances (rtol, by kind of file and --metric; a match that needed a looser one than these says so):
                 max     rmse    cosine   sqnr
  float32        1e-4    1e-4    1e-6     1e-4 (80 dB)     |x - ref| <= rtol * max|ref| + atol
  float16        1e-2    1e-2    1e-4     1e-2 (40 dB)     the same, at 99 % of the elements
  quantised      0.5     0.316   0.05     0.316 (10 dB)    decided by SQNR; one layer alone is held to 15 dB
  a quantised ONNX model: one quantisation step at 99.9 % of the elements.  atol is 1e-6.

examples:
  onnx2tf-check -i model.onnx -t model_float32.tflite --html report.html
  onnx2tf-check -i model.onnx -t model_int8.tflite --inputs photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  onnx2tf-check -i model.onnx -t saved_model model_float32.tflite --shape image:1,3,224,224 --samples 4 --json -

exit codes:
  0  every file matches
  1  a file differs
  2  the model or a file could not be run, or the command line is wrong
"""


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text, re.IGNORECASE)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1GB")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _limit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0.5,0.5,0.5") from error


def make_parser() -> argparse.ArgumentParser:
    """Every option, in groups."""
    parser = argparse.ArgumentParser(
        prog="onnx2tf-check", usage="onnx2tf-check -i MODEL -t FILE [FILE ...] [options]",
        description="Compare converted files with ONNX Runtime, layer by layer, and say which layers introduce error.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    files = parser.add_argument_group("files")
    files.add_argument("-i", "--onnx", required=True, metavar="MODEL", help="the ONNX model")
    files.add_argument("-t", "--target", required=True, nargs="+", metavar="FILE", help="files to compare with it")
    given = parser.add_argument_group("inputs (default: seeded random ones that suit the model)")
    given.add_argument(
        "--inputs", metavar="PATH", help=".npz by input name, .npy, or a folder of images (needs Pillow)"
    )
    given.add_argument(
        "--mean", type=_numbers, default=(0.0,), metavar="M,...", help="of images, per channel; default 0"
    )
    given.add_argument(
        "--std", type=_numbers, default=(1.0,), metavar="S,...", help="of images, per channel; default 1"
    )
    given.add_argument(
        "--samples", type=_positive, metavar="N", help="how many (of a dynamic model two sizes by default)"
    )
    given.add_argument("--shape", nargs="+", metavar="NAME:DIMS", help="dynamic inputs in ONNX order: x:1,3,224,224")
    given.add_argument("--seed", type=int, default=0, metavar="N", help="of random inputs; default 0")
    strict = parser.add_argument_group("comparison")
    strict.add_argument("--outputs-only", action="store_true", help="layers only where an output differs")
    strict.add_argument(
        "--metric", choices=("max", "rmse", "cosine", "sqnr"), help="what decides; default by kind of file"
    )
    strict.add_argument("--rtol", type=_limit, metavar="R", help="relative limit, for any metric; see below")
    strict.add_argument("--atol", type=_limit, metavar="A", help="absolute limit of max and rmse; default 1e-6")
    strict.add_argument("--budget", type=_size, default=1 << 30, metavar="BYTES",
                        help="memory for the tensors of a run; beyond, layers come in chunks; default 1GB")  # fmt: skip
    shown = parser.add_argument_group("output")
    shown.add_argument(
        "--rows", choices=("all", "failed", "worst", "none"), default="all", help="of the table; default all"
    )
    shown.add_argument("--worst", type=_positive, metavar="N", help="the same as --rows worst, of that many")
    shown.add_argument("--json", metavar="FILE", help="everything, to a file or (-) to standard output alone")
    shown.add_argument("--html", metavar="FILE", help="everything as one page with charts, for a browser")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code."""
    options = make_parser().parse_args(sys.argv[1:] if argv is None else argv)
    from .errors import ConversionError

    try:
        if options.html:
            from .validation.page import require

            require()
        report = run(options)
    except ConversionError as error:
        for problem in error.problems:
            print(f"onnx2tf-check: {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"onnx2tf-check: {error}", file=sys.stderr)
        return 2
    output(report, options)
    return report.exit_code


def run(options: argparse.Namespace) -> Any:
    """The report."""
    import shlex
    from pathlib import Path

    from .conversion import parse_shapes
    from .validation import check, images
    from .validation.check import make_reference
    from .validation.report import Report

    reference = make_reference(options.onnx)
    hints, path, data = parse_shapes(options.shape), options.inputs, options.inputs
    if path is not None and Path(path).is_dir():
        data = images.read_folder(Path(path), reference.inputs, hints, options.mean, options.std, options.samples)
    report: Report = check(
        reference, list(options.target), data, layers=not options.outputs_only, hints=hints, rtol=options.rtol,
        atol=options.atol, metric=options.metric, seed=options.seed, samples=options.samples, budget=options.budget,
        histograms=bool(options.html),
    )  # fmt: skip
    words = ["onnx2tf-check", "-i", options.onnx, "-t", *options.target]
    extra = {"inputs": path, "samples": options.samples, "seed": options.seed or None, "metric": options.metric,
             "rtol": options.rtol, "atol": options.atol, "mean": path and _commas(options.mean),
             "std": path and _commas(options.std)}  # fmt: skip
    words += [w for name, value in extra.items() if value is not None for w in (f"--{name}", str(value))]
    words += ["--shape", *options.shape] if options.shape else []
    words += ["--outputs-only"] if options.outputs_only else []
    report.settings |= {"command": shlex.join(words), "inputs": path or "random"}
    return report


def _commas(numbers: Sequence[float]) -> str:
    return ",".join(f"{n:g}" for n in numbers)


def output(report: Any, options: argparse.Namespace) -> None:
    """The table, or JSON alone where that goes to standard output."""
    from pathlib import Path

    from .validation.show import show, to_text

    if options.html:
        Path(options.html).write_text(report.to_html(), encoding="utf-8")
    if options.json == "-":
        print(to_text(report))
        return
    show(report, "worst" if options.worst else options.rows, options.worst or 10)
    if options.json:
        Path(options.json).write_text(to_text(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
