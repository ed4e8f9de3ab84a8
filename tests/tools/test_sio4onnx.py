"""sio4onnx: declared shapes, true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx2tf_lite.tools import ToolError
from onnx2tf_lite.tools.sio4onnx import io_change

from . import models
from .cli import Cli, cli, listing
from .models import F, info, node

__all__ = ["cli"]


def changed(before: ModelProto, inputs: Any = None, outputs: Any = None) -> ModelProto:
    """``inputs`` and ``outputs``: name -> shape."""
    inputs, outputs = inputs or {}, outputs or {}
    after = io_change(
        onnx_graph=before, input_names=[*inputs], input_shapes=[*inputs.values()], output_names=[*outputs],
        output_shapes=[*outputs.values()], non_verbose=True,
    )  # fmt: skip
    onnx.checker.check_model(after, full_check=True)
    return after


def shapes(model: ModelProto) -> dict[str, list[int | str]]:
    """Of inputs and outputs."""
    ends = (*model.graph.input, *model.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in ends}


def test_the_known_command(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "resizedyn")
    words = ["-i", "x", "-is", "2", "3", "4", "4", "-o", "y", "-os", "2", "3", "8", "8"]
    result = cli("sio4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == 0, result.err
    after = onnx.load(tmp_path / "o.onnx")
    assert shapes(after) == {"x": [2, 3, 4, 4], "y": [2, 3, 8, 8]}
    given = models.feeds(after)
    models.assert_same(models.run(after, given), models.run(source, given))


CHANGES = [
    pytest.param("resizedyn", {"x": ["batch", 3, 4, 4]}, {"x": ["batch", 3, 4, 4], "y": ["batch", 3, 8, 8]},
                 id="name to name"),
    pytest.param("resizedyn", {"x": [5, 3, 4, 4]}, {"x": [5, 3, 4, 4], "y": [5, 3, 8, 8]}, id="name to number"),
    pytest.param("cnn", {"x": ["N", 3, 16, 16]}, {"x": ["N", 3, 16, 16], "y": ["N", 4]}, id="number to name"),
    pytest.param("cnn", {"x": [2, 3, 16, 16]}, {"x": [2, 3, 16, 16], "y": [2, 4]}, id="number to number"),
    pytest.param("cnn", {"x": [1, 3, 24, 20]}, {"x": [1, 3, 24, 20], "y": [1, 4]}, id="height and width"),
    pytest.param("cnn", {"x": [2, 3, "H", "W"]}, {"x": [2, 3, "H", "W"], "y": [2, 4]}, id="some of each"),
    pytest.param("cnn", {"x": [-1, 3, 16, 16]}, {"x": ["-1", 3, 16, 16], "y": ["-1", 4]}, id="negative is a name"),
    pytest.param("convbn", {"x": [2, 3, 10, 8]}, {"x": [2, 3, 10, 8], "y": [2, 4, 8, 6]}, id="convolution"),
    pytest.param("flat", {"x": [3, 4, 4]}, {"x": [3, 4, 4], "y": [3, 16]}, id="shape in a constant"),
    pytest.param("flatc", {"x": [3, 4, 4]}, {"x": [3, 4, 4], "y": [3, 16]}, id="shape in a Constant node"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "expected"), CHANGES)
def test_inputs(name: str, inputs: dict[str, Any], expected: dict[str, Any]) -> None:
    before = models.build(name)
    after = changed(before, inputs)
    assert shapes(after) == expected
    given = models.feeds(after, size=3 if "H" not in str(expected) else 9)
    (x,) = given.values()
    rows = [models.run(after, {"x": x[k : k + 1]})["y"] for k in range(len(x))] if "N" in str(expected) else None
    got = models.run(after, given)["y"]
    assert got.shape[0] == len(x) and (rows is None or np.allclose(got, np.concatenate(rows), atol=1e-5))


@pytest.mark.parametrize("name", ["cnn", "convbn", "flat", "flatc"])
def test_more_rows_give_what_each_gives(name: str) -> None:
    before = models.build(name)
    declared = shapes(before)["x"]
    after = changed(before, {"x": [3, *declared[1:]]})
    given = [models.feeds(before, k)["x"] for k in range(3)]
    wanted = np.concatenate([models.run(before, {"x": x})["y"] for x in given])
    models.assert_same(models.run(after, {"x": np.concatenate(given)}), {"y": wanted}, rtol=1e-4)


REAL = [
    pytest.param("yunet_n_dynamic", [1, 3, 64, 96], id="yunet: sizes"),
    pytest.param("super_resolution_espcn", [2, 1, 40, 30], id="espcn: another image"),
    pytest.param("mnist_8", [2, 1, 28, 28], id="mnist: two at once"),
    pytest.param("unet.ts13", [1, 3, 32, 48], id="unet: sizes"),
    pytest.param("conv_bn_relu.dynamo", [4, 3, 20, 12], id="dynamo: batch and image"),
    pytest.param("resnet_block.ts11", [2, 3, 64, 32], id="resnet: batch and image"),
]


@pytest.mark.parametrize(("slug", "wanted"), REAL)
def test_real_models(slug: str, wanted: list[int], tmp_path: Path) -> None:
    """The result takes that shape; each row of it is what the model gives for that row."""
    (found,) = models.real(slug)
    (path,) = found.values
    if path is None:
        pytest.skip("the shared models are not beside this checkout")
    before = onnx.load(path)
    held = {t.name for t in before.graph.initializer}
    x = next(v.name for v in before.graph.input if v.name not in held)
    after = changed(before, {x: wanted})
    assert shapes(after)[x] == wanted
    image = np.random.default_rng(0).standard_normal(wanted).astype(np.float32)
    got = models.run(after, {x: image})
    for name, array in got.items():
        assert all(d in (0, k) for d, k in zip(shapes(after)[name], array.shape, strict=True) if isinstance(d, int))
    if slug in ("yunet_n_dynamic", "mnist_8", "unet.ts13"):
        rows = [models.run(path, {x: image[k : k + 1]}) for k in range(wanted[0])]
        models.assert_same(got, {n: np.concatenate([r[n] for r in rows]) for n in got}, rtol=1e-3)


def test_only_what_changes_needs_naming() -> None:
    before = models.build("scalarin")
    assert shapes(changed(before, {"x": [4, 3]})) == {"x": [4, 3], "s": [], "y": [4, 3]}


def test_a_scalar_has_no_dimensions(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "scalarin")
    words = ["-i", "x", "-is", "4", "3", "-i", "s", "-is", "-o", "y", "-os", "4", "3"]
    result = cli("sio4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words)
    assert result.code == 0, result.err
    assert shapes(onnx.load(tmp_path / "o.onnx")) == {"x": [4, 3], "s": [], "y": [4, 3]}


def test_outputs_alone() -> None:
    after = changed(models.build("resizedyn"), None, {"y": ["rows", 3, 8, 8]})
    assert shapes(after) == {"x": ["rows", 3, 4, 4], "y": ["rows", 3, 8, 8]}


def test_rename_dim(cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "resizedyn")
    result = cli("sio4onnx", "-if", source, "-of", tmp_path / "o.onnx", "--rename-dim", "N=batch")
    assert result.code == 0, result.err
    assert shapes(onnx.load(tmp_path / "o.onnx")) == {"x": ["batch", 3, 4, 4], "y": ["batch", 3, 8, 8]}
    result = cli("sio4onnx", "-if", source, "-of", tmp_path / "p.onnx", "--rename-dim", "N=6")
    assert result.code == 0 and shapes(onnx.load(tmp_path / "p.onnx")) == {"x": [6, 3, 4, 4], "y": [6, 3, 8, 8]}


WRONG = [
    pytest.param("-i x -is N 3 16", "'x' is [1, 3, 16, 16], of rank 4", id="too few"),
    pytest.param("-i x -is N 3 16 16 1", "has rank 5", id="too many"),
    pytest.param("-i X -is N 3 16 16", "no graph input 'X'; nearest: 'x'", id="input"),
    pytest.param("-o z -os 1 4", "no graph output 'z'; nearest: 'y'", id="output"),
    pytest.param("-i x", "-i and -is go in pairs: 1 name(s), 0 shape(s)", id="pairs"),
    pytest.param("-o y -os N 4", "'y' cannot be ['N', 4]: Gemm 'gemm0' makes [1, 4]", id="output of a number"),
    pytest.param("-o y -os 1 5", "Gemm 'gemm0' makes [1, 4]", id="another number"),
    pytest.param("-i x -is 1 4 16 16", "conv0", id="channels of the weights"),
    pytest.param("--rename-dim M=2", "no dimension 'M'", id="dimension"),
]


@pytest.mark.parametrize(("words", "what"), WRONG)
def test_wrong_requests_write_nothing(words: str, what: str, cli: Cli, tmp_path: Path) -> None:
    (source,) = models.write(tmp_path, "cnn")
    result = cli("sio4onnx", "-if", source, "-of", tmp_path / "o.onnx", *words.split())
    assert result.code == 1 and what in result.err, result.err
    assert listing(tmp_path) == ["cnn.onnx"]


def test_a_baked_in_size_is_an_error() -> None:
    """The factor per pixel is a constant of the old size."""
    layer = node("Mul", ["x", "k"], ["y"], "mul")
    before = models.model([layer], [info("x", F, [2, 3])], [info("y", F, [2, 3])], [models.weights("k", 2, 3)])
    with pytest.raises(ToolError, match="mul"):
        changed(before, {"x": [4, 3]})


def shared_name() -> ModelProto:
    """Two results of other lengths whose dimension has one name, as dynamic_axes writes it."""
    nodes = [node("Compress", ["x", f"c{i}"], [f"y{i}"], f"comp{i}", axis=0) for i in (1, 2)]
    picks = [numpy_helper.from_array(np.array([1, 1, i, 0], bool), f"c{2 - i}") for i in (1, 0)]
    return models.model(nodes, [info("x", F, ["n"])], [info("y1", F, ["dim"]), info("y2", F, ["dim"])], picks)


@pytest.mark.parametrize("own", [([3], [2]), (["a"], ["b"])])
def test_a_name_that_outputs_share_is_changed_for_one(own: tuple[list[Any], list[Any]]) -> None:
    size = 4 if own[0] == [3] else "n"
    after = changed(shared_name(), {"x": [size]}, dict(zip(["y1", "y2"], own, strict=True)))
    assert shapes(after) == {"x": [size], "y1": own[0], "y2": own[1]}


def test_a_length_that_the_inputs_say_is_not_changed() -> None:
    before = models.model([node("Neg", ["x"], ["y"], "neg")], [info("x", F, ["n"])], [info("y", F, ["m"])])
    with pytest.raises(ToolError, match=r"'y' cannot be \[3\]: Neg 'neg' makes \[4\]"):
        changed(before, {"x": [4]}, {"y": [3]})
