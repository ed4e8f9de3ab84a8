"""soa4onnx adds outputs, sod4onnx deletes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.soa4onnx import outputs_add
from onnx2tf_lite.tools.sod4onnx import outputs_delete

from . import models
from .cli import Cli, cli

__all__ = ["cli"]
REAL = models.real("mnist_8", "vittrack", "yunet_n_dynamic", "silero_vad_16k_op15", "sentence_bilstm", "dtln_stage2")


def names(model: onnx.ModelProto) -> list[str]:
    return [v.name for v in model.graph.output]


def test_inputs_weights_and_results_can_be_outputs() -> None:
    before = models.build("cnn")
    after = outputs_add(onnx_graph=before, output_op_names=["x", "w0", "c?"], non_verbose=True)
    assert names(after) == ["y", "x", "w0", "c0", "c1"]
    given = models.feeds(before)
    found = models.run(after, given)
    np.testing.assert_array_equal(found["x"], given["x"])
    models.assert_same({"y": found["y"]}, models.run(before, given))


def test_no_output_twice(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("soa4onnx", "-if", source, "-on", "y", "r0", "r0", "-d", "-of", tmp_path / "o.onnx")
    assert "y is an output already" in result.text and names(onnx.load(tmp_path / "o.onnx")) == ["y", "r0"]


def test_by_type_and_all() -> None:
    model = models.build("cnn")
    assert names(outputs_add(onnx_graph=model, op_types=["Relu"], non_verbose=True)) == ["y", "r0", "r1"]
    assert names(outputs_add(onnx_graph=model, all_tensors=True, non_verbose=True)) == [
        "y", "c0", "r0", "c1", "a0", "r1", "g0", "f0",
    ]  # fmt: skip
    with pytest.raises(ToolError, match="--type: no 'Relo' in the main graph"):
        outputs_add(onnx_graph=model, op_types=["Relo"], non_verbose=True)


def test_type_that_only_the_runtime_knows() -> None:
    """Inverse of com.microsoft is unknown to onnx."""
    model = models.build("custom")
    model.graph.node.append(helper.make_node("Neg", ["y"], ["z"], "neg"))
    model.graph.output[0].name = "z"
    after = outputs_add(onnx_graph=model, output_op_names=["y"], non_verbose=True)
    assert [d.dim_value for d in after.graph.output[1].type.tensor_type.shape.dim] == [2, 3, 3]
    with pytest.raises(ToolError, match="the type of t is unknown"):
        outputs_add(onnx_graph=models.build("emptyl"), output_op_names=["t"], non_verbose=True)


def test_values_of_a_loop_become_one_output() -> None:
    before = models.build("loopm")
    with pytest.raises(ToolError, match="'loop0/body:next' has a value in each turn of the loop"):
        outputs_add(onnx_graph=before, output_op_names=["next"], non_verbose=True)
    after = outputs_add(onnx_graph=before, output_op_names=["next"], scan_outputs=True, non_verbose=True)
    x = models.feeds(before)["x"]
    np.testing.assert_allclose(
        models.run(after, {"x": x})["next_scan"], np.stack([x + k * np.abs(x) for k in (1, 2, 3)]), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "tensor", "why"), [("ifm", "then_t", "is in a branch"), ("func", "sq", "is in a function")]
)
def test_no_one_value(name: str, tensor: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        outputs_add(onnx_graph=models.build(name), output_op_names=[tensor], scan_outputs=True, non_verbose=True)


@pytest.mark.parametrize("path", REAL)
def test_added_outputs_of_real_models(path: Path, tmp_path: Path) -> None:
    """Every tenth tensor; against ONNX Runtime's view of the same tensors, exposed without types."""
    whole = onnx.load(path)
    given = models.real_feeds(path)
    own = names(whole)
    chosen = [o for n in whole.graph.node[::10] for o in n.output[:1] if o and o not in own]
    outputs_add(str(path), output_op_names=chosen, output_onnx_file_path=str(tmp_path / "o.onnx"), non_verbose=True)
    whole.graph.output.extend(onnx.ValueInfoProto(name=n) for n in chosen)
    models.assert_same(models.run(tmp_path / "o.onnx", given), models.run(whole, given))


def test_delete_removes_what_only_served_them(cli: Cli, tmp_path: Path) -> None:
    model = outputs_add(onnx_graph=models.build("branch"), output_op_names=["a", "e"], non_verbose=True)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    words = ["-on", "e", "--keep", "-of", tmp_path / "o.onnx"]
    result = cli("sod4onnx", "-if", tmp_path / "m.onnx", *words)
    assert "deleted output(s): y, a" in result.text and "removed with them: 2 node(s)" in result.text
    assert models.describe(onnx.load(tmp_path / "o.onnx")) == "x | relu0:Relu(x)->r neg0:Neg(r)->n exp0:Exp(n)->e | e"


def test_one_output_must_remain(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sod4onnx", "-if", source, "-on", "y", "-of", tmp_path / "o.onnx")
    assert result.code == 1 and "nothing would remain" in result.err and not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("prune", [False, True])
def test_inputs_stay_unless_pruned(prune: bool) -> None:
    model = models.build("scalarin")
    model.graph.output.append(models.info("x", models.F, [2, 3]))
    after = outputs_delete(onnx_graph=model, output_op_names=["y"], prune_inputs=prune, non_verbose=True)
    assert [v.name for v in after.graph.input] == (["x"] if prune else ["x", "s"])
    assert not after.graph.node


def test_what_was_dead_before_stays() -> None:
    """topk's indices are read by nobody, before as after."""
    model = models.build("topk")
    model.graph.node.append(helper.make_node("Neg", ["values"], ["unused"], "idle"))
    model.graph.output.append(models.info("values", models.F, [2, 3]))
    after = outputs_delete(onnx_graph=model, output_op_names=["values"], non_verbose=True)
    assert [n.name for n in after.graph.node] == ["topk0", "relu0", "idle"]


@pytest.mark.parametrize("path", REAL)
def test_all_but_one_output_of_real_models(path: Path) -> None:
    whole = onnx.load(path)
    given = models.real_feeds(path)
    last = names(whole)[-1]
    after = outputs_delete(onnx_graph=whole, output_op_names=[last], keep=True, non_verbose=True)
    entries = {v.name for v in after.graph.input}
    models.assert_same(
        models.run(after, {n: a for n, a in given.items() if n in entries}), {last: models.run(whole, given)[last]}
    )
