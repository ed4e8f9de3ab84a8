"""The rewrites that make a program fit: what is written has other operators and the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx2tf_lite import convert
from onnx2tf_lite.targets import DEVICES, WANTED
from onnx2tf_lite.targets.forms import FORMS
from onnx2tf_lite.targets.proof import litert
from onnx2tf_lite.targets.verdict import judge
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.targets import needs

HEAD = '<ir_version: 10, opset_import: ["" : 20]> g '


def model(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    """A model of ONNX's text form, with these initialisers."""
    made = onnx.parser.parse_model(HEAD + text)
    made.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    return made


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def lstm() -> onnx.ModelProto:
    """Six steps, of which the sequence and the last state are wanted."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y", "h", ""], hidden_size=4, direction="bidirectional")
    ends = [
        helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [6, 1, 3]), ("y", [6, 2, 1, 4]), ("h", [2, 1, 4]))
    ]
    constants = [numpy_helper.from_array(weights(2, 16, k), n) for k, n in ((3, "w"), (4, "r"))]
    return helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], constants),
                             opset_imports=[helper.make_opsetid("", 20)], ir_version=10)  # fmt: skip


GROUPED = model("(float[1,6,8,8] x) => (float[1,9,8,8] y) { y = Conv <group=3, pads=[1,1,1,1]>(x, w, b) }",
                w=weights(9, 2, 3, 3), b=weights(9))  # fmt: skip
#: form -> (model, the operator that goes, one that comes)
CASES: dict[str, tuple[onnx.ModelProto, str, str]] = {
    "groups": (GROUPED, "", "SPLIT"),
    "products": (model("(float[2,3,4,5] x, float[3,5,6] z) => (float[2,3,4,6] y) { y = MatMul(x, z) }"), "BATCH_MATMUL",
                 "FULLY_CONNECTED"),
    "unroll": (lstm(), "WHILE", "CONCATENATION"),
    "ranks of gpu": (model("(float[1,2,3,4,5,6] x) => (float[1,2,3,4,5,6] y) { y = Softmax <axis=5>(x) }"), "",
                     "RESHAPE"),
    "ranks of micro": (model("(float[2,3,4,2,3,2] x) => (float[2,3,2,4,3,2] y) "
                             "{ y = Transpose <perm=[5,4,3,2,1,0]>(x) }"), "", "RESHAPE"),
    "ranks of edgetpu": (model("(float[2,3,4,5] x) => (float[2,3,4,5] y) { y = Relu(x) }"), "", "RESHAPE"),
    "argmax": (model("(float[2,7,5] x) => (int64[2,5] y) { y = ArgMax <axis=1, keepdims=0>(x) }"), "ARG_MAX",
               "REDUCE_MAX"),
    "square": (model("(float[2,7] x) => (float[2,7] y) { y = Pow(x, n) }", n=np.float32(2)), "SQUARE", "MUL"),
    "gelu": (model("(float[2,7] x) => (float[2,7] y) { y = Gelu(x) }"), "GELU", "MUL"),
    "clamp": (model("(float[2,7] x) => (float[2,7] y) { y = Clip(x, a, b) }", a=np.float32(-1), b=np.float32(1)),
              "RELU_N1_TO_1", "MINIMUM"),
    "tile": (model("(float[2,3] x) => (float[4,9] y) { y = Tile(x, n) }", n=np.array([2, 3], np.int64)), "TILE",
             "CONCATENATION"),
    "hard_swish": (model("(float[2,7] x) => (float[2,7] y) { y = HardSwish(x) }"), "HARD_SWISH", "RELU6"),
    "leaky_relu": (model("(float[2,7] x) => (float[2,7] y) { y = LeakyRelu <alpha=0.1>(x) }"), "LEAKY_RELU",
                   "MAXIMUM"),
    "blocks": (model("(float[1,8,3,5] x) => (float[1,2,6,10] y) { y = DepthToSpace <blocksize=2>(x) }"),
               "DEPTH_TO_SPACE", "TRANSPOSE"),
    "mean": (model("(float[2,3,4,5] x) => (float[2,3,5] y) { y = ReduceMean <keepdims=0>(x, a) }", a=np.int64([2])),
             "", "RESHAPE"),
    "windows": (model("(float[1,32,8,8] x) => (float[1,32,8,8] y) { y = Conv <pads=[1,1,1,1]>(x, w) }",
                      w=weights(32, 32, 3, 3)), "", "CONCATENATION"),
}  # fmt: skip


def written(given: onnx.ModelProto, folder: Path, **keywords: Any) -> FlatFile:
    """The float32 file, which the check has found right."""
    result = convert(onnx_graph=given, output_folder_path=folder, outputs=["float32"], non_verbose=True, **keywords)
    assert result.exit_code == 0, result.check and [f.verdict for f in result.check.files]
    return FlatFile(result.files["float32"])


@pytest.mark.parametrize("form", FORMS)
def test_another_form_of_the_same_numbers(form: str, tmp_path: Path) -> None:
    from onnx2tf_lite.options import Options

    given, gone, came = CASES[form]
    plain = written(given, tmp_path / "plain")
    options = Options(outputs=("float32",), forms={form: True}, verbosity="error")
    result = convert(onnx_graph=given, output_folder_path=tmp_path, options=options)
    assert result.exit_code == 0, result.check and [f.verdict for f in result.check.files]
    counts = FlatFile(result.files["float32"]).counts
    assert came in counts and gone not in counts
    assert not gone or gone in plain.counts
    assert counts != plain.counts


@pytest.mark.parametrize(("target", "most"), [("gpu", 4), ("micro", 5)])
def test_reversed_axes_have_a_form_of_few(target: str, most: int, tmp_path: Path) -> None:
    given = model("(float[2,3,4,2,3,5] x) => (float[5,3,2,4,3,2] y) { y = Transpose <perm=[5,4,3,2,1,0]>(x) }")
    file = written(given, tmp_path, target=target)
    moved = [op for op in file.operators if op.name == "TRANSPOSE"]
    assert len(moved) > 1 and max(len(file.tensors[t].shape) for op in moved for t in op.outputs) <= most


@pytest.mark.parametrize("rank", [7, 8])
def test_axes_beyond_those_of_the_kernel_are_moved_run_by_run(rank: int, tmp_path: Path) -> None:
    shape = [2, 3, 2, 2, 3, 2, 2, 3][:rank]
    for seed in range(3):
        perm = np.random.default_rng(seed).permutation(rank).tolist()
        made = [shape[a] for a in perm]
        text = f"(float{shape} x) => (float{made} y) {{ y = Transpose <perm={perm}>(x) }}"
        written(model(text), tmp_path / str(seed))


def test_integers_of_a_grouped_convolution_stay_the_same(tmp_path: Path) -> None:
    """The model's own scales: bit for bit what the grouped convolution gives."""
    q = model(
        """(float[1,6,8,8] x) => (float[1,9,8,8] y) {
            xq = QuantizeLinear(x, xs, zero)  xr = DequantizeLinear(xq, xs, zero)
            wr = DequantizeLinear <axis=0>(w, ws, wz)  br = DequantizeLinear <axis=0>(b, bs, bz)
            c = Conv <group=3, pads=[1,1,1,1]>(xr, wr, br)
            cq = QuantizeLinear(c, ys, zero)  y = DequantizeLinear(cq, ys, zero) }""",
        xs=np.float32(0.02), zero=np.int8(3), ys=np.float32(0.05),
        w=np.random.default_rng(0).integers(-127, 127, (9, 2, 3, 3)).astype(np.int8),
        ws=np.linspace(0.01, 0.02, 9).astype(np.float32), wz=np.zeros(9, np.int8),
        b=np.arange(-4, 5, dtype=np.int32) * 100, bs=(np.linspace(0.01, 0.02, 9) * np.float32(0.02)).astype(np.float32),
        bz=np.zeros(9, np.int32),
    )  # fmt: skip
    whole = written(q, tmp_path / "whole")
    parts = written(q, tmp_path / "parts", disable_group_convolution=True)
    assert parts.counts["CONV_2D"] == 3 and whole.counts["CONV_2D"] == 1
    assert all(
        parts.tensors[t].quantised for op in parts.operators if op.name in ("SPLIT", "CONV_2D") for t in op.outputs
    )
    from ai_edge_litert.interpreter import Interpreter

    results = []
    for file in (whole, parts):
        runner = Interpreter(str(file.path))
        runner.allocate_tensors()
        x = np.random.default_rng(1).uniform(-2, 2, (1, 8, 8, 6)).astype(np.float32)
        runner.set_tensor(file.inputs[0], x)
        runner.invoke()
        results.append(runner.get_tensor(file.outputs[0]))
    np.testing.assert_array_equal(*results)


