"""Chunks, children that die, samples, quantised files, SavedModels: the machinery of the check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite import child, convert, validation
from onnx2tf_lite.conversion import ConversionResult
from onnx2tf_lite.validation.original.reference import NoReferenceError, Reference
from onnx2tf_lite.validation.whole.samples import Samples

from .editor import Editor
from .kinds import int8_scale
from .models import cnn, model


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> ConversionResult:
    return convert(onnx_graph=cnn(), output_folder_path=tmp_path_factory.mktemp("out"), outputs=["float32"],
                   check="none", non_verbose=True)  # fmt: skip


@pytest.mark.parametrize("budget", [1, 3000], ids=["a layer each", "a few layers"])
def test_chunks_give_the_same_rows(converted: ConversionResult, budget: int) -> None:
    path = converted.files["float32"]
    whole, parts = (validation.check(cnn(), path, budget=b).files[0] for b in (1 << 30, budget))
    assert [(r.tensor, r.shape[1:], r.perm, r.index, r.ok) for r in whole.layers] == [
        (r.tensor, r.shape[1:], r.perm, r.index, r.ok) for r in parts.layers
    ]
    for a, b in zip(whole.layers, parts.layers, strict=True):
        assert abs(a.difference.max_rel - b.difference.max_rel) < 1e-5  # XNNPACK fuses what is not an output


def test_chunks_find_the_same_culprit(converted: ConversionResult, tmp_path: Path) -> None:
    edit = Editor(converted.files["float32"])
    (last,) = edit.indices("FULLY_CONNECTED")
    second = edit.indices("CONV_2D")[1]
    for op in (second, last):
        edit.put(op, 1, edit.data(edit.graph.operators[op].inputs[1]) * np.float32(1.5))
    path = edit.save(tmp_path / "bent.tflite")
    for budget in (1, 1 << 30):
        (file,) = validation.check(cnn(), path, budget=budget).files
        assert [r.tensor for r in file.culprits] == ["c2", "scores"]
        assert "layer 2 node_c2 introduces" in file.blame and "layer 8 node_scores introduces" in file.blame


def test_the_sentence(converted: ConversionResult, tmp_path: Path) -> None:
    edit = Editor(converted.files["float32"])
    first = edit.indices("CONV_2D")[0]
    edit.put(first, 1, edit.data(edit.graph.operators[first].inputs[1]) * np.float32(1.5))
    (file,) = validation.check(cnn(), edit.save(tmp_path / "bent.tflite")).files
    row = file.culprits[0]
    assert row.isolated is not None
    assert file.blame == (
        f"layer 1 node_r1 introduces {row.isolated.max_rel:.1e}; the 7 failing layers after it only carry it"
    )
    assert row.covers == ("node_c1", "node_r1") and row.operators == ("CONV_2D",)
    assert file.worst(1) == [row] and row.histogram is not None
    assert sum(row.histogram.reference) == sum(row.histogram.result) == np.prod(row.shape)


# ------------------------------------------------------------------------------------------------ death


@pytest.mark.skipif(not child.can_fork(), reason="without fork there is no child to die")
def test_an_abort_is_reported_with_its_operator(tmp_path: Path) -> None:
    """ADD on 8-bit integers without a scale aborts the process."""
    proto = model("g (float[1,4] x) => (float[1,4] y) { r = Relu(x)\n y = Add(r, r) }")
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    edit = Editor(made.files["float32"])
    for tensor in edit.graph.tensors:
        tensor.type = schema.TensorType.INT8
    report = validation.check(proto, edit.save(tmp_path / "abort.tflite"))
    assert report.exit_code == 2
    assert "aborted with signal 6 (SIGABRT) at operator 1 ADD (tensor 'y'" in report.files[0].verdict


@pytest.mark.skipif(not child.can_fork(), reason="without fork there is no child to die")
def test_a_reference_that_aborts_is_reported(converted: ConversionResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reference, "open", lambda *args, **kwargs: os.abort())
    report = validation.check(cnn(), converted.files["float32"])
    assert report.exit_code == 2 and "aborted with signal 6" in report.error


def test_without_fork_it_works_too(converted: ConversionResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "can_fork", lambda: False)
    report = validation.check(cnn(), converted.files["float32"])
    assert report.exit_code == 0 and len(report.files[0].layers) == 8


def test_results_of_a_child_are_arrays_of_its_own() -> None:
    arrays: dict[str, Any] = child.call(lambda: {"big": np.arange(1000.0), "empty": np.zeros((0, 3)), "text": "x"})
    assert np.array_equal(arrays["big"], np.arange(1000.0)) and arrays["empty"].shape == (0, 3)
    with pytest.raises(ZeroDivisionError):
        child.call(lambda: 1 / 0)
    with pytest.raises(TypeError, match="cannot be sent"):
        child.call(lambda: (value for value in range(3)))


# ------------------------------------------------------------------------------------------------ samples, tolerances


def test_samples(converted: ConversionResult) -> None:
    report = validation.check(cnn(), converted.files["float32"], samples=3, hints={"image": (2, 3, 12, 10)})
    assert report.exit_code == 0
    assert [s["image"] for s in report.samples] == [(2, 3, 12, 10)] * 3
    given = [{"image": np.ones((n, 3, 12, 10), np.float32)} for n in (1, 4)]
    report = validation.check(cnn(), converted.files["float32"], given)
    assert [s["image"][0] for s in report.samples] == [1, 1, 1, 1, 1] or report.samples[-1]["image"][0] == 4


def test_a_match_by_a_looser_tolerance_says_so(converted: ConversionResult, tmp_path: Path) -> None:
    edit = Editor(converted.files["float32"])
    (last,) = edit.indices("FULLY_CONNECTED")
    edit.put(last, 1, edit.data(edit.graph.operators[last].inputs[1]) * np.float32(1.01))
    path = edit.save(tmp_path / "bent.tflite")
    assert validation.check(cnn(), path).exit_code == 1
    (file,) = validation.check(cnn(), path, rtol=0.1).files
    assert file.ok and file.source == "loosened" and "only because the tolerance was LOOSENED" in file.verdict
    (same,) = validation.check(cnn(), converted.files["float32"], rtol=0.1).files
    assert same.ok and "only because" not in same.verdict, "it matches by the default as well"


@pytest.mark.parametrize("metric", ["max", "rmse", "cosine", "sqnr"])
def test_metrics_decide(converted: ConversionResult, tmp_path: Path, metric: str) -> None:
    edit = Editor(converted.files["float32"])
    second = edit.indices("CONV_2D")[1]
    weights = edit.data(edit.graph.operators[second].inputs[1])
    edit.put(second, 1, weights * np.linspace(0.5, 1.5, weights.shape[0], dtype=np.float32)[:, None, None, None])
    path = edit.save(tmp_path / "bent.tflite")
    assert validation.check(cnn(), converted.files["float32"], metric=metric).exit_code == 0
    (file,) = validation.check(cnn(), path, metric=metric).files
    assert not file.ok and [r.tensor for r in file.culprits] == ["c2"]


# ------------------------------------------------------------------------------------------------ quantised, SavedModel


def quantised_cnn() -> object:
    """A convolution and a linear layer between 8-bit tensors, as quantisation-aware exporters write them."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
    dense = rng.integers(-127, 128, (6, 6)).astype(np.int8)
    return model(
        """g (float[1,3,8,8] x) => (float[1,6] y) {
          xq = QuantizeLinear(x, sx, zero)
          xd = DequantizeLinear(xq, sx, zero)
          w = DequantizeLinear(wq, sw, zero)
          c = Conv<pads=[1,1,1,1]>(xd, w)
          cq = QuantizeLinear(c, sc, zero)
          cd = DequantizeLinear(cq, sc, zero)
          p = GlobalAveragePool(cd)
          pq = QuantizeLinear(p, sp, zero)
          pd = DequantizeLinear(pq, sp, zero)
          f = Flatten(pd)
          k = DequantizeLinear(kq, sw, zero)
          m = MatMul(f, k)
          mq = QuantizeLinear(m, sm, zero)
          y = DequantizeLinear(mq, sm, zero)
        }""",
        wq=weights, kq=dense, zero=np.array(0, np.int8), sx=np.array(0.03, np.float32), sw=np.array(0.003, np.float32),
        sc=np.array(0.05, np.float32), sp=np.array(0.01, np.float32), sm=np.array(0.002, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_scale_off_by_two_is_found(seed: int, tmp_path: Path) -> None:
    proto = quantised_cnn()
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    assert validation.check(proto, made.files["float32"], seed=seed).exit_code == 0
    edit = Editor(made.files["float32"])
    op = int8_scale(edit, np.random.default_rng(0))
    assert op is not None
    name = edit.name(edit.graph.operators[op])
    (file,) = validation.check(proto, edit.save(tmp_path / "scale.tflite"), seed=seed).files
    (row,) = file.culprits
    assert row.tensor == {"CONV_2D": "cq", "FULLY_CONNECTED": "mq"}[name] and name in row.operators
    assert all(r.isolated is not None for r in file.layers if r.operators), (
        "every layer of a quantised file is isolated"
    )


def test_a_quantised_file_is_judged_by_sqnr(tmp_path: Path) -> None:
    """The 8-bit file of a float model: here the other way round, the float model of an 8-bit file."""
    proto = model("g (float[1,16] x) => (float[1,8] y) { m = MatMul(x, k)\n y = Relu(m) }", k=(16, 8))
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    edit = Editor(made.files["float32"])
    (op,) = edit.indices("FULLY_CONNECTED")
    weights = edit.data(edit.graph.operators[op].inputs[1])
    edit.put(op, 1, np.rint(weights / np.abs(weights).max() * 127).astype(np.int8))
    table = edit.graph.tensors[edit.graph.operators[op].inputs[1]]
    table.type, quant = schema.TensorType.INT8, schema.QuantizationParametersT()
    quant.scale, quant.zeroPoint = np.array([np.abs(weights).max() / 127], np.float32), np.zeros(1, np.int64)
    table.quantization = quant
    (file,) = validation.check(proto, edit.save(tmp_path / "dynamic.tflite")).files
    assert file.kind == "quantised" and file.metric == "sqnr" and file.ok, file.verdict
    assert all(20 < r.difference.sqnr < 80 for r in file.layers)
    quant.scale = quant.scale * 2
    (bent,) = validation.check(proto, edit.save(tmp_path / "bent.tflite")).files
    assert [r.tensor for r in bent.culprits] == ["y"] and "dB" in bent.blame


@pytest.mark.parametrize("batch", ["1", "N"], ids=["static", "dynamic"])
def test_layers_of_a_saved_model(tmp_path: Path, batch: str) -> None:
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    proto = cnn(batch)
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["saved_model"], check="layers",
                   non_verbose=True)  # fmt: skip
    assert made.check is not None
    (file,) = made.check.files
    assert file.ok and {"r1", "c2", "s2", "c3", "t3", "pool", "flat", "scores"} == {r.tensor for r in file.layers}
    assert next(r for r in file.layers if r.tensor == "r1").perm == (0, 2, 3, 1)
    (tmp_path / "assets.extra" / "onnx2tf_lite.map").unlink()
    (foreign,) = validation.check(proto, tmp_path).files
    assert foreign.ok and foreign.matched == "names and shapes" and not foreign.layers
    assert "matches: 7 of 7 layers, 100 % of the weights (8 layers; " in file.verdict
    assert "matches: 0 of 1 layers, 0 %" in foreign.verdict and "only files of this package say" in foreign.verdict


def test_a_foreign_saved_model_with_branches_says_what_was_not_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    proto = model("""g (float[1,4] x, bool flag) => (float[1,4] z) {
      z = If<then_branch = t () => (float[1,4] one) { one = MatMul(x, m1) },
             else_branch = e () => (float[1,4] two) { two = MatMul(x, m2) }>(flag)
    }""", m1=(4, 4), m2=(4, 4))  # fmt: skip
    convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["saved_model"], check="none", non_verbose=True)
    (tmp_path / "assets.extra" / "onnx2tf_lite.map").unlink()
    report = validation.check(proto, tmp_path, require_coverage=1)
    assert report.exit_code == 1
    (file,) = report.files
    assert file.agrees and "0 of 1 layers, 0 of 2 branches" in file.verdict
    assert "the branches of 'z' (but for those that the inputs led into)" in file.verdict


