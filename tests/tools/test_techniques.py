"""The techniques of the article that the converter and the tools have to show, by their number there.

A making models, B looking into them, C tuning.  What another test file shows in full is only listed here:
A5 and A6 sog4onnx and recipes, B1 B3 B5 test_sit4onnx.py, B6 test_json.py, B8 test_sed4onnx.py, B10 test_ssc4onnx.py.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx2tf_lite import ConversionError, convert, passes
from onnx2tf_lite.tools import parts, soc4onnx
from tests.harness import compile_model

from . import models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "tuning"
Arrays = dict[str, np.ndarray]


def examples() -> Any:
    spec = importlib.util.spec_from_file_location("make_models", EXAMPLES / "make_models.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


MAKE = examples()


def converted(model: ModelProto | Path, folder: Path, **options: Any) -> dict[str, int]:
    """The operators of the .tflite; its outputs are compared with ONNX Runtime's by the converter."""
    source = {"onnx_graph": model} if isinstance(model, ModelProto) else {"input_onnx_file_path": model}
    result = convert(output_folder_path=folder, outputs=("float32",), non_verbose=True, **source, **options)
    assert result.exit_code == 0
    found: dict[str, int] = result.report["operators"]
    return found


def tuned(model: ModelProto, **options: Any) -> tuple[ModelProto, dict[str, list[str]]]:
    """What the passes make of a model, and their notes."""
    graph, reports = passes.optimize(passes.load(model), passes.PassOptions(**options))
    notes: dict[str, list[str]] = {}
    for report in reports:
        notes.setdefault(report.name, []).extend(report.notes)
    return passes.to_proto(graph), notes


def types(model: ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def same(before: ModelProto, after: ModelProto, feeds: Arrays, rtol: float = 1e-5) -> None:
    for a, b in zip(models.run(before, feeds).values(), models.run(after, feeds).values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol * float(np.abs(a).max()))


# --- A: making models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MAKE.MODELS))
def test_example_files_are_what_their_script_makes(name: str) -> None:
    assert (EXAMPLES / f"{name}.onnx").read_bytes() == MAKE.MODELS[name]().SerializeToString(deterministic=True)


@pytest.mark.parametrize("opset", [11, 17])
def test_a1_layer_normalization_converts_without_options(opset: int, tmp_path: Path) -> None:
    path = EXAMPLES / f"LayerNormalization2D_{opset}.onnx"
    assert len(onnx.load(path).graph.node) == {11: 11, 17: 1}[opset]
    converted(path, tmp_path)


def test_a1_both_opsets_become_the_same_program() -> None:
    """Operation for operation: kinds, attributes, shapes and constants."""
    programs = [compile_model(MAKE.layer_normalization(opset), tune=True) for opset in (11, 17)]

    def described(graph: Any) -> list[Any]:
        held = [[None if v is None or v.data is None else v.data.tobytes() for v in o.inputs] for o in graph.ops]
        made = [(o.kind.name, o.attrs, [v.shape for v in o.outputs]) for o in graph.ops]
        return list(zip(made, held, strict=True))

    first, second = map(described, programs)
    assert first == second
    assert len(first) > 1


def test_a1_outputs_are_those_of_the_definition() -> None:
    x = np.random.default_rng(0).standard_normal((20, 5, 10, 10)).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = wide.mean((1, 2, 3), keepdims=True), wide.var((1, 2, 3), keepdims=True)
    expected = (wide - mean) / np.sqrt(var + 1e-5) * 0.1 + 0.2
    for opset in (11, 17):
        (y,) = models.run(MAKE.layer_normalization(opset), {"LayerNormalization2D_input": x}).values()
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(11, 17), (17, 11)], ids=["up", "down"])
def test_a1_from_one_opset_to_the_other(old: int, new: int) -> None:
    """Down, the operator becomes simple ones; up, the chain stays one, and tuning makes the operator of it."""
    before = MAKE.layer_normalization(old)
    after = soc4onnx.change(new, onnx_graph=before, non_verbose=True)
    assert after.opset_import[0].version == new
    x = np.random.default_rng(0).standard_normal((20, 5, 10, 10)).astype(np.float32)
    same(before, after, {"LayerNormalization2D_input": x})
    assert "LayerNormalization" not in types(after)
    if new == 17:
        assert types(tuned(after)[0]) == ["LayerNormalization"]


