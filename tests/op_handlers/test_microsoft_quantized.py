"""Quantised operators of ONNX Runtime: the same integers, at most one step apart where a kernel rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.fusion import qdq
from tests.harness import compile_model
from tests.op_handlers.microsoft_nodes import check, check_against, declare, model_of, steps_apart
from tests.op_handlers.nodes import normal, whole

F32, I32 = np.float32, np.int32
SEVEN = {"low": -63, "high": 64}  # ONNX Runtime's products of uint8 and int8 saturate on processors without VNNI
DTYPES = ["uint8", "int8"]


def stored(*shape: int, dtype: str, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return whole(*shape, low=int(info.min), high=int(info.max) + 1, dtype=dtype, seed=seed)


def middle(dtype: str, shift: int) -> np.ndarray:
    """A zero point near the middle of the range."""
    return np.array((int(np.iinfo(dtype).min) + int(np.iinfo(dtype).max)) // 2 + shift, dtype)


def triple(x: np.ndarray, scale: float, shift: int) -> list[np.ndarray]:
    return [x, F32(scale), middle(x.dtype.name, shift)]


def parameters(count: int, start: int = 0) -> tuple[int, ...]:
    """Slots of the scales and zero points of ``count`` operands and the result."""
    slots = [s for i in range(count) for s in (start + 3 * i + 1, start + 3 * i + 2)]
    return (*slots, start + 3 * count, start + 3 * count + 1)


# ------------------------------------------------------------------------------------------------ one real function


@pytest.mark.parametrize("const", [True, False], ids=["const", "run_time"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearMul"])
def test_arithmetic(name: str, dtype: str, const: bool) -> None:
    x, y = stored(2, 3, 4, 5, dtype=dtype), stored(4, 5, dtype=dtype, seed=1)
    inputs = [*triple(x, 0.03, 3), *triple(y, 0.05, -9), F32(0.09), middle(dtype, 5)]
    assert steps_apart(name, inputs, const=parameters(2) if const else (), outputs=(dtype,)) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_absent_zero_points_are_zero(dtype: str) -> None:
    """By the definition: ONNX Runtime's kernels do not survive such nodes, though the schemas have them."""
    x, y = stored(2, 5, dtype=dtype), stored(2, 5, dtype=dtype, seed=1)
    info, total = np.iinfo(dtype), x * np.float64(0.03) + y * np.float64(0.05)
    expected = np.clip(np.round(total / 0.0917), info.min, info.max).astype(dtype)
    inputs = [x, F32(0.03), None, y, F32(0.05), None, F32(0.0917)]
    check_against([expected], "QLinearAdd", inputs, const=(1, 4, 6), outputs=(dtype,))
    sigmoid = np.clip(np.round(1 / (1 + np.exp(x * np.float64(-0.03))) / 0.0231), info.min, info.max).astype(dtype)
    inputs = [x, F32(0.03), None, F32(0.0231)]
    assert steps_apart("QLinearSigmoid", inputs, sigmoid, const=(1, 3), outputs=(dtype,)) <= 1  # 1/256 before