def test_layers_whose_operators_have_usual_types(tmp_path: Path) -> None:
    """TensorFlow drops the attributes that have their default, the type of a MaxPool among them."""
    pytest.importorskip("tensorflow", reason="SavedModels need TensorFlow")
    proto = model(
        """g (float[1,3,8,8] x) => (float[1,3,2,2] y) {
          p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
          s = Sigmoid(p)
          y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(s)
        }"""
    )
    made = convert(onnx_graph=proto, output_folder_path=tmp_path, outputs=["saved_model"], check="layers",
                   non_verbose=True)  # fmt: skip
    assert made.check is not None and made.exit_code == 0
    assert [r.tensor for r in made.check.files[0].layers] == ["p", "s", "y"]


def test_a_transpose_says_between_which_nodes_it_is(tmp_path: Path) -> None:
    """Channels become rows between the two convolutions."""
    net = model(
        """turned (float[1,3,8,8] x) => (float[1,4,8,6] y) {
          a = Conv(x, w1)
          c = Transpose<perm=[0,2,1,3]>(a)
          y = Conv(c, w2)
        }""",
        w1=(8, 3, 3, 3),
        w2=(4, 6, 1, 1),
    )
    for node in net.graph.node:
        node.name = f"node_{node.output[0]}"
    made = convert(onnx_graph=net, output_folder_path=tmp_path, outputs=["float32"], check="none", non_verbose=True)
    (move,) = validation.check(net, made.files["float32"]).files[0].transposes
    assert "'node_a'" in move.reason and "'node_y'" in move.reason and move.bytes == 8 * 6 * 6 * 4


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_half_a_comparison_is_no_match(
    converted: ConversionResult, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference fails after some chunks: what was compared until then does not make the file right."""
    read, left = Samples.read, iter([True] * reads)

    def failing(self: Samples, names: list[str]) -> None:
        if not next(left, False):
            raise NoReferenceError("out of memory")
        read(self, names)

    monkeypatch.setattr(Samples, "read", failing)
    report = validation.check(cnn(), converted.files["float32"], budget=1)
    assert report.exit_code == 2 and "out of memory" in report.files[0].error
