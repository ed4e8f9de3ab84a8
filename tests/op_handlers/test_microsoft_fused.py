"""Fused convolutions, products and activations of ONNX Runtime's optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model
from tests.op_handlers.microsoft_nodes import check, check_against, model_of
from tests.op_handlers.nodes import normal, whole

X, W, BIAS = normal(2, 4, 9, 7), normal(6, 4, 3, 3, seed=1, scale=0.3), normal(6, seed=2)
ACTIVATIONS: dict[str, list[float]] = {
    "Relu": [], "Sigmoid": [], "Tanh": [], "LeakyRelu": [0.2], "Clip": [-0.5, 0.75], "HardSigmoid": [0.3, 0.4],
}  # fmt: skip


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fused_conv(activation: str, residual: bool) -> None:
    more = [normal(2, 6, 9, 7, seed=3)] if residual else []
    parameters = {"activation_params": ACTIVATIONS[activation]} if ACTIVATIONS[activation] else {}
    check("FusedConv", [X, W, BIAS, *more], const=(1, 2), activation=activation, pads=[1, 1, 1, 1], atol=1e-5,
          **parameters)  # fmt: skip


def test_a_fused_relu_stays_fused() -> None:
    graph = check("FusedConv", [X, W, BIAS], const=(1, 2), activation="Relu", atol=1e-5)
    assert [(op.kind.name, op.attrs["activation"]) for op in graph.ops if "activation" in op.attrs] == [
        ("CONV_2D", "RELU")
    ]


@pytest.mark.parametrize("attributes", [
    {"strides": [2, 2], "pads": [1, 0, 0, 1]}, {"group": 2}, {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"},
], ids=lambda a: "_".join(a))  # fmt: skip
def test_fused_conv_windows(attributes: dict[str, Any]) -> None:
    w = normal(6, 2, 3, 3, seed=1) if "group" in attributes else W
    check("FusedConv", [X, w], const=(1,), dynamic=(0,), activation="Relu", atol=1e-5, **attributes)


def test_nhwc_convolutions_are_the_standard_one_between_transposes() -> None:
    from onnx.reference.ops.op_conv import _conv_implementation

    y = _conv_implementation(X, W, BIAS, "NOTSET", [1, 1], 1, [3, 3], [1, 1, 1, 1], [2, 1])
    residual = normal(*y.shape, seed=4)
    back, common = (0, 2, 3, 1), {"const": (1, 2), "pads": [1, 1, 1, 1], "strides": [2, 1], "atol": 1e-5}
    image, weights = X.transpose(back), W.transpose(back)
    check_against([y.transpose(back)], "NhwcConv", [image, weights, BIAS], **common)
    fused = np.maximum(y + residual, 0).transpose(back)
    check_against([fused], "NhwcFusedConv", [image, W, BIAS, residual.transpose(back)], activation="Relu", **common)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("attributes", [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, {"kernel_shape": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "dilations": [2, 2]}, {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"},
], ids=["pads", "ceil", "dilations", "same"])  # fmt: skip
def test_nhwc_max_pool(attributes: dict[str, Any], dtype: str) -> None:
    x = whole(2, 9, 7, 4, low=0, high=120, dtype=dtype)
    check("NhwcMaxPool", [x], outputs=(dtype,), **attributes)


# ------------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("const", [(), (1,)], ids=["run_time", "weights"])
@pytest.mark.parametrize("flags", range(16), ids=lambda n: f"{n:04b}")
def test_fused_matmul(flags: int, const: tuple[int, ...]) -> None:
    """Every combination of the four transpositions, with a scale."""
    names = ["transA", "transB", "transBatchA", "transBatchB"]
    attributes = {name: flags >> i & 1 for i, name in enumerate(names)}

    def operand(shape: tuple[int, ...], rows: int, batch: int, seed: int) -> np.ndarray:
        order = list(range(4))
        order[-2:] = [3, 2] if rows else [2, 3]
        array = normal(*shape, seed=seed).transpose(order)
        return np.ascontiguousarray(np.moveaxis(array, 2, 0) if batch else array)

    a = operand((2, 3, 4, 5), attributes["transA"], attributes["transBatchA"], 0)
    b = operand((2, 3, 5, 6), attributes["transB"], attributes["transBatchB"], 1)
    check("FusedMatMul", [a, b], const=const, alpha=0.25, atol=1e-5, **attributes)


@pytest.mark.parametrize("name", ["FusedMatMul", "TransposeMatMul"])
@pytest.mark.parametrize("shapes", [((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (5, 3))], ids=str)
def test_fused_matmul_of_other_ranks(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check(name, [normal(*shapes[0]), normal(*shapes[1], seed=1)], const=(1,), alpha=0.5, atol=1e-5)


def test_fused_matmul_of_an_open_batch() -> None:
    check("FusedMatMul", [normal(2, 4, 5), normal(2, 4, 3, seed=1)], dynamic=(0, 1), transA=1, alpha=3.0, atol=1e-5)


@pytest.mark.parametrize("activation,parameters,definition", [
    ("Relu", {}, lambda x: np.maximum(x, 0)),
    ("LeakyRelu", {"activation_alpha": 0.3}, lambda x: np.where(x < 0, 0.3 * x, x)),
    ("Clip", {"activation_alpha": -1.0, "activation_beta": 2.0}, lambda x: x.clip(-1, 2)),
    ("Softmax", {"activation_axis": 1}, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
], ids=["Relu", "LeakyRelu", "Clip", "Softmax"])  # fmt: skip
def test_fused_matmul_activation(activation: str, parameters: dict[str, Any], definition: Any) -> None:
    x, y = normal(2, 3, 4), normal(2, 5, 4, seed=1)
    expected = definition((x @ y.transpose(0, 2, 1) * 0.5).astype(np.float64)).astype(np.float32)
    check_against([expected], "FusedMatMulActivation", [x, y], activation=activation, alpha=0.5, transB=1, atol=1e-5,
                  **parameters)  # fmt: skip


@pytest.mark.parametrize("activation,parameters", [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.3}),
    ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}), ("Elu", {"activation_alpha": 1.5}),
    ("Softplus", {}), ("Softsign", {}), ("ThresholdedRelu", {"activation_alpha": 0.5}),
], ids=lambda p: p if isinstance(p, str) else "")  # fmt: skip
def test_fused_gemm(activation: str, parameters: dict[str, Any]) -> None:
    check("FusedGemm", [normal(3, 4), normal(5, 4, seed=1), normal(5, seed=2)], const=(1, 2), transB=1, alpha=0.5,
          beta=2.0, activation=activation, atol=1e-5, **parameters)  # fmt: skip


def test_fused_gemm_of_a_turned_operand() -> None:
    check("FusedGemm", [normal(4, 3), normal(4, 5, seed=1)], transA=1, activation="Relu", atol=1e-5)


def test_an_unknown_activation_is_refused() -> None:
    model = model_of("FusedConv", [X, W], const=(1,), activation="Snake")
    with pytest.raises(ConversionError, match=r"com.microsoft.FusedConv 'fusedconv' .*: activation 'Snake' is not"):
        compile_model(model)


def test_an_attribute_that_the_operator_does_not_have_is_refused() -> None:
    with pytest.raises(ConversionError, match="attribute fused is not part of the operator"):
        compile_model(model_of("FusedConv", [X, W], const=(1,), activation="Relu", fused=1))


# ------------------------------------------------------------------------------------------------ activations


@pytest.mark.parametrize("name,inputs,attributes", [
    ("Gelu", 1, {}), ("FastGelu", 1, {}), ("FastGelu", 2, {}), ("BiasGelu", 2, {}), ("QuickGelu", 1, {}),
    ("QuickGelu", 1, {"alpha": 1.1}),
], ids=lambda p: str(p) if p != {} else "")  # fmt: skip
def test_gelus(name: str, inputs: int, attributes: dict[str, float]) -> None:
    check(name, [normal(2, 3, 8, scale=3), normal(8, seed=1)][:inputs], dynamic=(0,), atol=5e-6, **attributes)


X3, BIAS16, SKIP = normal(2, 5, 16), normal(16, seed=1), normal(2, 5, 16, seed=2)


def test_additions_with_a_bias() -> None:
    check_against([X3 + BIAS16 + SKIP], "BiasAdd", [X3, BIAS16, SKIP])
    left, right = np.split(X3 + BIAS16, 2, -1)
    check_against([left * gelu(right)], "BiasSplitGelu", [X3, BIAS16], atol=5e-6)
    check_against([X3 + BIAS16 + SKIP, np.ones(X3.shape, bool)], "BiasDropout",
                  [X3, BIAS16, SKIP, np.float32(0.5), np.array(False)], const=(3, 4),
                  outputs=(np.float32, bool))  # fmt: skip


def test_gemm_fast_gelu() -> None:
    w, x = normal(16, 4, seed=3, scale=0.3), (X3.astype(np.float64) @ normal(16, 4, seed=3, scale=0.3)) + BIAS16[:4]
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    check_against([expected.astype(np.float32)], "GemmFastGelu", [X3, w, BIAS16[:4]], const=(1, 2), atol=5e-6)


def test_dropout_that_trains_is_refused() -> None:
    model = model_of("BiasDropout", [X3, BIAS16, None, None, np.array(True)], const=(4,))
    with pytest.raises(ConversionError, match=r"BiasDropout .*dropout that trains"):
        compile_model(model)


@pytest.mark.parametrize("axis,bias", [(3, (2, 1, 1, 6)), (2, (4, 6)), (-1, (1, 1, 4, 6))], ids=str)
def test_bias_softmax(axis: int, bias: tuple[int, ...]) -> None:
    x, extra = normal(2, 3, 4, 6), normal(*bias, seed=1)
    flat = (x + extra).reshape(*x.shape[: axis % 4], -1)
    e = np.exp(flat - flat.max(-1, keepdims=True))
    expected = (e / e.sum(-1, keepdims=True)).reshape(x.shape)
    check_against(
        [expected], "BiasSoftmax", [x, extra], axis=axis, is_inner_broadcast=int(len(bias) == 4), dynamic=(0,)
    )


def group_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, groups: int, epsilon: float) -> np.ndarray:
    """Of [N, C, ...]."""
    grouped = x.astype(np.float64).reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(-1, keepdims=True)
    normal = (centred / np.sqrt(grouped.var(-1, keepdims=True) + epsilon)).reshape(x.shape)
    return (normal * gamma[:, None, None] + beta[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("activation", [0, 1], ids=["", "silu"])
@pytest.mark.parametrize("last", [0, 1], ids=["first", "last"])
def test_group_norm(last: int, activation: int) -> None:
    x, gamma, beta = normal(2, 8, 5, 3), normal(8, seed=1), normal(8, seed=2)
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    common = {"channels_last": last, "activation": activation, "groups": 4, "epsilon": 1e-3, "atol": 1e-5}
    function = silu if activation else (lambda y: y)
    y = function(group_norm(x, gamma, beta, 4, 1e-3)).transpose(order)
    check_against([y], "GroupNorm", [x.transpose(order), gamma, beta], **common)
    skip, bias = normal(2, 8, seed=4), normal(8, seed=5)
    total = x + skip[:, :, None, None] + bias[:, None, None]
    y = function(group_norm(total, gamma, beta, 4, 1e-3)).transpose(order)
    check_against([y, total.transpose(order)], "SkipGroupNorm", [x.transpose(order), gamma, beta, skip, bias],
                  outputs=(np.float32,) * 2, **common)  # fmt: skip
