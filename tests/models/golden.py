"""The test models, and the golden table: TRANSPOSE operators and bytes that remain in every one.

python -m tests.models.golden          # prints what changed and rewrites golden.json; review it as a diff
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx2tf_lite import convert

from .feeds import Feeds
from .feeds import feeds as made_feeds

HERE = Path(__file__).resolve().parent
REAL = HERE / "real"
BESIDE = HERE.parents[2] / "shared" / "models"  # the models that are too large to commit, where they are present
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TABLE = HERE / "golden.json"


@dataclass(frozen=True)
class Model:
    """A test model; ``entry`` is its line in an index.json, where there is one."""

    name: str
    path: Path
    entry: Any = None

    @property
    def present(self) -> bool:
        return self.path.exists()

    def feeds(self) -> list[Feeds]:
        """Inputs at every shape that the index names; none where there is no index."""
        if self.entry is None:
            return []
        if "alt_feeds" in self.entry:
            specs = [self.entry["feeds"], self.entry["alt_feeds"]]
            return [made_feeds(self.entry["inputs"], spec) for spec in specs if spec]
        return [_random(self.entry["inputs"], shapes) for shapes in ({}, *self.entry["alternative_shapes"])]


def _random(inputs: list[dict[str, Any]], shapes: dict[str, list[int]]) -> Feeds:
    """Normal floats, bools, integers within the bounds of the index."""
    rng = np.random.default_rng(0)
    feeds = {}
    for entry in inputs:
        shape, dtype = shapes.get(entry["name"], entry["shape"]), np.dtype(entry["dtype"])
        whole = rng.integers(entry.get("low", 0), entry.get("below", 2), shape)
        feeds[entry["name"]] = np.asarray(rng.standard_normal(shape) if dtype.kind == "f" else whole).astype(dtype)
    return feeds


def exports() -> list[Model]:
    """Our own PyTorch exports."""
    index = json.loads((HERE / "exports" / "index.json").read_text())
    return [Model(f"exports/{e['name']}", HERE / "exports" / e["file"], e) for e in index]


def light() -> list[Model]:
    """The light models of the onnx package."""
    return [Model(f"light/{p.stem[6:]}", p) for p in sorted(LIGHT.glob("light_*.onnx"))]


def real() -> list[Model]:
    """Trained models of other projects: the smaller ones are committed, the others may lie beside the checkout."""
    index = json.loads((REAL / "index.json").read_text())
    homes = {e["name"]: REAL if (REAL / f"{e['name']}.onnx").exists() else BESIDE for e in index}
    return [Model(f"real/{e['name']}", homes[e["name"]] / f"{e['name']}.onnx", e) for e in index]


def everything() -> list[Model]:
    """All of them, absent ones too."""
    return real() + light() + exports()


def named(*names: str) -> list[Model]:
    """The models of these names."""
    known = {m.name: m for m in everything()}
    return [known[name] for name in names]


def parameters(models: list[Model], slow: tuple[str, ...] = ()) -> list[Any]:
    """As pytest's parameters; an absent model is a test that is skipped, and says which file it lacks."""
    import pytest

    def marks(m: Model) -> list[Any]:
        absent = pytest.mark.skipif(not m.present, reason=f"{m.path.name} is not in the repository, nor at {BESIDE}")
        return [absent, pytest.mark.slow] if m.name in slow else [absent]

    return [pytest.param(m, id=m.name, marks=marks(m)) for m in models]


def row(result: Any) -> dict[str, int]:
    """A line of the table from a conversion."""
    layout = result.report["layout"]
    return {"transposes": len(layout["transposes"]), "bytes": layout["emitted_bytes"]}


def main() -> None:
    old = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    new = dict(old)
    for model in filter(lambda m: m.present, everything()):
        with tempfile.TemporaryDirectory() as folder:
            result = convert(model.path, folder, outputs=("float32",), check="none", non_verbose=True)
        new[model.name] = row(result)
        if new[model.name] != old.get(model.name):
            print(f"{model.name}: {old.get(model.name)} -> {new[model.name]}", flush=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(new[name])}" for name in sorted(new))
    TABLE.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