UNARY: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "QLinearSigmoid": ((2, 3, 8), {}),
    "QLinearLeakyRelu": ((2, 3, 8), {"alpha": 0.3}),
    "QLinearSoftmax": ((2, 3, 8), {"opset": 13, "axis": 1}),
    "QLinearSoftmax-12": ((2, 3, 8), {"opset": 12, "axis": 1}),
    "QLinearGlobalAveragePool": ((2, 4, 5, 6), {}),
    "QLinearGlobalAveragePool-last": ((2, 5, 6, 4), {"channels_last": 1}),
    "QLinearAveragePool": ((2, 4, 7, 6), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    "QLinearAveragePool-include": ((2, 4, 7, 6), {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    "QLinearAveragePool-ceil": ((2, 4, 7, 6), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "QLinearAveragePool-same": ((2, 4, 7, 6), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
    "QLinearAveragePool-last": ((2, 7, 6, 4), {"kernel_shape": [3, 2], "channels_last": 1}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", UNARY)
def test_unary(case: str, dtype: str) -> None:
    shape, attributes = UNARY[case]
    inputs = [*triple(stored(*shape, dtype=dtype), 0.03, 3), F32(0.02), middle(dtype, -20)]
    name = case.partition("-")[0]
    assert steps_apart(name, inputs, const=parameters(1), outputs=(dtype,), dynamic=(0,), **attributes) <= 1


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reduce_mean(dtype: str, keepdims: int) -> None:
    x, zero, result = stored(2, 3, 8, dtype=dtype), int(middle(dtype, 3)), int(middle(dtype, -20))
    mean = ((x.astype(np.float64) - zero) * F32(0.03)).mean((0, 2), keepdims=bool(keepdims))
    info = np.iinfo(dtype)
    expected = np.clip(np.round(mean / F32(0.02)) + result, info.min, info.max).astype(dtype)
    inputs = [*triple(x, 0.03, 3), F32(0.02), middle(dtype, -20)]
    check_against([expected], "QLinearReduceMean", inputs, const=parameters(1), outputs=(dtype,), axes=[0, 2],
                  keepdims=keepdims)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype: str) -> None:
    x, y = stored(2, 3, 4, dtype=dtype), stored(3, 1, dtype=dtype, seed=1)
    inputs = [whole(2, 3, 4, low=0, high=2, dtype=bool), *triple(x, 0.03, 3), *triple(y, 0.05, -9), F32(0.06),
              middle(dtype, 0)]  # fmt: skip
    assert steps_apart("QLinearWhere", inputs, const=parameters(2, 1), outputs=(dtype,)) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_concat(dtype: str) -> None:
    parts = [(stored(2, n, 3, dtype=dtype, seed=n), s, shift) for n, s, shift in ((2, 0.03, 3), (4, 0.05, -7))]
    inputs = [F32(0.04), middle(dtype, 1), *(v for p in parts for v in triple(*p))]
    assert steps_apart("QLinearConcat", inputs, const=(0, 1, 3, 4, 6, 7), outputs=(dtype,), axis=1) <= 1


KERNELS = {"QLinearAdd": "ADD", "QLinearMul": "MUL", "QLinearLeakyRelu": "LEAKY_RELU", "QLinearConcat": "CONCATENATION",
           "QLinearGlobalAveragePool": "MEAN"}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_an_int8_model_keeps_an_int8_kernel(name: str) -> None:
    x, y = stored(2, 3, 4, 5, dtype="int8"), stored(2, 3, 4, 5, dtype="int8", seed=1)
    out = [F32(0.09), middle("int8", 5)]
    inputs = [*triple(x, 0.03, 3), *([] if name in UNARY else triple(y, 0.05, -9))]
    inputs = [*out, *inputs] if name == "QLinearConcat" else [*inputs, *out]
    const = tuple(i for i, v in enumerate(inputs) if v.ndim == 0)
    attributes = {"axis": 1} if name == "QLinearConcat" else {}
    graph = check_kinds(name, inputs, const, attributes)
    assert graph[KERNELS[name]] == {"int8"} and "DEQUANTIZE" not in graph, graph


def check_kinds(
    name: str, inputs: list[Any], const: tuple[int, ...], attributes: dict[str, Any]
) -> dict[str, set[str]]:
    """Kind of operation -> dtypes of results."""
    kinds: dict[str, set[str]] = {}
    graph = compile_model(model_of(name, inputs, const=const, outputs=("int8",), **attributes))
    qdq(graph)
    for op in graph.ops:
        kinds.setdefault(op.kind.name, set()).add(op.outputs[0].dtype.name)
    return kinds


# ------------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("last", [0, 1], ids=["first", "last"])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("channels", [0, 4], ids=["tensor", "axis"])
def test_qlinear_conv(channels: int, group: int, last: int) -> None:
    x, w = stored(2, 4, 8, 7, dtype="uint8"), whole(4, 4 // group, 3, 3, **SEVEN, dtype=np.int8, seed=1)
    scale = np.linspace(0.01, 0.03, channels, dtype=F32) if channels else F32(0.02)
    zero = np.zeros(channels, np.int8) if channels else np.int8(0)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if last else x
    inputs = [
        *triple(x, 0.02, 3),
        w,
        scale,
        zero,
        F32(0.4),
        middle("uint8", 0),
        whole(4, low=-500, high=500, dtype=I32),
    ]
    assert steps_apart("QLinearConv", inputs, const=tuple(range(1, 9)), outputs=("uint8",), channels_last=last,
                       group=group, pads=[1, 0, 1, 1], strides=[2, 1]) <= 1  # fmt: skip


@pytest.mark.parametrize("real", [False, True], ids=["stored", "real"])
@pytest.mark.parametrize("channels", [0, 6], ids=["tensor", "columns"])
@pytest.mark.parametrize("attributes", [{}, {"transB": 1}, {"transA": 1, "alpha": 0.5}], ids=["", "transB", "alpha"])
def test_qgemm(attributes: dict[str, Any], channels: int, real: bool) -> None:
    x, y = stored(4, 5, dtype="uint8"), whole(5, 6, **SEVEN, dtype=np.int8, seed=1)
    x, y = (x.T if attributes.get("transA") else x), (y.T if attributes.get("transB") else y)
    scale = np.linspace(0.01, 0.03, channels, dtype=F32) if channels else F32(0.02)
    zero = np.arange(channels).astype(np.int8) if channels else np.int8(4)
    inputs = [*triple(np.ascontiguousarray(x), 0.02, 3), np.ascontiguousarray(y), scale, zero,
              whole(6, low=-500, high=500, dtype=I32)]  # fmt: skip
    if real:
        check("QGemm", inputs, const=tuple(range(1, 7)), atol=1e-4, **attributes)
    else:
        inputs += [F32(0.3), middle("uint8", 0)]
        assert steps_apart("QGemm", inputs, const=tuple(range(1, 9)), outputs=("uint8",), **attributes) <= 1


@pytest.mark.parametrize("bias", [[], [normal(6, seed=4)]], ids=["", "bias"])
@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("channels", [0, 6], ids=["tensor", "columns"])
@pytest.mark.parametrize("name", ["MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
def test_products_with_a_real_result(name: str, channels: int, zeros: bool, bias: list[Any]) -> None:
    y = whole(16, 6, **SEVEN, dtype=np.int8, seed=1)
    scale = np.linspace(0.01, 0.03, channels, dtype=F32) if channels else F32(0.02)
    zero = None if not zeros else np.arange(channels).astype(np.int8) if channels else np.int8(4)
    atol = 1e-4
    if name == "DynamicQuantizeMatMul":
        x = normal(2, 3, 16)
        inputs, const = [x, y, scale, zero, *bias], range(1, 5)
        weights = (y.astype(F32) - (0 if zero is None else zero)) * scale
        atol = float(np.abs(x).max() / 127 * np.abs(weights).sum(0).max())  # half a step of each operand, twice
    else:
        x = stored(2, 3, 16, dtype="uint8")
        inputs, const = [x, y, F32(0.02), scale, middle("uint8", 5) if zeros else None, zero, *bias], range(1, 7)
    check(name, inputs, const=tuple(const), dynamic=(0,), atol=atol)


@pytest.mark.parametrize("axis", [None, 1], ids=["tensor", "axis"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_quantize_and_dequantize(dtype: str, axis: int | None) -> None:
    shape, attributes = ((3,), {"axis": 1}) if axis else ((), {})
    scale = np.random.default_rng(1).uniform(0.02, 0.2, shape).astype(F32)
    zero = np.full(shape, middle(dtype, 0), dtype)
    check("QuantizeLinear", [normal(2, 3, 8, scale=4), scale, zero], const=(1, 2), outputs=(dtype,), **attributes)
    check("DequantizeLinear", [stored(2, 3, 8, dtype=dtype), scale, zero], const=(1, 2), **attributes)


# ------------------------------------------------------------------------------------------------ transformers


@pytest.mark.parametrize("columns", [False, True], ids=["tensor", "columns"])
def test_qattention(columns: bool) -> None:
    x, w = stored(2, 4, 16, dtype="uint8"), whole(16, 48, **SEVEN, dtype=np.int8, seed=1)
    scale = np.linspace(0.001, 0.003, 48, dtype=F32) if columns else F32(0.002)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], I32)
    inputs = [x, w, normal(48), F32(0.02), scale, mask, middle("uint8", 3), np.int8(0) if not columns else
              np.zeros(48, np.int8)]  # fmt: skip
    check("QAttention", inputs, const=(1, 2, 3, 4, 6, 7), num_heads=2, unidirectional=1, rtol=1e-4, atol=1e-5)


def test_qembed_layer_normalization() -> None:
    ids, segments, mask = (whole(2, 6, low=0, high=n, dtype=I32, seed=n) for n in (20, 3, 2))
    tables = [stored(*s, dtype="uint8", seed=i) for i, s in enumerate([(20, 8), (12, 8), (3, 8), (8,), (8,)])]
    scales, zeros = [F32(0.01 * (i + 1)) for i in range(5)], [np.uint8(100 + i) for i in range(5)]
    inputs = [ids, segments, *tables, mask, *scales, *zeros]
    const = tuple(i for i in range(len(inputs)) if i not in (0, 1, 7))
    check("QEmbedLayerNormalization", inputs, const=const, outputs=(F32, I32), atol=1e-5)


# ------------------------------------------------------------------------------------------------ weights in blocks


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """uint8 numbers below 2**bits, lowest bits first along the last axis."""
    groups = values.reshape(*values.shape[:-1], -1, 8 // bits)
    total = sum(groups[..., i].astype(np.uint16) << bits * i for i in range(8 // bits))
    return np.asarray(total).astype(np.uint8)


@pytest.mark.parametrize("zeros", ["none", "packed", "real"])
@pytest.mark.parametrize("columns", [64, 40], ids=["full", "partial"])
@pytest.mark.parametrize("bits", [4, 8, 2])
def test_matmul_nbits(bits: int, columns: int, zeros: str) -> None:
    rows, size = 6, 16
    blocks = -(-columns // size)
    w = packed(whole(rows, blocks, size, low=0, high=1 << bits, dtype=np.uint8), bits)
    scales = np.random.default_rng(1).uniform(0.01, 0.1, (rows, blocks)).astype(F32)
    numbers = whole(rows, -(-blocks * bits // 8) * 8 // bits, low=0, high=1 << bits, dtype=np.uint8, seed=2)
    zero = {"none": None, "packed": packed(numbers, bits), "real": numbers[:, :blocks].astype(F32)}[zeros]
    if zeros == "real" and bits == 8:
        pytest.skip("ONNX Runtime's 8-bit kernel knows packed zero points only")
    inputs = [normal(2, 3, columns), w, scales, zero, None, normal(rows, seed=3)]
    check("MatMulNBits", inputs, const=(1, 2, 3, 5), dynamic=(0,), K=columns, N=rows, bits=bits, block_size=size,
          rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("zeros", ["none", "packed", "real"])
@pytest.mark.parametrize("bits", [4, 8, 2])
def test_columns_of_nbits_have_the_scales_of_other_blocks(tmp_path: Path, bits: int, zeros: str) -> None:
    """g_idx, by the operator's definition: ONNX Runtime forgets packed zero points then, and knows no 8 bits."""
    rows, columns, size, blocks = 6, 40, 16, 3
    rng = np.random.default_rng(5)
    numbers = whole(rows, blocks * size, low=0, high=1 << bits, dtype=np.uint8)
    scales = rng.uniform(0.01, 0.1, (rows, blocks)).astype(F32)
    middle = whole(rows, -(-blocks * bits // 8) * 8 // bits, low=0, high=1 << bits, dtype=np.uint8, seed=2)
    zero = {"none": None, "packed": packed(middle, bits), "real": middle[:, :blocks].astype(F32)}[zeros]
    own = rng.integers(0, blocks, columns).astype(I32)
    x, bias = normal(2, 3, columns), normal(rows, seed=3)
    away = np.full((rows, blocks), 1 << bits - 1) if zeros == "none" else middle[:, :blocks].astype(int)
    real = (numbers[:, :columns].astype(int) - away[:, own]) * scales[:, own]
    wanted = (x @ real.T + bias).astype(F32)
    inputs = [x, packed(numbers.reshape(rows, blocks, size), bits), scales, zero, own, bias]
    options = {"const": (1, 2, 3, 4, 5), "K": columns, "N": rows, "bits": bits, "block_size": size}
    check_against([wanted], "MatMulNBits", inputs, rtol=1e-4, atol=1e-4, **options)
    onnx.save(declare(model_of("MatMulNBits", inputs, **options), [wanted]), tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path, outputs=["float32"], check="layers", verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]


@pytest.mark.parametrize("bits", [4, 8, 2])
@pytest.mark.parametrize("zeros", [False, True], ids=["middle", "zeros"])
def test_gather_block_quantized(bits: int, zeros: bool) -> None:
    table = packed(whole(7, 32, low=0, high=1 << bits, dtype=np.uint8), bits)
    scales = np.random.default_rng(1).uniform(0.01, 0.1, (7, 2)).astype(F32)
    numbers = whole(7, 8 // bits if bits < 4 else 2, low=0, high=1 << bits, dtype=np.uint8, seed=2)
    inputs = [table, np.array([[3, -1], [0, 6]]), scales, *([packed(numbers, bits)] if zeros else [])]
    check("GatherBlockQuantized", inputs, const=(0, 2, 3), bits=bits, block_size=16, gather_axis=0, quantize_axis=1)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_gather_of_4_bit_types(dtype: str, axes: tuple[int, int]) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype))
    low = 0 if dtype == "uint4" else -8
    gather_axis, quantize_axis = axes
    blocks = [32, 32]
    blocks[quantize_axis] = 2
    inputs = [whole(32, 32, low=low, high=low + 16, dtype=np.int8).astype(kind), np.array([3, 0, 6]),
              np.random.default_rng(1).uniform(0.01, 0.1, blocks).astype(F32),
              whole(*blocks, low=low, high=low + 16, dtype=np.int8, seed=2).astype(kind)]  # fmt: skip
    if gather_axis == quantize_axis:
        with pytest.raises(ConversionError, match=r"GatherBlockQuantized .*gather_axis and quantize_axis"):
            compile_model(model_of("GatherBlockQuantized", inputs, const=(0, 2, 3), block_size=16,
                                   gather_axis=gather_axis, quantize_axis=quantize_axis))  # fmt: skip
        return
    check("GatherBlockQuantized", inputs, const=(0, 2, 3), block_size=16, gather_axis=gather_axis,
          quantize_axis=quantize_axis)  # fmt: skip


def test_weights_of_nbits_that_are_not_in_plain_order_are_refused() -> None:
    w, scales = stored(6, 2, 8, dtype="uint8"), np.ones((6, 2), F32)
    common = {"K": 32, "N": 6, "block_size": 16}
    with pytest.raises(ConversionError, match=r"MatMulNBits .*g_idx beyond the 2 blocks of a row"):
        compile_model(
            model_of("MatMulNBits", [normal(2, 32), w, scales, None, np.full(32, 2, I32)], const=(1, 2, 4), **common)
        )
    with pytest.raises(ConversionError, match="weights of MatMulNBits is only known at run time"):
        compile_model(model_of("MatMulNBits", [normal(2, 32), w, scales], **common))
    with pytest.raises(ConversionError, match="prepacked for one device"):
        compile_model(model_of("MatMulNBits", [normal(2, 32), w, scales], const=(1, 2), weight_prepacked=1, **common))
