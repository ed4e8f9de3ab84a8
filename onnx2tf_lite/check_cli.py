"""Compare converted files with ONNX Runtime, layer by layer, and say which layers introduce error; or say of any
.tflite whether it runs on a device.

examples:
  onnx2tf-check -i model.onnx -t model_float32.tflite --html report.html
  onnx2tf-check -i model.onnx -t model_int8.tflite --inputs photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  onnx2tf-check -i model.onnx -t saved_model model_float32.tflite --shape image:1,3,224,224 --samples 4 --json -
  onnx2tf-check --target micro model_int8.tflite          every operator: runs, falls back to the CPU, not possible

A file is a .tflite in float32, float16 or quantised, a SavedModel folder, a .keras or an .h5.  One that onnx2tf wrote
says where the tensors are; in any other they are matched by names and shapes, and where several permutations fit the
shapes one is chosen by rule (channels-last in a file of convolutions, else the order of ONNX) and said to be assumed.

tolerances, rtol by kind of file and --metric (a match that needed a looser one says so):
             max    rmse    cosine  sqnr
  float32    1e-4   1e-4    1e-6    1e-4  (80 dB)
  float16    1e-2   1e-2    1e-4    1e-2  (40 dB)
  quantised  0.5    0.316   0.05    0.316 (10 dB)

max is |x - ref| <= rtol * max|ref| + atol with an atol of 1e-6; in a float16 file at 99 % of the elements.  A quantised
file is decided by sqnr, one of its layers alone is held to 15 dB; a quantised ONNX model by one quantisation step at
99.9 % of the elements.

exit codes:
  0  every file matches, and runs on the --target
  1  a file differs, does not run on the --target (or nothing of it on its accelerator), or less of it was reached than
     --require-coverage asks for
  2  the model or a file could not be run, or the command line is wrong
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commands import command, flag, group, option, words
from .commands.terminal import silence
from .errors import ConversionError, Problem, ToolError
from .targets import DEVICES

if TYPE_CHECKING:
    from .targets.verdict import Fit
    from .validation import Report
    from .validation.files.profile import Profile

ROWS = ("all", "failed", "worst", "none")
METRICS = ("max", "rmse", "cosine", "sqnr")

OPTIONS = [
    *group(
        "files",
        option("-i --onnx MODEL", "the ONNX model"),
        option("-t --files FILE...", "files to compare with it"),
        option("--target DEVICE", f"a device: does it run the files? of {', '.join(DEVICES)}", choices=DEVICES),
        option("others [FILE...]", "files for the --target"),
    ),
    *group(
        "inputs (default: seeded random ones that suit the model)",
        option("--inputs PATH", ".npz by input name, .npy, or a folder of images (needs Pillow)"),
        option("--mean M,M,M", "of images, per channel; default 0", type=words.numbers),
        option("--std S,S,S", "of images, per channel; default 1", type=words.numbers),
        option("--samples N", "how many (of a dynamic model two sizes by default)", type=words.positive),
        option("--shape NAME:DIMS...", "dynamic inputs in ONNX order: x:1,3,224,224", convert=words.shapes),
        option("--seed N", "of random inputs; default 0", type=int),
    ),
    *group(
        "comparison",
        flag("--outputs-only", "layers only where an output differs"),
        option("--metric", "what decides; default by kind of file", choices=METRICS),
        option("--rtol R", "relative limit, for any metric; see below", type=words.limit),
        option("--atol A", "absolute limit of max and rmse; default 1e-6", type=words.limit),
        option("--require-coverage PERCENT", "of layers, branches and weights to be reached; default 0",
               type=words.limit),
        option("--budget BYTES", "memory above a plain run; what takes more is not run; default 1.8GB, at least 64MB",
               type=words.size),
        option("--seconds S", "time; what is left then is not run; default 300, and 10 for every MB of weights",
               type=words.limit),
    ),
    *group(
        "output",
        option("--rows", "of the table; default all", choices=ROWS),
        option("--worst N", "the same as --rows worst, of that many", type=words.positive),
        option("--json FILE", "everything, to a file or (-) to standard output alone"),
        option("--html FILE", "everything as one page with charts, for a browser"),
        option("--model-explorer FOLDER", "error, SQNR, reach and time per node, for Google's Model Explorer"),
        flag("--profile", "what the time of each .tflite is made of, a line for each kind of operator"),
    ),
]  # fmt: skip


def run(
    onnx: str = "", files: Sequence[str] = (), others: Sequence[str] = (), target: str = "", **given: object
) -> int:
    """Compare, ask the device, and show; the exit code."""
    paths = [*files, *others]
    try:
        if problems := [*_incomplete(onnx, files, others, target), *contradictions(given)]:
            raise ConversionError(*problems)
        if "html" in given:
            from .validation.page import require

            require()
        report = compare(onnx, paths, target, given) if onnx else _alone()
        if target:
            report.fits = fits(target, paths)
        try:
            show(report, given)
            spent = profiles(paths) if given.keys() & {"profile", "model_explorer"} else {}
            if "profile" in given:
                tell(spent)
            if "model_explorer" in given:
                lay_over(report, Path(str(given["model_explorer"])), spent)
        except BrokenPipeError:  # the verdict stands, whoever reads it
            silence(sys.stdout)
    except (ConversionError, OSError, ToolError) as error:
        for problem in error.problems if isinstance(error, ConversionError) else [error]:
            print(f"onnx2tf-check: {problem}", file=sys.stderr)
        return 2
    return max(report.exit_code, int(not all(fit.ok for fit in report.fits)))


def _incomplete(onnx: str, files: Sequence[str], others: Sequence[str], target: str) -> Iterator[str]:
    """What is missing of the two things that can be asked."""
    if not (files or others):
        yield "there is no file: name one with -t, or behind --target DEVICE"
    if not (onnx or target):
        yield "there is nothing to ask: give the model (-i) to compare with, or a device (--target)"
    if others and not target:
        yield f"{others[0]} is not an option: files are named with -t"


def _alone() -> Report:
    """A report of files that are compared with nothing."""
    from .validation import Report

    return Report()


def fits(target: str, paths: Sequence[str]) -> list[Fit]:
    """How each .tflite fits the device; ConversionError where one is none."""
    from .targets.verdict import judge
    from .validation.files.flatfile import FlatFile, UnreadableError

    found = []
    for path in paths:
        try:
            found.append(judge(target, FlatFile(Path(path))))
        except UnreadableError as error:
            remedy = "--target asks about .tflite files"
            raise ConversionError(Problem(f"file '{path}'", str(error), remedy)) from error
    return found


def contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    """Options that would have no effect beside others."""
    images = "inputs" in given and Path(given["inputs"]).is_dir()
    random = "inputs" not in given
    read = {"mean": images, "std": images, "samples": images or random, "seed": random, "shape": images or random}
    read["worst"] = given.get("rows", "worst") == "worst"
    for name, used in read.items():
        if name in given and not used:
            other = "--rows" if name == "worst" else "these --inputs" if "inputs" in given else "random inputs"
            yield f"--{name} has no effect with {other}: leave one of the two out"
    if given.get("json") == "-" and given.keys() & {"rows", "worst"}:
        yield "--rows and --worst have no effect with --json -, which prints everything: leave one of the two out"
    if given.get("json") == "-" and "profile" in given:
        yield "--profile is a table, and --json - prints JSON alone: leave one of the two out"


def compare(onnx: str, files: Sequence[str], target: str, given: Mapping[str, Any]) -> Report:
    """The report, with the command that gives it again."""
    from .validation import check
    from .validation.checking import make_reference
    from .validation.feeds import images

    reference, hints = make_reference(onnx), given.get("shape", {})
    data = path = given.get("inputs")
    if path is not None and Path(path).is_dir():
        mean, std = given.get("mean", (0.0,)), given.get("std", (1.0,))
        data = images.read_folder(Path(path), reference.inputs, hints, mean, std, given.get("samples"))
    passed = ("rtol", "atol", "metric", "seed", "samples", "budget", "seconds", "require_coverage")
    known = {name: given[name] for name in passed if name in given}
    known |= {"layers": "outputs_only" not in given, "histograms": "html" in given}
    report = check(reference, list(files), data, hints=hints, **known)
    report.settings |= {
        "command": repeat(onnx, files, {**given, "target": target} if target else given),
        "inputs": path or "random",
    }
    return report


def profiles(files: Sequence[str]) -> dict[Path, Profile | str]:
    """Of every .tflite, each made in a child: alone, a kernel may crash that did not among others; else why there is
    none."""
    from functools import partial

    from . import child
    from .validation.files import profile

    found: dict[Path, Profile | str] = {}
    for path in (Path(t) for t in files if Path(t).suffix == ".tflite"):
        try:
            found[path] = child.call(partial(profile.profile, path))
        except (child.DiedError, ValueError, RuntimeError) as error:
            found[path] = str(error)
    return found


def tell(spent: Mapping[Path, Profile | str]) -> None:
    """Print the profiles."""
    for path, found in spent.items():
        print(f"\n{path}: time with one thread")
        print(f"no profile: {found}" if isinstance(found, str) else "\n".join(found.lines()))


def lay_over(report: Report, folder: Path, spent: Mapping[Path, Profile | str]) -> None:
    """Node data for Model Explorer; what could not be timed has no times, which is said."""
    from .validation.reports import overlay

    for path, found in spent.items():
        if isinstance(found, str):
            print(f"onnx2tf-check: {path}: no times for Model Explorer: {found}", file=sys.stderr)
    overlay.write(report, folder, {path: found for path, found in spent.items() if not isinstance(found, str)})


def repeat(onnx: str, files: Sequence[str], given: Mapping[str, Any]) -> str:
    """The command line, without where its results went."""
    import shlex

    line = ["onnx2tf-check", "-i", onnx, "-t", *files]
    for row in OPTIONS:
        if row.dest in given and row.group != "output" and row.dest not in ("budget", "seconds"):
            value = given[row.dest]
            if row.dest == "shape":
                said = [f"{name}:{_commas(shape)}" for name, shape in value.items()]
            else:
                said = [] if value is True else [_commas(value) if isinstance(value, tuple) else str(value)]
            line += [row.flags[-1], *said]
    return shlex.join(line)


def _commas(numbers: Sequence[float]) -> str:
    return ",".join(f"{n:g}" for n in numbers)


def show(report: Report, given: Mapping[str, Any]) -> None:
    """The table, or JSON alone where that goes to standard output; files that are wanted."""
    from .model.write import atomic
    from .validation import page
    from .validation.reports import show as terminal

    text = terminal.to_text(report)
    makers: dict[str, Callable[[], str]] = {"html": lambda: page.render(report), "json": lambda: f"{text}\n"}
    for name, make in makers.items():
        if given.get(name, "-") != "-":
            with atomic(given[name]) as file:
                file.write(make().encode())
    if given.get("json") == "-":
        print(text)
    else:
        terminal.show(report, "worst" if "worst" in given else given.get("rows", "all"), given.get("worst", 10))


USAGE = "onnx2tf-check -i MODEL -t FILE [FILE ...] [options]\n       onnx2tf-check --target DEVICE FILE [FILE ...]"

main = command(run, *OPTIONS, name="onnx2tf-check", usage=USAGE, exact=True)

if __name__ == "__main__":
    sys.exit(main())
