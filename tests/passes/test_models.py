# ruff: noqa: E501 (tables: a case is a line)
"""Real models: the same numbers before and after, and small stays small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite import passes

from .conftest import LIGHT, SHARED, ops, same, session

INDEX = {e["slug"]: e for e in json.loads((SHARED / "index.json").read_text())} if SHARED.exists() else {}
NAMES = sorted(INDEX) or ["(none)"]


@pytest.mark.parametrize("slug", NAMES)
def test_shared(slug: str, shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_feeds", shared / "make_feeds.py")
    assert spec and spec.loader
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    path, entry = shared / f"{slug}.onnx", INDEX[slug]
    graph, _ = passes.optimize(passes.load(path))
    after = passes.to_proto(graph)
    onnx.checker.check_model(after)
    assert after.ByteSize() < path.stat().st_size * 1.15
    old, new = session(str(path)), session(after)
    for alternative in (False, True) if entry["alt_feeds"] else (False,):
        given = make.feeds(entry, alt=alternative)
        same(old.run(None, given), new.run(None, given), rtol=1e-4)


# alexnet and vgg19 hold up to 138 million weights, which ONNX Runtime's own start makes out of their generators: seconds
@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda p: p.stem)
def test_light(path: Path) -> None:
    graph, _ = passes.optimize(passes.load(path))
    after = passes.to_proto(graph)
    onnx.checker.check_model(after)
    assert after.ByteSize() < 1_500_000  # the weights come from generators: all in all the budget, not 244 MB
    assert "BatchNormalization" not in ops(graph)
    if any(big in path.stem for big in ("alexnet", "vgg", "zfnet")):
        pytest.skip("numbers not compared: up to half a GB of generated weights")
    [x] = graph.inputs
    given = {x.name: np.random.default_rng(0).standard_normal(tuple(x.shape)).astype(np.float32)}
    same(session(str(path)).run(None, given), session(after).run(None, given), rtol=1e-4)


@pytest.mark.parametrize("slug", NAMES)
def test_second_run_changes_nothing(slug: str, shared: Path) -> None:
    graph, _ = passes.optimize(passes.load(shared / f"{slug}.onnx"))
    before = passes.to_proto(graph).SerializeToString(deterministic=True)
    _, reports = passes.optimize(graph)
    assert [(r.name, r.notes) for r in reports if r.modified] == []
    assert passes.to_proto(graph).SerializeToString(deterministic=True) == before


def test_two_loads_give_the_same_bytes() -> None:
    path = LIGHT / "light_squeezenet.onnx"
    first, second = (passes.to_proto(passes.optimize(passes.load(path))[0]) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
