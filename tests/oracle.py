"""The frozen oracle: what the converter writes, byte for byte; a restructuring shows with it that it changed nothing.

    python -m tests.oracle            # what differs from oracle.json; exit code 1 where anything does
    python -m tests.oracle --quick    # .tflite files and interfaces only (about a minute)
    python -m tests.oracle --write    # freeze; every line of the diff needs its reason in the commit

Frozen are the sha256 of every .tflite and SavedModel of the golden models, the exports and a sample of ONNX's suite,
that of ``results.json``, of ``--help`` of every command, and the signatures that users of the tuning tools know.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIGEST = 16  # letters of a sha256 that are kept
FROZEN = HERE / "oracle.json"
PROJECT = HERE.parent / "pyproject.toml"
EVERY = 12  # one conformance case in so many
FLAT = ("float32", "float16")
TOO_BIG = ("light/bvlc_alexnet", "light/vgg19", "light/zfnet512")  # slow tests, too


def sources(quick: bool) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """(name, path or model, kinds) of everything that is converted."""
    from .conformance import cases
    from .models import golden

    kinds = FLAT if quick else (*FLAT, "saved_model")
    for model in golden.everything():
        if model.present and model.name not in TOO_BIG:
            yield model.name, model.path, kinds
    for case in [c for c in cases.cases().values() if c.in_scope and not c.random][::EVERY]:
        yield case.name, case.model, ("float32",) if quick else ("float32", "saved_model")


def convert(job: tuple[str, Any, tuple[str, ...]]) -> dict[str, str]:
    """sha256 (16 digits) of each file, or the error; by ``model: kind``."""
    from onnx2tf_lite import ConversionError
    from onnx2tf_lite import convert as run

    name, source, kinds = job
    given = {"input_onnx_file_path": source} if isinstance(source, Path) else {"onnx_graph": source}
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run(output_folder_path=folder, outputs=kinds, check="none", non_verbose=True, **given)
        except ConversionError as error:
            return {f"{name}: error": str(error)}
        return {f"{name}: {kind}": digest(kind, Path(path)) for kind, path in result.files.items()}


def digest(kind: str, path: Path) -> str:
    """Of a .tflite its bytes; of a SavedModel those of all its files."""
    parts = [path]
    if kind == "saved_model":
        names = ("saved_model.pb", "variables/*", "assets.extra/*")
        parts = sorted(part for name in names for part in path.glob(name))
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:DIGEST]


def interfaces() -> dict[str, str]:
    """``--help`` of every command, and the signature of every known tool function."""
    import inspect
    import io
    from contextlib import redirect_stdout, suppress

    found = {}
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    section = PROJECT.read_text().partition("[project.scripts]\n")[2].partition("\n[")[0]
    for command, module, function in re.findall(r'^(\S+) = "(.*):(.*)"$', section, re.MULTILINE):
        out = io.StringIO()
        with redirect_stdout(out), suppress(SystemExit):
            getattr(import_module(module), function)(["--help"])
        found[f"{command} --help"] = out.getvalue()
    from onnx2tf_lite import tools
    from onnx2tf_lite.tools._verbs import VERBS

    known = {f"tools.{name}": getattr(tools, name) for name in tools.__all__}
    known |= {f"tools.{row.tool}.{row.name}": row.function() for row in VERBS.values()}
    found |= {name: str(inspect.signature(it)) for name, it in sorted(known.items()) if callable(it)}
    return found


def measure(quick: bool) -> dict[str, str]:
    """Everything frozen, as it is now."""
    found = interfaces()
    found["results.json"] = hashlib.sha256((HERE / "conformance" / "results.json").read_bytes()).hexdigest()[:DIGEST]
    jobs = list(sources(quick))
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=40) as pool:
        for part in pool.imap_unordered(convert, jobs):
            found |= part
    return dict(sorted(found.items()))


def main() -> int:
    from .models import golden

    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="no SavedModels")
    parser.add_argument("--interfaces", action="store_true", help="help and signatures alone")
    parser.add_argument("--write", action="store_true", help="freeze what is found now")
    args = parser.parse_args()
    if args.interfaces:
        new = interfaces()
        new |= {k: v for k, v in json.loads(FROZEN.read_text()).items() if len(v) == DIGEST}
    else:
        new = measure(args.quick)
    if args.write:
        FROZEN.write_text(json.dumps(new, indent=0, sort_keys=True) + "\n")
        print(f"froze {len(new)} entries")
        return 0
    old = json.loads(FROZEN.read_text())
    if args.quick:
        old = {k: v for k, v in old.items() if not k.endswith(": saved_model")}
    absent = {m.name for m in golden.real() if not m.present}
    keys = [k for k in sorted(old.keys() | new.keys()) if k.partition(":")[0] not in absent]
    different = [k for k in keys if old.get(k) != new.get(k)]
    for key in different:
        print(f"{key}: {old.get(key, 'absent')!s:.200} -> {new.get(key, 'absent')!s:.200}")
    print(f"{len(new)} entries, {len(different)} different")
    return int(bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
