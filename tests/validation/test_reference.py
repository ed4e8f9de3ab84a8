"""The right reference: what the model means, where a reference rounds, saturates, refuses or errs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import onnx
import pytest
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator

from onnx2tf_lite import convert, passes, validation
from onnx2tf_lite.validation.original import known_errors, restate
from onnx2tf_lite.validation.original.reference import STEPWISE, NoReferenceError, Reference
from onnx2tf_lite.validation.original.stepwise import RefusedError, Stepwise
from onnx2tf_lite.validation.whole.samples import Samples

from .models import model, reference, verdict

RUNTIME = tuple(map(int, version("onnxruntime").split(".")[:2]))


SAME = (
    'g (float[1,3,{},{}] x) => (float[1,4,{},{}] y) {{ y = Conv<auto_pad="{}", strides=[2,2], dilations=[2,3]>(x, w) }}'
)


@pytest.mark.parametrize("extents", [(20, 21, 10, 11), ("H", "W", "h", "w")], ids=["known", "free"])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_dilated_convolutions_of_the_same_size(auto: str, extents: tuple[int | str, ...]) -> None:
    """By hand: the pads are half of what is missing on either side, the odd one after or before."""
    proto = model(SAME.format(*extents, auto), w=(4, 3, 3, 3))
    assert verdict(proto)[0] == 0
    x = np.random.default_rng(0).standard_normal((1, 3, 20, 21)).astype(np.float32)
    own = reference(proto)
    w = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    totals = [max((10 - 1) * 2 + 2 * 2 + 1 - 20, 0), max((11 - 1) * 2 + 2 * 3 + 1 - 21, 0)]
    before = [(t + (auto == "SAME_LOWER")) // 2 for t in totals]
    padded = np.pad(x, [(0, 0), (0, 0), *((b, t - b) for b, t in zip(before, totals, strict=True))])
    expected = sum(
        np.einsum("nchw,oc->nohw", padded[:, :, 2 * i : 2 * i + 19 : 2, 3 * j : 3 * j + 21 : 2], w[:, :, i, j])
        for i in range(3) for j in range(3)
    )  # fmt: skip
    np.testing.assert_allclose(own.open().run({"x": x})["y"], expected, atol=1e-5)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_dilated_volumes_of_free_extents(auto: str) -> None:
    """No sizes are drawn that take minutes: a volume begins smaller than a picture."""
    text = f"""g (float[N,2,D,H,W] x) => (float[N,3,d,h,w] y) {{
        y = Conv<auto_pad="{auto}", dilations=[2,1,2], strides=[1,2,1]>(x, w) }}"""
    assert verdict(model(text, w=(3, 2, 3, 3, 3)))[0] == 0


def test_output_padding_beyond_the_stride() -> None:
    """By hand: every input adds a dilated kernel; what no kernel reaches is the bias alone."""
    proto = model("""g (float[1,1,5,6] x) => (float[1,2,4,5] y) {
        y = ConvTranspose<strides=[1,1], dilations=[2,2], output_padding=[1,1], pads=[2,2,2,2]>(x, w, b) }""",
        w=(1, 2, 2, 2), b=(2,))  # fmt: skip
    if RUNTIME < (1, 28):
        pytest.skip("this ONNX Runtime does not refuse it, and gives other numbers")
    assert verdict(proto)[0] == 0
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 6)).astype(np.float32)
    w, b = map(onnx.numpy_helper.to_array, proto.graph.initializer)
    whole = np.zeros((1, 2, 8, 9))
    for i in range(2):
        for j in range(2):
            whole[:, :, 2 * i : 2 * i + 5, 2 * j : 2 * j + 6] += x * w[:, :, i, j].reshape(1, 2, 1, 1)
    own = reference(proto)
    own.fall_back("")
    found = own.open().run({"x": x})["y"]
    np.testing.assert_allclose(found, whole[:, :, 2:6, 2:7] + b.reshape(1, 2, 1, 1), atol=1e-5)


def attention(inputs: dict[str, list[int]], **more: int) -> onnx.ModelProto:
    node = helper.make_node("MultiHeadAttention", list(inputs), ["y"], domain="com.microsoft", num_heads=2, **more)
    infos = [helper.make_tensor_value_info(n, 1, s) for n, s in inputs.items()]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", 1, [1, 3, 8])])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


@pytest.mark.parametrize(
    "inputs", [{"q": [1, 3, 8], "kv": [1, 5, 2, 2, 4]}, {"qkv": [1, 3, 2, 3, 4]}], ids=["kv", "qkv"]
)
def test_packed_attention(inputs: dict[str, list[int]]) -> None:
    proto = attention(inputs)
    assert verdict(proto)[0] == 0
    rng = np.random.default_rng(0)
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in inputs.items()}
    packed = list(feeds.values())[-1]
    q = feeds["q"].reshape(1, 3, 2, 4) if "q" in feeds else packed[:, :, :, 0]
    k, v = packed[:, :, :, -2], packed[:, :, :, -1]
    scores = np.exp(np.einsum("bqhd,bkhd->bhqk", q, k) / 2)
    expected = np.einsum("bhqk,bkhd->bqhd", scores / scores.sum(-1, keepdims=True), v).reshape(1, 3, 8)
    np.testing.assert_allclose(reference(proto).open().run(feeds)["y"], expected, atol=1e-5)


@pytest.mark.parametrize("inputs", [{"q": [1, 3, 8], "kv": [1, 5, 2, 2, 4]}, {"qkv": [1, 3, 2, 3, 4]}])
def test_packed_attention_behind_an_operator_of_unknown_shape(inputs: dict[str, list[int]]) -> None:
    """Nobody but ONNX Runtime knows how many axes its own operators give."""
    proto = attention(inputs)
    names = list(proto.graph.node[0].input)
    proto.graph.node[0].input[:] = [f"{n}_inner" for n in names]
    for name in names:
        proto.graph.node.insert(0, helper.make_node("FastGelu", [name], [f"{name}_inner"], domain="com.microsoft"))
    assert verdict(proto)[0] == 0


def test_what_no_reference_runs_is_said_without_advice_that_cannot_help() -> None:
    proto = model("g (float[1,8] x) => (float[1,8] y) { y = Relu(x) }")
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "Unheard", "com.microsoft"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(RefusedError, match="Unheard 'y'"):
        Stepwise(proto).run(["y"], {"x": np.ones((1, 8), np.float32)})
    refused = model("g (float[1,8] x) => (float[2,5] y) { y = Reshape(x, to) }", to=np.array([2, 5]))
    samples = Samples(Reference.of(refused, passes.load(refused)), validation.CheckOptions())
    with pytest.raises(NoReferenceError) as found:
        samples.draw([])
    assert "shape_hints" not in str(found.value) and "test data" not in str(found.value)
    assert "onnx.reference" not in str(found.value), "ONNX Runtime's own reason is the one that counts"


def test_node_by_node_sees_what_bodies_see() -> None:
    proto = model("""g (float[4] x, bool c) => (float[4] y) {
        a = Relu(x)
        y = If<then_branch = t () => (float[4] p) { p = Add(a, w) },
               else_branch = e () => (float[4] n) { n = Neg(a) }>(c)
    }""", w=(4,))  # fmt: skip
    x, w = np.array([1, -2, 3, -4], np.float32), onnx.numpy_helper.to_array(proto.graph.initializer[0])
    for condition, expected in ((True, np.maximum(x, 0) + w), (False, -np.maximum(x, 0))):
        stepwise = Stepwise(proto)
        np.testing.assert_array_equal(stepwise.run(["y"], {"x": x, "c": np.array(condition)})[0], expected)
        assert stepwise.engines == {"ONNX Runtime": {"Relu", "If"}}


# ------------------------------------------------------------------------------------------------ known errors


def test_windows_of_even_size() -> None:
    """The row of the table holds as long as onnx.reference without ours is wrong."""
    proto = model("g (float[1,6,2,2] x) => (float[1,6,2,2] y) { y = LRN<size=4, alpha=2.0, beta=1.0, bias=1.0>(x) }")
    x = np.random.default_rng(0).standard_normal((1, 6, 2, 2)).astype(np.float32)
    sums = np.stack([(x[:, max(0, c - 1) : c + 3] ** 2).sum(1) for c in range(6)], 1)
    expected = x / (1 + 2 / 4 * sums)
    (plain,) = ReferenceEvaluator(proto).run(None, {"x": x})
    assert not np.allclose(plain, expected, atol=1e-3), "the error is gone: drop the row and ours"
    (ours,) = ReferenceEvaluator(proto, new_ops=known_errors.operators()).run(None, {"x": x})
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert verdict(proto)[0] == 0


def test_masked_scores_are_infinite() -> None:
    """The row of the table holds as long as ONNX Runtime writes the lowest float."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y", "", "", "qk"], is_causal=1, softcap=3.0,
                            qk_matmul_output_mode=2)  # fmt: skip
    infos = [helper.make_tensor_value_info(n, 1, [1, 2, 3, 4]) for n in "qkv"]
    ends = [helper.make_tensor_value_info("y", 1, [1, 2, 3, 4]), helper.make_tensor_value_info("qk", 1, [1, 2, 3, 3])]
    proto = helper.make_model(helper.make_graph([node], "g", infos, ends), ir_version=10,
                              opset_imports=[helper.make_opsetid("", 23)])  # fmt: skip
    own, feeds = reference(proto), {n: np.ones((1, 2, 3, 4), np.float32) for n in "qkv"}
    assert own.masked == {"qk"}
    raw = dict(zip(["y", "qk"], own._ort(["y", "qk"], "")[0].run(["y", "qk"], feeds), strict=True))
    if RUNTIME < (1, 27):
        pytest.skip("this ONNX Runtime puts the softcap over the mask")
    assert np.isfinite(raw["qk"]).all() and raw["qk"].min() < -3e38, "the error is gone: drop the row"
    (truth,) = ReferenceEvaluator(proto).run(["qk"], feeds)
    np.testing.assert_array_equal(np.isneginf(own.open().run(feeds)["qk"]), np.isneginf(truth))