def test_a1_tuning_makes_one_operator_of_eleven() -> None:
    after, _ = tuned(MAKE.layer_normalization(11))
    assert types(after) == ["LayerNormalization"]


def test_a2_inference_and_simplification_run_alone() -> None:
    graph = passes.load(MAKE.conv_bn_relu_bn())
    inner = [t for n in graph.nodes for t in n.outputs]
    for tensor in inner:
        tensor.shape = None
    passes.run("shapes", graph)
    assert [list(t.shape) for t in inner] == [[1, 6, 16, 16]] * 4
    graph = passes.load(MAKE.resize_sizes())
    passes.run("simplify", graph, passes.PassOptions(simplify="always"))
    assert [n.op for n in graph.nodes] == ["Resize"]


def test_a4_graphsurgeon_snippet_equals_the_file(tmp_path: Path) -> None:
    """GlobalLpPool without PyTorch; square root of the sum of squares over the image."""
    x = gs.Variable("X", np.float32, [1, 3, 5, 5])
    y = gs.Variable("Y", np.float32, [1, 3, 1, 1])
    node = gs.Node("GlobalLpPool", "GlobalLpPool1", {"p": 2}, [x], [y])
    model = gs.export_onnx(gs.Graph(nodes=[node], inputs=[x], outputs=[y], opset=11))
    wanted = MAKE.global_lp_pool()
    assert model.graph.node == wanted.graph.node
    assert (model.graph.input, model.graph.output) == (wanted.graph.input, wanted.graph.output)
    values = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float32)
    (found,) = models.run(wanted, {"X": values}).values()
    np.testing.assert_allclose(found, np.sqrt((values**2).sum((2, 3), keepdims=True)), rtol=1e-5)
    converted(wanted, tmp_path)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
def test_a8_suppression_of_several_images_and_classes(fixed: bool, tmp_path: Path) -> None:
    """TFLite's operator does one class of one image; the converter compares row for row, order included."""
    rng = np.random.default_rng(3)
    corner, size = rng.uniform(0, 40, (2, 30, 2)), rng.uniform(5, 25, (2, 30, 2))
    feeds = {
        "boxes": np.concatenate([corner, corner + size], -1).astype(np.float32),
        "scores": rng.permutation(180).reshape(2, 3, 30).astype(np.float32) / 180,
    }
    model = parts.make("Z004", boxes=30, classes=3, batch=2, max_boxes=8, fixed=fixed)
    counts = converted(model, tmp_path, test_data=feeds, keep_shape_absolutely_input_names=list(feeds))
    assert counts["NON_MAX_SUPPRESSION_V4"] == 6
    rows = models.run(model, feeds)["selected_indices"]
    assert {tuple(r) for r in rows[:, :2] if r[0] >= 0} == {(b, c) for b in (0, 1) for c in (0, 1, 2)}


def test_a9_times_one_is_kept_on_request(tmp_path: Path) -> None:
    model = parts.make("Z007", boxes=40)
    assert types(tuned(model)[0]) == ["NonMaxSuppression"]
    assert types(tuned(model, keep_nodes=frozenset({"nms_mul"}))[0]) == ["NonMaxSuppression", "Mul"]
    without = converted(model, tmp_path)["MUL"]  # areas of boxes
    assert converted(model, tmp_path, keep_nodes=["nms_mul"])["MUL"] == without + 1
    with pytest.raises(ConversionError, match="nms_mul"):
        converted(model, tmp_path, keep_nodes=["nms_mull"])


# --- B: looking into models ------------------------------------------------------------------------------------------


def test_b7_numbers_of_the_types() -> None:
    """The article's table."""
    numbers = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9,
               "float16": 10, "float64": 11, "uint32": 12, "uint64": 13}  # fmt: skip
    assert {n: int(helper.np_dtype_to_tensor_dtype(np.dtype(n))) for n in numbers} == numbers


@pytest.mark.parametrize("name", ["N", "-1"])
def test_b9_names_of_dimensions_survive(name: str, tmp_path: Path) -> None:
    """What is no name, -1, is no dimension of its own either; in the .tflite both are open."""
    from ai_edge_litert.interpreter import Interpreter

    model = models.build("branch")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = name
    after, _ = tuned(model)
    dim = after.graph.input[0].type.tensor_type.shape.dim[0]
    assert dim.dim_param == ("" if name == "-1" else name) and not dim.HasField("dim_value")
    files = convert(onnx_graph=model, output_folder_path=tmp_path, outputs=("float32",), non_verbose=True).files
    detail = Interpreter(str(files["float32"])).get_input_details()[0]
    assert detail["shape_signature"][0] == -1


