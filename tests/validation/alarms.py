"""False alarms: files that are right, and whether the check says so.

    python -m tests.validation.alarms [--every 12] [--offset 0] [--verbose] [--only real,exports,...] [name ...]

Converted and checked with the defaults are all real models and exports, one case in ``--every`` of ONNX's own suite
from the ``--offset``-th on, float16 versions and versions quantised by onnxruntime.quantization of ten models, and
``--seeds`` nets of each small family (``small``): to every .tflite, to all that TensorFlow runs, and in those versions.
An alarm is a check that ends with another exit code than 0; a model that the converter refuses is none, nor a version
that cannot be made: both are counted.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from onnx2tf_lite import ConversionError, child, convert
from onnx2tf_lite.emitters import EMITTERS, TENSORFLOW
from tests.conformance import cases
from tests.models import golden, onnx_quantised
from tests.models.feeds import Feeds

from . import small
from .counts import Counts

#: Of which there are float16 and quantised versions.
TEN = ("real/mnist_8", "real/super_resolution_espcn", "real/yunet_n_dynamic", "real/vittrack", "real/basic_pitch_nmp",
       "real/deeplab_v3_mnv2_257", "real/go1_joystick_policy", "real/ppocr_rec_en_number",
       "exports/fpn_bilinear.dynamo", "exports/vit.ts13")  # fmt: skip
Make = Callable[[Path, golden.Model], Path]


def halved(folder: Path, model: golden.Model) -> Path:
    """Computed in float16, its inputs and outputs too."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    path = folder / "float16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(model.path)), path)
    return path


def _quantised(form: onnx_quantised.Form, folder: Path, model: golden.Model) -> Path:
    return onnx_quantised.make(folder, model, form)


VERSIONS: dict[str, Make] = {name: partial(_quantised, form) for name, form in onnx_quantised.FORMS.items()}


@dataclass(frozen=True)
class Case:
    """A model that ``make`` gives, or its path: of a ``family``, to be written as ``outputs``."""

    name: str
    family: str
    make: Callable[[], Path | onnx.ModelProto]
    outputs: tuple[str, ...] = ("float32",)
    calibration: Feeds | None = None


def _made(make: Make, folder: Path, model: golden.Model) -> Path:
    """A version that ONNX Runtime loads; in a child: the quantiser, and ONNX Runtime with what it made, may take the
    process with them."""
    import onnxruntime as ort

    def work() -> Path:
        path = make(folder, model)
        ort.InferenceSession(str(path))
        return path

    return child.call(work)


def cases_of(group: str, part: slice, seeds: range, folder: Path) -> Iterator[Case]:
    """All of one of the :data:`GROUPS`; ``part`` of the conformance suite."""
    whole = {"real": golden.real, "exports": golden.exports}
    versions: dict[str, dict[str, Make]] = {"float16": {"float16": halved}, "quantised": VERSIONS}
    if group in whole:
        for model in [m for m in whole[group]() if m.present]:
            yield Case(model.name, group, partial(Path, model.path))
    elif group == "conformance":
        for case in [c for c in cases.cases().values() if c.in_scope and not c.random][part]:
            yield Case(f"conformance/{case.name}", group, partial(getattr, case, "model"))
    elif group in versions:
        for model in [m for m in golden.named(*TEN) if m.present]:
            for version, make in versions[group].items():
                yield Case(f"{model.name} {version}", group, partial(_made, make, folder, model))
    else:
        for net in small.nets(folder, seeds):
            family = f"{group} {net.name.partition('.')[0].partition('/')[2]}"
            if group == "small-quantised":
                for version, make in {"float16": halved, **VERSIONS}.items():
                    yield Case(f"{net.name} {version}", f"{family} {version}", partial(_made, make, folder, net))
                continue
            for kinds in KINDS[group]:
                made = partial(Path, net.path)
                yield Case(f"{net.name} {' '.join(kinds)}", f"{family} {' '.join(kinds)}", made, kinds, net.samples)


#: Of small nets: the kinds of file that are written, those together that need TensorFlow, which takes seconds to load.
KINDS = {
    "small": tuple((n,) for n, row in EMITTERS.items() if row.checked_as not in TENSORFLOW),
    "small-tensorflow": (tuple(n for n, row in EMITTERS.items() if row.checked_as in TENSORFLOW),),
}
GROUPS = ("real", "exports", "conformance", "float16", "quantised", "small", "small-tensorflow", "small-quantised")


def alarm(case: Case, source: Path | onnx.ModelProto, folder: Path) -> str | None:
    """What the check says of its files; None where all match, '' where nothing was written."""
    given: dict[str, Any] = {"input_onnx_file_path" if isinstance(source, Path) else "onnx_graph": source}
    given |= {"outputs": case.outputs, "calibration": case.calibration}
    try:
        result = convert(output_folder_path=folder, non_verbose=True, **given)
    except ConversionError:
        return ""
    if result.exit_code == 0 or result.check is None:
        return None
    return result.check.error or "; ".join(f.verdict for f in result.check.files if not f.ok)


@dataclass
class Tally(Counts):
    """Of a family."""

    count: int = 0
    alarms: int = 0
    refused: int = 0
    not_made: int = 0

    def __str__(self) -> str:
        rest = [f"{n} {what}" for n, what in ((self.refused, "refused"), (self.not_made, "could not be made")) if n]
        return ", ".join([f"{self.alarms} alarms of {self.count}", *rest])


def look(case: Case, folder: Path, verbose: bool) -> Tally:
    """Make, convert and check one, and say what came of it."""
    start = time.perf_counter()
    try:
        source = case.make()
    except Exception as error:  # whatever the quantiser cannot do is not what is measured here
        print(f"{case.name}: not made ({type(error).__name__}: {str(error)[:80]})", flush=True)
        return Tally(not_made=1)
    said = alarm(case, source, folder)
    if verbose:
        print(f"{case.name}: {time.perf_counter() - start:.1f} s", flush=True)
    if said:
        print(f"ALARM {case.name}: {said[:400]}", flush=True)
    return Tally(1, bool(said), said == "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of models; default: all")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, with commas")
    parser.add_argument("--every", type=int, default=12, metavar="N", help="of the conformance suite; 1: all of it")
    parser.add_argument("--offset", type=int, default=0, metavar="K", help="of these N slices, the K-th: 0 to N - 1")
    parser.add_argument("--seeds", type=int, default=30, help="nets of each small family")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="of these")
    parser.add_argument("--verbose", action="store_true", help="name every model, with the time it took")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    part, seeds = slice(args.offset, None, args.every), range(args.first, args.first + args.seeds)
    families: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group in [g for g in GROUPS if g in args.only.split(",")]:
            for case in cases_of(group, part, seeds, Path(folder)):
                if not args.names or any(part in case.name for part in args.names):
                    found = look(case, Path(folder) / "out", args.verbose)
                    families[case.family] = families.get(case.family, Tally()) + found
    total = sum(families.values(), Tally())
    for family, tally in [*families.items(), ("all", total)]:
        print(f"{family}: {tally}")
    raise SystemExit(bool(total.alarms))


if __name__ == "__main__":
    main()
