"""Integer files on devices: the share of an Arm Ethos-U that Vela finds, and whether TFLM runs the file.

python -m benchmarks.devices [--models mobilenet_v2,vittrack] [--device ethos-u55] [--samples 8]

Of the models of ``benchmarks.quantization``: ``full_integer_quant``, calibrated on samples of theirs, as it is and when
it is made for the device (``--target``).  TFLM: its interpreter runs the file and gives what LiteRT's reference
kernels give.  Takes the extras ``micro`` and ``ethos-u``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.quantization import SEEN, Case, cases
from onnx2tf_lite import ConversionError, convert
from onnx2tf_lite.targets.verdict import Fit, judge
from onnx2tf_lite.validation.files.flatfile import FlatFile

KIND = "full_integer_quant"
HEADER = "| model | operators | {0} | with `--target` | TFLM | with `--target` | arena |"


def fits(case: Case, samples: int, target: str, devices: tuple[str, ...]) -> dict[str, Fit]:
    """How the file that is made for ``target`` ('': for none) fits the devices.

    :raises ConversionError: there is no such file.
    """
    source = case.make()
    data = _batches([case.sample(SEEN + i) for i in range(samples)])
    given: dict[str, Any] = {"onnx_graph": source} if isinstance(source, onnx.ModelProto) else {}
    given |= {"input_onnx_file_path": source} if isinstance(source, Path) else {}
    given |= {"target": target} if target else {}
    given["batch_size"] = 1  # these devices have no open sizes
    with tempfile.TemporaryDirectory() as folder:
        made = convert(
            output_folder_path=folder, outputs=[KIND], calibration=data, check="none", verbosity="error", **given
        )
        file = FlatFile(made.files[KIND])
        return {device: judge(device, file) for device in devices}


def _batches(samples: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Samples of the model as arrays whose first axis counts them."""
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    return {f"{n}@onnx": a.reshape(-1, *a.shape[2:]) if a.ndim > 1 else a[0] for n, a in stacked.items()}


def row(case: Case, samples: int, device: str) -> str:
    """A line of the table."""
    try:
        plain = fits(case, samples, "", (device, "micro"))
        fitting = [fits(case, samples, name, (name,))[name] for name in (device, "micro")]
    except ConversionError as error:
        return f"| {case.name} | {str(error).splitlines()[0][:110]} | | | | | |"
    unit, small = fitting
    shares = [f"{fit.share:.1f}" for fit in (plain[device], unit)]
    runs = [_runs(fit) for fit in (plain["micro"], small)]
    cells = [case.name, str(len(plain[device].verdicts)), *shares, *runs, f"{small.arena / 1024:,.0f} KB"]
    return f"| {' | '.join(cells)} |"


def _runs(fit: Fit) -> str:
    """Does TFLM run it?  If not, what is in the way."""
    left = sorted({v.operator for v in fit.stranded})
    return "yes" if fit.ok else f"no ({', '.join(left) or fit.failed[:60]})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--models", default="", help="names, separated by commas; default: all but whole untrained ones"
    )
    parser.add_argument("--device", default="ethos-u55", choices=("ethos-u55", "ethos-u65", "ethos-u85"))
    parser.add_argument("--samples", type=int, default=8, help="for calibration")
    args = parser.parse_args()
    known = {case.name: case for case in cases()}
    wanted = args.models.split(",") if args.models else [n for n in known if not n.startswith("untrained")]
    print(HEADER.format(args.device))
    print("|---|--:|--:|--:|---|---|--:|")
    for name in wanted:
        print(row(known[name], args.samples, args.device), flush=True)


if __name__ == "__main__":
    main()
