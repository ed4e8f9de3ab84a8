"""Convert models with the converter of this environment, imported once: `peers_conformance` starts it.

    python benchmarks/peer_worker.py MODULE SECONDS KEYWORDS

A line ``MODEL FOLDER`` on standard input is a conversion in a forked child, which may take so many seconds; the answer
on standard output is its exit code.  ``KEYWORDS``, as JSON, go to ``convert``.  Of the standard library alone, since it
runs where this package is not.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

TIMED_OUT = 124
#: Pictures that 1.29 downloads for every model with images, where they do not lie in the working folder.
SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"


def pictures(folder: Path) -> Path:
    """Random ones in their place."""
    import numpy as np

    np.save(folder / SAMPLE, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    return folder / SAMPLE


def child(module: ModuleType, model: str, folder: str, keywords: dict[str, object]) -> int:
    """The exit code of one conversion in this process; what it says goes into a file."""
    os.setsid()
    os.chdir(Path(model).parent)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        module.convert(input_onnx_file_path=model, output_folder_path=folder, **keywords)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:  # whatever it is, it is this model's
        print(type(error).__name__, error, flush=True)
        return 1
    return 0


def convert(module: ModuleType, model: str, folder: str, seconds: float, keywords: dict[str, object]) -> int:
    """The exit code of a conversion in a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(child(module, model, folder, keywords))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return TIMED_OUT


def main(name: str, seconds: str, keywords: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an import prints is no answer
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    module = importlib.import_module(name)
    for line in sys.stdin:
        model, folder = line.split()
        print(convert(module, model, folder, float(seconds), json.loads(keywords)), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