#: Shape, axes, percent on the device without the form and with it.
MEANS = [
    ((24, 2, 300), (2,), 0, 100),
    ((4, 7, 7, 16), (1, 2), 0, 100),
    ((1, 3, 4, 5, 6), (2, 3), 0, 100),
    ((1, 6, 5, 7), (3,), 0, 100),
    ((6, 3, 5, 4), (0,), 0, 100),
    ((1, 7, 7, 16), (1, 2), 100, 100),
    ((1, 2, 3, 7, 4097), (4,), 0, 0),  # an axis that is too long
    ((3, 2, 4, 5), (0, 2), 0, 0),  # axes apart
]


@needs("vela")
@pytest.mark.parametrize(("shape", "axes", "before", "after"), MEANS)
def test_integers_of_a_mean_stay_the_same(
    shape: tuple[int, ...], axes: tuple[int, ...], before: int, after: int, tmp_path: Path
) -> None:
    over, kept = np.int64(axes), ",".join(str(d) for i, d in enumerate(shape) if i not in axes)
    text = f"(float[{','.join(map(str, shape))}] x) => (float[{kept}] y) {{ y = ReduceMean <keepdims=0>(x, axes) }}"
    data = np.random.default_rng(0).uniform(-1, 1, (8 * shape[0], *shape[1:])).astype(np.float32)
    asked: dict[str, Any] = {"calibration": {"x": data}, "io_layout": "onnx", "non_verbose": True}
    files = []
    for target in ("", "ethos-u55"):
        result = convert(onnx_graph=model(text, axes=over), output_folder_path=tmp_path / f"for {target}",
                         outputs=["full_integer_quant"], target=target or None, **asked)  # fmt: skip
        files.append(FlatFile(result.files["full_integer_quant"]))
    shares = [judge("ethos-u55", file, prove).share for file in files for prove in (True, False)]
    assert shares == [before, before, after, after], "tool and table, without and with the form"
    for kernels in litert.KERNELS:
        plain, fitted = (litert.run(bytes(file.data), litert.operands(file), kernels) for file in files)
        np.testing.assert_array_equal(plain, fitted)