def test_quantisation_can_be_taken_out() -> None:
    """What is left are the float products of the weights that the integers stand for."""
    rng = np.random.default_rng(0)
    w, x = rng.integers(-127, 128, (8, 4)).astype(np.int8), rng.standard_normal((2, 8)).astype(np.float32)
    scales = {"sx": np.array(0.05, np.float32), "sw": np.array([1e-3, 2e-3, 3e-3, 4e-3], np.float32)}
    proto = model("""g (float[2,8] x) => (float[2,4] y) {
        q = QuantizeLinear(x, sx, zx)
        d = DequantizeLinear(q, sx, zx)
        k = DequantizeLinear<axis=1>(w, sw, zw)
        m = MatMul(d, k)
        n = QuantizeLinear(m, sx, zx)
        y = DequantizeLinear(n, sx, zx) }""",
                  w=w, zx=np.array(3, np.int8), zw=np.zeros(4, np.int8), **scales)  # fmt: skip
    found = reference(proto).open(["m", "y"], rounding="unquantised").run({"x": x})
    np.testing.assert_allclose(found["y"], x @ (w * scales["sw"]), rtol=1e-5)
    samples = Samples(reference(proto), validation.CheckOptions())
    samples.draw([])
    samples.read_noise(["y"])
    assert 0.01 < samples.samples[0].noise["y"] < 0.03, "rounding to steps of 0.05, which is 0.014 on average, twice"


