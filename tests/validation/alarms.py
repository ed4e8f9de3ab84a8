"""False alarms: files that are right, and whether the check says so.

    python -m tests.validation.alarms [--every 12] [--verbose] [--only real,exports,...] [name ...]

Converted and checked with the defaults are all real models and exports, one case in ``--every`` of ONNX's own suite,
and float16 versions and versions quantised by onnxruntime.quantization of ten models.  An alarm is a check that ends
with another exit code than 0; a model that the converter refuses is none, nor a version that cannot be made: both are
counted.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from onnx2tf_lite import ConversionError, child, convert
from tests.conformance import cases
from tests.models import golden, onnx_quantised

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


#: Of the forms of the quantiser, those that are looked at.
VERSIONS: dict[str, Make] = {
    name: partial(_quantised, onnx_quantised.FORMS[name])
    for name in ("S8S8", "S8S8 per channel", "U8S8", "U8U8", "QOperator S8S8", "QOperator U8U8", "dynamic")
}


def sources(only: set[str], every: int, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """(name, path or model, inputs or None) of those with one of ``names``, or all."""
    import onnxruntime as ort

    groups = {"real": golden.real(), "exports": golden.exports()}
    for group in [g for g in groups if g in only]:
        for model in [m for m in groups[group] if m.present]:
            yield model.name, model.path, None
    if "conformance" in only:
        for case in [c for c in cases.cases().values() if c.in_scope and not c.random][::every]:
            yield f"conformance/{case.name}", case.model, None
    versions = {"float16": halved} if "float16" in only else {}
    versions |= VERSIONS if "quantised" in only else {}

    def made(make: Make, model: golden.Model) -> Path:
        path = make(folder, model)
        ort.InferenceSession(str(path))
        return path

    for model in [m for m in golden.named(*TEN) if m.present]:
        for version, make in versions.items():
            if names and not any(part in f"{model.name} {version}" for part in names):
                continue
            try:  # in a child: the quantiser, and ONNX Runtime with what it made, may take the process with them
                path = child.call(lambda make=make, model=model: made(make, model))  # type: ignore[misc]
            except Exception as error:  # whatever the quantiser cannot do is not what is measured here
                print(f"{model.name} {version}: not made ({type(error).__name__}: {str(error)[:80]})", flush=True)
                continue
            yield f"{model.name} {version}", path, None


def alarm(source: Any, inputs: Any, folder: Path) -> str | None:
    """What the check says of a file; None where it matches, '' where nothing was written."""
    given = {"input_onnx_file_path": source} if isinstance(source, Path) else {"onnx_graph": source}
    try:
        result = convert(output_folder_path=folder, outputs=("float32",), test_data=inputs, non_verbose=True, **given)
    except ConversionError:
        return ""
    if result.exit_code == 0 or result.check is None:
        return None
    return result.check.error or "; ".join(f.verdict for f in result.check.files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of models; default: all")
    parser.add_argument("--only", default="real,exports,conformance,float16,quantised", help="groups, with commas")
    parser.add_argument("--every", type=int, default=12, metavar="N", help="of the conformance suite; 1: all of it")
    parser.add_argument("--verbose", action="store_true", help="name every model, with the time it took")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    count, alarms, refused = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, source, inputs in sources(set(args.only.split(",")), args.every, Path(folder), args.names):
            if args.names and not any(part in name for part in args.names):
                continue
            start = time.perf_counter()
            said = alarm(source, inputs, Path(folder) / "out")
            if args.verbose:
                print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
            count, refused = count + 1, refused + (said == "")
            if said:
                alarms += 1
                print(f"ALARM {name}: {said[:400]}", flush=True)
    print(f"{alarms} alarms of {count} models, {refused} of which are refused")
    raise SystemExit(bool(alarms))


if __name__ == "__main__":
    main()