# --- C: tuning -------------------------------------------------------------------------------------------------------


def test_c1_simplify_says_what_it_removed() -> None:
    graph = passes.load(models.build("resizedyn"))
    for tensor in graph.inputs:
        tensor.shape = [2, *tensor.shape[1:]]
    result = passes.run("simplify", graph, passes.PassOptions(simplify="always"))
    assert any("round" in note and "removed" in note for note in result.notes)


def test_c2_c3_batch_normalization() -> None:
    """Behind the Conv it is in the weights, behind the Relu it is one Mul and one Add; exact in float64."""
    before = MAKE.conv_bn_relu_bn()
    after, _ = tuned(before)
    assert types(after) == ["Conv", "Relu", "Mul", "Add"]
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    same(before, after, {"x": x}, rtol=1e-6)


def test_c3_no_transpose_around_it(tmp_path: Path) -> None:
    assert converted(EXAMPLES / "conv_bn_relu_bn.onnx", tmp_path) == {"ADD": 1, "CONV_2D": 1, "MUL": 1}


CONVOLUTIONS = [("Conv", (6, 4, 3, 3), 1), ("Conv", (6, 2, 3, 3), 2), ("ConvTranspose", (4, 6, 3, 3), 1),
                ("ConvTranspose", (4, 3, 3, 3), 2)]  # fmt: skip