def test_quantisation_noise_is_the_most_that_it_is_on_any_sample() -> None:
    """As a share where steps are of the operand's size; never more than it was anywhere."""
    proto = model("""g (float[2,8] x) => (float[2,8] y, float[2,8] z) {
        q, s, p = DynamicQuantizeLinear(x)
        y = DequantizeLinear(q, s, p)
        r = QuantizeLinear(x, t, o)
        z = DequantizeLinear(r, t, o) }""", t=np.array(0.05, np.float32), o=np.zeros((), np.int8))  # fmt: skip
    rng = np.random.default_rng(0)
    small, large = (k * rng.uniform(-1, 1, (2, 8)).astype(np.float32) for k in (0.01, 1))
    samples = Samples(reference(proto), validation.CheckOptions(data=[{"x": small}, {"x": large}]))
    samples.draw([])
    samples.read(["y", "z"])
    samples.read_noise(["y", "z"])
    noise = [sample.noise for sample in samples.samples]
    shares = [
        n["y"] / np.sqrt(np.mean(np.square(s.expected["y"]))) for n, s in zip(noise, samples.samples, strict=True)
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.2), "the tensor itself is moved, too"
    assert max(n["z"] for n in noise) < 0.05, "a small sample is all noise, a large one is not"


def test_integer_convolutions_have_a_float_meaning() -> None:
    rng = np.random.default_rng(0)
    w, b = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), rng.integers(-900, 900, 4).astype(np.int32)
    proto = model("""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
        q = QuantizeLinear(x, s, z)
        c = QLinearConv<pads=[1,1,1,1]>(q, s, z, w, sw, zw, s, z, b)
        y = DequantizeLinear(c, s, z) }""", w=w, b=b, s=np.array(0.05, np.float32), z=np.array(120, np.uint8),
        sw=np.array([0.001, 0.002, 0.003, 0.004], np.float32), zw=np.zeros(4, np.int8))  # fmt: skip
    x = np.clip(rng.standard_normal((1, 3, 8, 8)), -2, 2).astype(np.float32)
    own = reference(proto)
    rounded = own.open().run({"x": x})["y"]
    real = own.open(rounding="unquantised").run({"x": x})["y"]
    assert 0 < np.abs(rounded - real).max() < 0.15, "three half steps of 0.05 at most, nothing saturates"


