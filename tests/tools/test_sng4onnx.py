"""sng4onnx: every node gets a name of its own, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sng4onnx import generate

from . import models
from .cli import Cli, cli
from .models import F, info, node

__all__ = ["cli"]


def nodes(holder: Any) -> list[Any]:
    """All nodes of a model, a graph or a function, in bodies too."""
    if isinstance(holder, ModelProto):
        return nodes(holder.graph) + [n for f in holder.functions for n in nodes(f)]
    inner = [(n, [a.g for a in n.attribute if a.HasField("g")]) for n in holder.node]
    return [m for n, bodies in inner for m in [n, *(k for b in bodies for k in nodes(b))]]


def unnamed(model: ModelProto) -> ModelProto:
    for n in nodes(model):
        n.name = ""
    return model


def without_names(model: ModelProto) -> bytes:
    copy = ModelProto()
    copy.CopyFrom(model)
    return unnamed(copy).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", [n for n in models.NAMES if n != "many"])
@pytest.mark.parametrize("scheme", ["type", "output", "scope"])
def test_changes_names_of_nodes_and_nothing_else(name: str, scheme: str) -> None:
    before = unnamed(models.build(name))
    after = generate(onnx_graph=before, scheme=scheme, non_verbose=True, check=False)
    assert without_names(after) == before.SerializeToString(deterministic=True)
    names = [n.name for n in nodes(after)]
    assert all(names) and len(names) == len(set(names))
    assert generate(onnx_graph=after, scheme=scheme, non_verbose=True, check=False) == after


REAL = ("silero_vad_16k_op15", "yolox_nano_416", "mobilenet_v2_qdq", "if_torch_cond.dynamo", "loop_scripted.ts17")


@pytest.mark.parametrize("path", models.real(*REAL))
def test_real_models(path: Path, tmp_path: Path) -> None:
    stripped = unnamed(onnx.load(path))
    onnx.save(stripped, tmp_path / "m.onnx")
    generate(str(tmp_path / "m.onnx"), output_onnx_file_path=str(tmp_path / "o.onnx"), non_verbose=True)
    after = onnx.load(tmp_path / "o.onnx")
    names = [n.name for n in nodes(after)]
    assert without_names(after) == stripped.SerializeToString(deterministic=True)
    assert all(names) and len(names) == len(set(names))


def test_one_number_runs_over_all_nodes(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn_unnamed")
    result = cli("sng4onnx", "-if", source, "-of", tmp_path / "o.onnx")
    assert "named 8 of 8 nodes" in result.text
    kinds = ["Conv", "Relu", "Conv", "Add", "Relu", "GlobalAveragePool", "Reshape", "Gemm"]
    assert [n.name for n in onnx.load(tmp_path / "o.onnx").graph.node] == [f"sng_{k}_{i}" for i, k in enumerate(kinds)]


def test_only_unnamed_nodes_count() -> None:
    before = models.build("branch")
    before.graph.node[1].name = before.graph.node[3].name = ""
    names = [n.name for n in generate(onnx_graph=before, non_verbose=True).graph.node]
    assert names == ["relu0", "sng_Neg_0", "abs0", "sng_Exp_1", "add0"]


def test_a_generated_name_is_not_one_that_exists() -> None:
    before = models.build("ma")
    before.graph.node[0].name, before.graph.node[1].name = "", "sng_Relu_0"
    assert [n.name for n in generate(onnx_graph=before, non_verbose=True).graph.node] == ["sng_Relu_1", "sng_Relu_0"]


def test_duplicates_are_repaired() -> None:
    before = models.build("ifm")
    before.graph.node[0].name = "neg"  # as a node of each branch is called
    names = [n.name for n in nodes(generate(onnx_graph=before, non_verbose=True))]
    assert names[0] == "neg" and len(names) == len(set(names)) == 6


@pytest.mark.parametrize(
    ("scheme", "output", "expected"),
    [
        ("output", "/enc/MatMul_output_0", "/enc/MatMul_output_0"),
        ("scope", "/enc/MatMul_output_0", "/enc/MatMul"),
        ("scope", "dense/BiasAdd:0", "dense/BiasAdd"),
        ("scope", "plain", "plain"),
    ],
)
def test_schemes(scheme: str, output: str, expected: str) -> None:
    layers = [node("Relu", ["x"], [output]), node("Neg", [output], ["y"], "neg")]
    before = models.model(layers, [info("x", F, [2])], [info("y", F, [2])])
    assert generate(onnx_graph=before, scheme=scheme, non_verbose=True).graph.node[0].name == expected


def test_empty_lists_functions_and_domains_survive() -> None:
    for name in ("emptyl", "func", "custom", "seqm"):
        before = models.build(name)
        assert generate(onnx_graph=before, non_verbose=True, check=False) == before


def test_other_arguments() -> None:
    with pytest.raises(ToolError, match="--scheme: 'kind' is none of type, output, scope"):
        generate(onnx_graph=models.build("ma"), scheme="kind")
    assert generate(onnx_graph=models.build("ma"), has_external_data=True, non_verbose=True) == models.build("ma")