@pytest.mark.parametrize(("op", "weight", "group"), CONVOLUTIONS, ids=[f"{o}-group{g}" for o, _, g in CONVOLUTIONS])
def test_c2_folds_into_convolutions(op: str, weight: tuple[int, ...], group: int) -> None:
    rng = np.random.default_rng(1)
    held = {"w": rng.standard_normal(weight)} | {n: rng.uniform(0.5, 2, 6) for n in ("s", "b", "m", "v")}
    statistics = {name: values.astype(np.float32) for name, values in held.items()}
    nodes = [
        helper.make_node(op, ["x", "w"], ["c"], group=group),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    size = 6 if op == "Conv" else 10
    before = MAKE.model(nodes, {"x": (1, 4, 8, 8)}, {"y": (1, 6, size, size)}, 13, **statistics)
    after, _ = tuned(before)
    assert types(after) == [op]
    same(before, after, {"x": rng.standard_normal((1, 4, 8, 8)).astype(np.float32)}, rtol=2e-6)


def test_c4_sizes_of_a_resize_are_a_constant(tmp_path: Path) -> None:
    after, _ = tuned(MAKE.resize_sizes())
    assert types(after) == ["Resize"]
    sizes = {t.name: t for t in after.graph.initializer}[after.graph.node[0].input[3]]
    assert numpy_helper.to_array(sizes).tolist() == [1, 3, 40, 60]
    counts = converted(EXAMPLES / "resize_sizes.onnx", tmp_path)
    assert counts["RESIZE_BILINEAR"] == 1
    assert set(counts) <= {"RESIZE_BILINEAR", "TRANSPOSE", "RESHAPE"}


def test_c4_open_sizes_are_computed(tmp_path: Path) -> None:
    """Nothing is frozen: the same file at two sizes."""
    model = MAKE.resize_sizes("H", "W")
    after, _ = tuned(model)
    assert "Resize" in types(after) and len(types(after)) > 1
    for size in ((20, 30), (7, 9)):
        x = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
        counts = converted(model, tmp_path, test_data={"x": x})
        assert counts["RESIZE_BILINEAR"] == 1


REPEATED = models.real("silero_vad_16k_op15", "ppocr_rec_en_number", "vittrack", "yolox_nano_416")


@pytest.mark.parametrize("path", REPEATED)
def test_c5_repeated_until_nothing_changes(path: Path) -> None:
    """A second run of everything finds nothing to do, and the input file is as it was."""
    data = path.read_bytes()
    graph, _ = passes.optimize(passes.load(path))
    once = passes.to_proto(graph).SerializeToString(deterministic=True)
    _, reports = passes.optimize(graph)
    assert [r.name for r in reports if r.modified] == []
    assert passes.to_proto(graph).SerializeToString(deterministic=True) == once
    assert path.read_bytes() == data


def test_c5_count_of_removed_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the article read off two reports is a line of one."""
    from onnx2tf_lite.tools.ssc4onnx import main

    after, _ = tuned(MAKE.resize_sizes())
    (tmp_path / "after.onnx").write_bytes(after.SerializeToString())
    assert main(["-if", str(EXAMPLES / "resize_sizes.onnx"), "--compare", str(tmp_path / "after.onnx")]) == 0
    assert "removed: 5 operators (6 -> 1)" in capsys.readouterr().out


def test_c6_c7_the_tile_of_2_gb_stays_small(tmp_path: Path) -> None:
    """16 x 320 x 180 x 320 indices of 8 bytes are 2,359,296,000 bytes; the file stays a few KB."""
    model = onnx.load(EXAMPLES / "meshgrid_gather.onnx")
    repeats = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "repeats")
    assert int(np.prod(repeats)) * 320 * 8 == 2_359_296_000
    after, _ = tuned(model)
    assert after.ByteSize() < 10_000
    result = convert(EXAMPLES / "meshgrid_gather.onnx", tmp_path, outputs=("float32",), check="none", non_verbose=True)
    assert result.files["float32"].stat().st_size < 10_000


def test_c6_the_same_model_smaller_matches(tmp_path: Path) -> None:
    converted(MAKE.meshgrid_gather(height=6, width=5, depth=3, columns=12), tmp_path)


def test_c8_small_tiles_fold_and_large_ones_do_not() -> None:
    """What counts is how much the model grows."""

    def tiled(copies: int) -> list[str]:
        node = [helper.make_node("Tile", ["k", "r"], ["t"]), helper.make_node("Neg", ["t"], ["n"]),
                helper.make_node("Add", ["x", "n"], ["y"])]  # fmt: skip
        held = {"k": np.arange(16, dtype=np.float32), "r": np.array([copies], np.int64)}
        return types(tuned(MAKE.model(node, {"x": (16 * copies,)}, {"y": (16 * copies,)}, 13, **held))[0])

    assert tiled(4) == ["Add"]
    assert "Tile" in tiled(1 << 17)


def test_c9_generated_weights_stay_generators() -> None:
    """ONNX's own light AlexNet, 4 KB, grows to 244 MB when it is folded."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_bvlc_alexnet.onnx"
    after, _ = tuned(onnx.load(path))
    assert after.ByteSize() < 1 << 20


def test_c10_more_than_2_gb(tmp_path: Path) -> None:
    """2.4 GB beside the model: loaded and tuned without reading what is not needed."""
    graph, _ = passes.optimize(passes.load(models.big(tmp_path)))
    assert [n.op for n in graph.nodes] == ["Gather", "Gather", "Add"]


SPLIT_AND_JOIN = """
import re, sys
from onnx2tf_lite.tools import load, sne4onnx, snc4onnx, ssi4onnx
parts = sne4onnx.split(sys.argv[1], split_at=["g0"], output_onnx_file_path=sys.argv[2], non_verbose=True)
shaped = [ssi4onnx.shape_inference(onnx_graph=p, non_verbose=True) for p in parts]
snc4onnx.combine([["g0", "g0", "ids", "ids"]], onnx_graphs=shaped, output_onnx_file_path=sys.argv[3],
                 disable_onnxsim=True, non_verbose=True)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_c10_split_and_join(tmp_path: Path) -> None:
    """The article's way past the limit, with a tenth of the weights' size in memory: cut, infer each part, join."""
    whole, parts, joined = models.big(tmp_path), tmp_path / "part.onnx", tmp_path / "joined.onnx"
    command = [sys.executable, "-c", SPLIT_AND_JOIN, str(whole), str(parts), str(joined)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 500_000
    again = onnx.load(joined, load_external_data=False)
    assert sorted(types(again)) == ["Add", "Gather", "Gather"]
    assert joined.stat().st_size < 10_000


def test_c11_layouts_stay_what_they_are(tmp_path: Path) -> None:
    """[1,16,16,3] is no image of 16 channels: axes are computed, not guessed."""
    path = Path(__file__).resolve().parents[1] / "models" / "exports" / "nhwc_input.ts17.onnx"
    assert converted(path, tmp_path).get("TRANSPOSE", 0) <= 1