def test_integer_arithmetic_is_asked_what_it_defines() -> None:
    """No division by zero, and no negative number as an unsigned one, end to end and layer by layer."""
    proto = model("""g (int64[6] a, int64[6] b, float[3] f) => (int64[6] d, int64[6] m, uint8[3] u) {
        d = Div(a, b)
        m = Mod(a, b)
        u = Cast<to=2>(f) }""")  # fmt: skip
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True, check="layers")
    assert result.exit_code == 0


def test_layers_of_extents_that_depend_on_data_are_seen_end_to_end() -> None:
    """Two such extents of one tensor: no operand can be made for what reads it."""
    proto = model("""g (float[6,8] x, int64[2] ends) => (float[P,Q] y) {
        z = Slice(x, none, ends)
        p = Pad(z, ones)
        e = Exp(p)
        y = Transpose<perm=[1,0]>(e) }""", none=np.array([0, 0]), ones=np.array([1, 1, 1, 1]))  # fmt: skip
    result = convert(onnx_graph=proto, outputs=["float32"], disable_model_save=True, non_verbose=True, check="layers")
    assert result.exit_code == 0


def test_a_mask_that_is_capped_is_left_to_the_other_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime 1.23 caps the mask of an Attention too; a probe says whether the one that runs does."""
    proto = parser.parse_model("""<ir_version: 10, opset_import: ["": 23]>
    g (float[1,1,2,4] q, float[1,1,3,4] k, float[1,1,3,4] v, float[2,3] mask) => (float[1,1,2,4] y) {
      y = Attention<softcap=1.0>(q, k, v, mask)
    }""")
    if known_errors._capped(known_errors.REFERENCE):
        pytest.skip("onnx before 1.22 caps the mask as well: there is no reference")
    monkeypatch.setattr(known_errors, "_capped", lambda reference: reference == known_errors.RUNTIME)
    code, check = verdict(proto)
    assert code == 0 and check.engine == STEPWISE and any("Attention with a mask" in note for note in check.notes)


def test_a_mask_that_both_references_cap_is_compared_with_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_errors, "_capped", lambda reference: True)
    session = Stepwise(
        onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 23]>
    g (float[1,1,2,4] q, float[2,2] mask) => (float[1,1,2,4] y) { y = Attention<softcap=1.0>(q, q, q, mask) }""")
    )
    feeds = {"q": np.ones((1, 1, 2, 4), np.float32), "mask": np.zeros((2, 2), np.float32)}
    with pytest.raises(RefusedError, match=r"Attention 'y': ONNX Runtime .* install a newer .*; onnx.reference"):
        session.run(["y"], feeds)


