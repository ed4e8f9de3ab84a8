"""What ONNX Runtime's optimiser makes of neighbours: convolutions and products with an activation, a residual, a bias
or transposes fused in, activations with a bias, and their channels-last forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from ...ir import build as b
from ...ir import dims
from ...ir.graph import Value
from .. import _maths as m
from ..activations import gelu, swish
from ..convolution import conv
from ..matmul import gemm, matmul
from ..normalization import group_normalization
from ..pooling import max_pool
from ..registry import UnsupportedError, current_node, find
from ._domain import channels_last, like, op, table

Floats = Sequence[float]

# activations that are fused, with their parameters in the order of ``activation_params``
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Celu": ("alpha",),
    "Clip": ("min", "max"),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}


def activate(x: Value, name: str, parameters: dict[str, float | None]) -> Value:
    """The activation of that ONNX name; parameters that are None have ONNX's defaults."""
    if not name:
        return x
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"activation {name!r} is not known", "optimise the model without fusing this activation")
    given = {k: v for k, v in parameters.items() if k in ACTIVATIONS[name] and v is not None}
    if name == "Clip":
        return m.bound(x, given["min"], given["max"])
    entry = find("", name)
    assert entry is not None
    return entry.handler(x, **given)  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------ convolutions


@op("FusedConv")
@like(conv)
def fused_conv(
    x: Value,
    w: Value,
    bias: Value | None = None,
    residual: Value | None = None,
    *,
    activation: str = "",
    activation_params: Floats = (),
    **attributes: Any,
) -> Value:
    """activation(conv + residual)."""
    y = conv(x, w, bias, **attributes)
    y = y if residual is None else y + residual
    return activate(y, activation, dict(zip(ACTIVATIONS.get(activation, ()), activation_params, strict=False)))


@op("NhwcFusedConv")
@like(fused_conv)
def nhwc_fused_conv(
    x: Value, w: Value, bias: Value | None = None, residual: Value | None = None, **attributes: Any
) -> Value:
    """x[N,H,W,C] and residual, weights as in Conv."""
    residual = None if residual is None else b.channels_first(residual)
    return channels_last(lambda image: fused_conv(image, w, bias, residual, **attributes), x)


@op("NhwcConv")
@like(conv)
def nhwc_conv(x: Value, w: Value, bias: Value | None = None, **attributes: Any) -> Value:
    """x[N,H,W,C], w[O,H,W,C/G]."""
    return channels_last(lambda image: conv(image, b.channels_first(w), bias, **attributes), x)


@op("NhwcMaxPool")
@like(max_pool)
def nhwc_max_pool(x: Value, **attributes: Any) -> Value:
    """x[N,H,W,C] of 8-bit integers."""
    return channels_last(lambda image: max_pool(image, **attributes)[0], x)  # type: ignore[arg-type, return-value]


# ------------------------------------------------------------------------------------------------ products


def _turned(x: Value, rows: int, batch: int) -> Value:
    """``batch``: the first axis goes behind the batch axes; then ``rows``: the last two axes change places."""
    order = list(range(x.rank))
    if batch:
        order.insert(x.rank - 2, order.pop(0))
    if rows and x.rank > 1:
        order[-2:] = order[:-3:-1]
    return b.transpose(x, order)