def test_every_form_that_a_device_wants_exists_and_every_device_says_what_it_wants() -> None:
    assert set(WANTED) == set(DEVICES) and {f for names in WANTED.values() for f in names} <= set(FORMS)


@pytest.mark.parametrize("keyword", ["disable_group_convolution", "enable_batchmatmul_unfold", "enable_rnn_unroll",
    "replace_argmax_to_reducemax_and_indices_is_float32", "replace_argmax_to_fused_argmax_and_indices_is_int64",
    "optimization_for_gpu_delegate", "check_gpu_delegate_compatibility"])  # fmt: skip
def test_a_form_that_finds_nothing_to_do_stops_nothing(keyword: str, tmp_path: Path) -> None:
    file = written(model("(float[2,7] x) => (float[2,7] y) { y = Relu(x) }"), tmp_path, **{keyword: True})
    assert file.counts == {"RELU": 1}


@pytest.mark.parametrize("device", DEVICES)
def test_a_loop_that_nobody_can_count_stays(device: str, tmp_path: Path) -> None:
    loop = model("(int64 n, float[2] x) => (float[2] y) { y = Loop(n, c, x) <body = b (int64 i, bool c, float[2] v) => "
                 "(bool d, float[2] w) { d = Identity(c) w = Add(v, v) }> }", c=np.array(True))  # fmt: skip
    result = convert(onnx_graph=loop, output_folder_path=tmp_path, target=device, non_verbose=True)
    assert result.check is not None and result.check.ok
    assert "WHILE" in FlatFile(result.files["float32"]).counts