def averages(x: np.ndarray, pads: list[int]) -> np.ndarray:
    """Means over windows of 3 x 3, every second one, of what x [N,C,H,W] and its pads have there."""
    top, left, bottom, right = pads
    padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
    high, wide = (-(-(extent - 3) // 2) + 1 for extent in padded.shape[2:])
    windows = [[padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean((2, 3)) for j in range(wide)]
               for i in range(high)]  # fmt: skip
    return np.transpose(np.array(windows), (2, 3, 0, 1))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 0, 1, 1]], ids=str)
def test_an_average_that_counts_places_behind_the_pads(pads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some releases of ONNX Runtime do, below opset 19; a probe says whether the one that runs does."""
    proto = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 13]>
    g (float[1,2,10,12] x) => (float[1,2,H,W] y) {{
      y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1, count_include_pad=1, pads={pads}>(x)
    }}""")
    monkeypatch.setattr(restate, "counts_behind", lambda: True)
    x = np.random.default_rng(0).random((1, 2, 10, 12), np.float32)
    np.testing.assert_allclose(reference(proto).open().run({"x": x})["y"], averages(x, pads), rtol=1e-5)
    code, check = verdict(proto)
    assert code == 0 and any("places behind the pads" in note for note in check.notes)


BODY = """g (float[1,4] x, bool c) => (float[1,4] y) {
  t = Abs(x)
  y = If<then_branch = a () => (float[1,4] p) { q = Sin(t) p = Neg(q) },
         else_branch = b () => (float[1,4] r) { r = Cos(t) }>(c)
}"""


def _same_names(proto: onnx.ModelProto) -> None:
    for node in (*proto.graph.node, *proto.graph.node[1].attribute[0].g.node):
        node.name = "same"


def _other_types(proto: onnx.ModelProto) -> None:
    proto.graph.value_info.append(helper.make_tensor_value_info("t", onnx.TensorProto.INT64, [4]))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


def _unknown_domain(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 99))


def _unread_node(proto: onnx.ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("elsewhere", 1))
    proto.graph.node.append(helper.make_node("Unknown", ["x"], ["u"], domain="elsewhere"))


def _later_ir(proto: onnx.ModelProto) -> None:
    proto.ir_version = 999


@pytest.mark.parametrize("damage", [_same_names, _other_types, _unknown_domain, _unread_node, _later_ir])
def test_what_means_nothing_is_no_reason_to_run_a_model_node_by_node(damage: Callable[[onnx.ModelProto], None]) -> None:
    """Which takes hundreds of times as long; ONNX Runtime refuses each of these."""
    import onnxruntime

    proto = model(BODY)
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    known = {c: reference(proto).open(["t", "y"]).run({"x": x, "c": np.array(c)}) for c in (False, True)}
    damage(proto)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        onnxruntime.InferenceSession(proto.SerializeToString())
    seen = reference(proto)
    for choice, results in known.items():
        found = seen.open(["t", "y"]).run({"x": x, "c": np.array(choice)})
        assert all(np.array_equal(found[name], results[name]) for name in ("t", "y"))
    assert seen.engine == "ONNX Runtime" and "in other words of the same meaning" in seen.notes[0]
    code, report = verdict(proto)
    (file,) = report.files
    assert code == 0 and file.coverage and file.coverage.layers == file.coverage.all_layers