@op("FusedMatMul", "TransposeMatMul")
def fused_matmul(
    x: Value,
    y: Value,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:
    """alpha x y; a factor of constant weights is folded into them."""
    x, y = _turned(x, transA, transBatchA), _turned(y, transB, transBatchB)
    if alpha != 1:
        x, y = (x, y * alpha) if y.is_constant else (x * alpha, y)
    return matmul(x, y)


def _named(alpha: float | None, beta: float | None, gamma: float | None) -> dict[str, float | None]:
    return {"alpha": alpha, "beta": beta, "gamma": gamma, "min": alpha, "max": beta}


@op("FusedMatMulActivation")
def fused_matmul_activation(x: Value, y: Value, *, activation: str, activation_alpha: float | None = None,
                            activation_axis: int = -1, activation_beta: float | None = None,
                            activation_gamma: float | None = None, alpha: float = 1.0, transA: int = 0, transB: int = 0,
                            transBatchA: int = 0, transBatchB: int = 0) -> Value:  # fmt: skip
    """activation(FusedMatMul); a Softmax along ``activation_axis`` too."""
    z = fused_matmul(x, y, alpha=alpha, transA=transA, transB=transB, transBatchA=transBatchA, transBatchB=transBatchB)
    if activation == "Softmax":
        return b.softmax(z, activation_axis)
    return activate(z, activation, _named(activation_alpha, activation_beta, activation_gamma))


@op("FusedGemm")
def fused_gemm(x: Value, y: Value, c: Value | None = None, *, activation: str = "",
               activation_alpha: float | None = None, activation_beta: float | None = None,
               activation_gamma: float | None = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
               transB: int = 0) -> Value:  # fmt: skip
    """activation(alpha x y + beta c)."""
    z = gemm(x, y, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activate(z, activation, _named(activation_alpha, activation_beta, activation_gamma))


# ------------------------------------------------------------------------------------------------ activations


@op("FastGelu")
def fast_gelu(x: Value, bias: Value | None = None) -> Value:
    """x (1 + tanh(...)) / 2, the approximation of Gelu."""
    return b.gelu(x if bias is None else x + bias, approximate=True)


@op("QuickGelu")
def quick_gelu(x: Value, *, alpha: float = 1.702) -> Value:
    """x sigmoid(alpha x)."""
    return swish(x, alpha=alpha)


@op("BiasSplitGelu")
def bias_split_gelu(x: Value, bias: Value) -> Value:
    """x[N,S,2*D] + bias in two halves: left * gelu(right)."""
    half = dims.floordiv(x.shape[-1], 2)
    left, right = b.split(x + bias, [half, half], -1)
    return left * gelu(right)


table(
    Gelu=lambda x: gelu(x),
    BiasGelu=lambda x, bias: gelu(x + bias),
    BiasAdd=lambda x, bias, skip: x + bias + skip,
    GemmFastGelu=lambda x, w, bias=None: fast_gelu(matmul(x, w), bias),
)


@op("BiasSoftmax")
def bias_softmax(x: Value, bias: Value, *, is_inner_broadcast: int, axis: int = 1) -> Value:
    """Softmax of x + bias over all axes from ``axis`` on; the bias broadcasts as in numpy, whichever side that is."""
    total, axis = x + bias, b.axis_of(axis, x.rank)
    lead, rest = total.shape[:axis], total.shape[axis:]
    return b.reshape(b.softmax(b.reshape(total, (*lead, dims.product(rest)))), total.shape)


@op("BiasDropout")
def bias_dropout(
    x: Value,
    bias: Value,
    residual: Value | None = None,
    ratio: Value | None = None,
    training: Value | None = None,
    *,
    seed: int = 0,
) -> list[Value | None]:
    """x + bias + residual at inference, where nothing is dropped."""
    if training is not None and (training.data is None or training.data.any()):
        raise UnsupportedError("dropout that trains has no fixed result", "export the model for inference")
    y = x + bias if residual is None else x + bias + residual
    return [y, b.fill(y.shape, True) if current_node().wants(1) else None]


@op("GroupNorm")
def group_norm(
    x: Value, gamma: Value, beta: Value, *, activation: int, groups: int, channels_last: int = 1, epsilon: float = 1e-5
) -> Value:
    """GroupNormalization, then SiLU where ``activation`` is 1."""
    image = b.channels_first(x) if channels_last else x
    y = group_normalization(image, gamma, beta, num_groups=groups, epsilon=epsilon)
    y = swish(y) if activation else y
    return b.channels_last(y) if channels_last else y


@op("SkipGroupNorm")
@like(group_norm)
def skip_group_norm(
    x: Value,
    gamma: Value,
    beta: Value,
    skip: Value,
    bias: Value | None = None,
    *,
    channels_last: int = 1,
    **attributes: Any,
) -> list[Value]:
    """GroupNorm of x + skip + bias[C], and that sum; skip is like x, [N,1,1,C] or [N,C]."""
    parts = [skip if skip.rank == x.rank else _around(skip, x.rank, channels_last)]
    parts += [] if bias is None else [_around(bias, x.rank, channels_last)]
    total = reduce(b.add, parts, x)
    return [group_norm(total, gamma, beta, channels_last=channels_last, **attributes), total]


def _around(x: Value, rank: int, last: int) -> Value:
    """[C] or [N, C] with unit axes for space."""
    batch, space = x.shape[:-1] or (1,), (1,) * (rank - 2)
    return b.reshape(x, (*batch, *space, x.shape[-1]) if last else (*batch, x.shape[-1], *space))
