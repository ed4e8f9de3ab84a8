"""The golden table: TRANSPOSE operators and bytes that remain in every model, and how to write it anew.

    python -m tests.models.golden          # prints what changed and rewrites golden.json; review it as a diff
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "models"  # beside the checkout, where it is present
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TABLE = HERE / "golden.json"


@dataclass(frozen=True)
class Model:
    """A test model and the shapes at which it is tried."""

    name: str
    path: Path
    shapes: tuple[dict[str, tuple[int, ...]], ...]  # per run: input name -> shape

    def __str__(self) -> str:
        return self.name


def exports() -> list[Model]:
    """Our own PyTorch exports."""
    found = []
    for entry in json.loads((HERE / "exports" / "index.json").read_text()):
        shapes = [{i["name"]: tuple(i["shape"]) for i in entry["inputs"]}]
        shapes += [{n: tuple(s) for n, s in alt.items()} for alt in entry.get("alternatives", [])]
        found.append(Model(f"exports/{entry['name']}", HERE / "exports" / f"{entry['name']}.onnx", tuple(shapes)))
    return found


def light() -> list[Model]:
    """The light models of the onnx package."""
    return [Model(f"light/{p.stem[6:]}", p, ()) for p in sorted(LIGHT.glob("light_*.onnx"))]


def shared() -> list[Model]:
    """Real trained models, where ``shared/models`` lies beside the checkout."""
    index = SHARED / "index.json"
    if not index.exists():
        return []
    found = []
    for entry in json.loads(index.read_text()):
        runs = [f for f in (entry["feeds"], entry["alt_feeds"]) if f]
        shapes = tuple({n: tuple(spec["shape"]) for n, spec in run.items()} for run in runs)
        found.append(Model(f"shared/{entry['slug']}", SHARED / f"{entry['slug']}.onnx", shapes))
    return found


def shared_feeds(name: str, alt: bool) -> dict[str, np.ndarray]:
    """The inputs that ``shared/models/index.json`` describes."""
    import runpy

    make = runpy.run_path(str(SHARED / "make_feeds.py"))["feeds"]
    entry = next(e for e in json.loads((SHARED / "index.json").read_text()) if e["slug"] == name)
    return make(entry, alt=alt)


def measured(report: Any) -> dict[str, int]:
    """A row of the table from a layout report."""
    return {"transposes": len(report.transposes), "bytes": report.emitted_bytes}


def main() -> None:
    from tests.harness import laid_out

    old = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    new = dict(old)
    for model in shared() + light() + exports():
        new[model.name] = measured(laid_out(onnx.load(model.path))[1])
        if new[model.name] != old.get(model.name):
            print(f"{model.name}: {old.get(model.name)} -> {new[model.name]}")
    TABLE.write_text(json.dumps(new, indent=0, sort_keys=True).replace("\n\"", "\n\"") + "\n")


if __name__ == "__main__":
    main()
