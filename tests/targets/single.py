"""Files of one operator in every dtype: what the tables of the devices and the devices' own tools are asked about.

They are the cases of tests/emitters/cases.py and of :data:`MORE`, as they are written (``f32``), and as integer files
with scales (``q8``, ``q16``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite.emitters import tflite
from onnx2tf_lite.ir import build as b
from onnx2tf_lite.validation.files.flatfile import OPERATORS
from tests.emitters import cases
from tests.emitters.cases import CASES, conv, kind, same, window

CODES = {name: code for code, name in OPERATORS.items()}
F32 = schema.TensorType.FLOAT32
ACTIVATION = {"q8": (np.int8, 0.05, 3), "q16": (np.int16, 0.0005, 0)}
PLAIN = {"i32": np.int32, "i64": np.int64, "b": np.bool_, "i8": np.int8, "i16": np.int16}
#: Operators that this project never writes, as others with another code: name -> (case, code).
OTHERS = {"SQUARED_DIFFERENCE": "SUB"}
#: The scale and zero point that the int8 kernel insists on; those of int16 are 1/32768 and 0.
RESULTS = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "LOG_SOFTMAX": (1 / 16, 127)}
LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
#: Where the bias and the filter are.
BIAS = {"TRANSPOSE_CONV": 3}


def _more() -> dict[str, cases.Case]:
    """What devices tell apart and LiteRT does not."""
    kept = dict(CASES)
    CASES.clear()
    same("ADD MUL SUB", "f32[N,2,2,4] f32[N,2,2,4]", "-equal", activation=None)
    same("MAXIMUM MINIMUM", "f32[N,2,2,4] f32[N,2,2,4]", "-equal")
    same("SOFTMAX RELU LOGISTIC TANH", "f32[1,2,3,4]", "-4d")
    same("MEAN SUM REDUCE_MAX REDUCE_MIN", "f32[1,6,6,8]", "-hw", axes=(1, 2), keepdims=True)
    same("MEAN SUM REDUCE_MAX", "f32[1,6,6,8]", "-c", axes=(3,), keepdims=True)
    same("MEAN", "f32[4,6,6,8]", "-batch", axes=(1, 2), keepdims=False)
    for extent in (4096, 4097):
        same("MEAN", f"f32[1,{extent},2,4]", f"-{extent}", axes=(1,), keepdims=False)
    same("ARG_MAX ARG_MIN", "f32[1,6,6,8]", "-c", axis=3, to=np.dtype(np.int32))
    more: dict[str, cases.Case] = {
        **CASES,
        "CONV_2D-1": ("f32[1,8,9,4]", conv("CONV_2D", (6, 3, 2, 4), 6, (2, 1), "SAME")),
        "CONV_2D-stride4": ("f32[1,17,17,4]", conv("CONV_2D", (6, 3, 3, 4), 6, (4, 4), "SAME")),
        "CONV_2D-stride4-valid": ("f32[1,17,17,4]", conv("CONV_2D", (6, 3, 3, 4), 6, (4, 4), "VALID")),
        "DEPTHWISE_CONV_2D-1": (
            "f32[1,8,9,4]",
            conv("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 4, (2, 2), "SAME", multiplier=1),
        ),
        "DEPTHWISE_CONV_2D-stride4": (
            "f32[1,17,17,4]",
            conv("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 4, (4, 4), "VALID", multiplier=1),
        ),
        "TRANSPOSE_CONV-2": ("f32[1,4,4,3]", cases.transposed("TRANSPOSE_CONV", (6, 2, 2, 3), 6, (8, 8, 6), "VALID")),
        "FULLY_CONNECTED-1": (
            "f32[1,4]",
            kind("FULLY_CONNECTED", cases.weights(6, 4), cases.weights(6), activation=None),
        ),
        "FULLY_CONNECTED-computed": ("f32[1,4] f32[6,4]", kind("FULLY_CONNECTED", None, activation=None)),
        "AVERAGE_POOL_2D-large": ("f32[1,20,20,4]", kind("AVERAGE_POOL_2D", **window((1, 1), "SAME", kernel=(9, 9)))),
        "MAX_POOL_2D-stride4": ("f32[1,16,16,4]", kind("MAX_POOL_2D", **window((4, 4), "SAME", kernel=(4, 4)))),
        "RESIZE_NEAREST_NEIGHBOR-x2": (
            "f32[1,4,6,3]",
            kind("RESIZE_NEAREST_NEIGHBOR", size=(8, 12), align_corners=False, half_pixel_centers=False),
        ),
        "RESIZE_BILINEAR-x2": (
            "f32[1,4,6,3]",
            kind("RESIZE_BILINEAR", size=(8, 12), align_corners=False, half_pixel_centers=True),
        ),
        "RESIZE_BILINEAR-x3": (
            "f32[1,4,6,3]",
            kind("RESIZE_BILINEAR", size=(12, 18), align_corners=False, half_pixel_centers=False),
        ),
        "TRANSPOSE-4d": ("f32[1,3,4,5]", lambda x: b.transpose(x, (0, 2, 3, 1))),
        "TRANSPOSE-5d": ("f32[1,3,4,5,2]", lambda x: b.transpose(x, (0, 2, 4, 3, 1))),
        "TRANSPOSE-6d": ("f32[1,3,4,5,2,2]", lambda x: b.transpose(x, (0, 2, 4, 5, 3, 1))),
        "ADD-5d": ("f32[1,2,2,3,4] f32[1,2,2,3,4]", kind("ADD", activation=None)),
        "MUL-5d-broadcast": ("f32[1,2,2,3,4] f32[1,2,1,3,1]", kind("MUL", activation=None)),
        "PAD-4d": ("f32[1,3,4,2]", lambda x: b.pad(x, [(0, 0), (1, 2), (3, 0), (0, 0)])),
        "PAD-5d": ("f32[1,3,4,2,2]", lambda x: b.pad(x, [(0, 0), (1, 2), (3, 0), (0, 0), (0, 1)])),
        "STRIDED_SLICE-4d": ("f32[1,8,8,4]", lambda x: b.strided_slice(x, (0, 0, 1, 0), (1, 8, 8, 4), (1, 2, 2, 1))),
        "STRIDED_SLICE-5d": (
            "f32[1,8,8,4,2]",
            lambda x: b.strided_slice(x, (0, 0, 1, 0, 0), (1, 8, 8, 4, 2), (1, 2, 2, 1, 1)),
        ),
        "SLICE-4d": ("f32[1,8,8,4]", lambda x: b.slice_(x, (0, 1, 2, 0), (1, 3, 4, 4))),
        "SLICE-5d": ("f32[1,8,8,4,2]", lambda x: b.slice_(x, (0, 1, 2, 0, 0), (1, 3, 4, 4, 2))),
        "CONCATENATION-4d": ("f32[1,2,2,3] f32[1,2,2,4]", lambda x, y: b.concat([x, y], 3)),
        "SPLIT-4d": ("f32[1,2,2,6]", lambda x: b.split(x, (2, 2, 2), 3)),
        "GATHER-1d": ("f32[5,4]", lambda x: b.gather(x, np.array([1, 3], np.int32), 0)),
        "BATCH_MATMUL-4d": ("f32[1,2,3,4] f32[1,2,4,5]", lambda x, y: b.matmul(x, y)),
        "BATCH_MATMUL-5d": ("f32[1,2,2,3,4] f32[1,2,2,4,5]", lambda x, y: b.matmul(x, y)),
        "BATCH_MATMUL-broadcast": ("f32[1,2,3,4] f32[1,1,4,5]", lambda x, y: b.matmul(x, y)),
        "DEPTH_TO_SPACE-1": ("f32[1,2,3,8]", kind("DEPTH_TO_SPACE", block=2)),
    }
    CASES.clear()
    CASES.update(kept)
    return more


MORE = _more()


def quantised(model: schema.ModelT, form: str) -> schema.ModelT:
    """The file with integers and scales in place of every float32 tensor, biases in int32 (behind int16 in int64)."""
    dtype, scale, zero = ACTIVATION[form]
    graph = model.subgraphs[0]
    biases, filters, results = dict[int, Any](), set[int](), dict[int, str]()
    for op in graph.operators:
        name = OPERATORS[max(model.operatorCodes[op.opcodeIndex].builtinCode, 0)]
        results.update(dict.fromkeys(map(int, op.outputs), name))
        if name in LINEAR:
            filters.add(int(op.inputs[1]))
            place = BIAS.get(name, 2)
            if len(op.inputs) > place and op.inputs[place] >= 0:
                biases[int(op.inputs[place])] = op
    for index, tensor in enumerate(graph.tensors):
        if tensor.type != F32:
            continue
        data = model.buffers[tensor.buffer].data
        real = None if data is None else np.frombuffer(bytes(bytearray(data)), np.float32)
        if index in biases:
            wide = np.int64 if form == "q16" else np.int32
            _store(model, tensor, wide, scale * 0.02, 0, real)
        elif index in filters:
            _store(model, tensor, np.int8, 0.02, 0, real)
        elif results.get(index) in RESULTS:
            special = (1 / 32768, 0) if form == "q16" else RESULTS[results[index]]
            _store(model, tensor, dtype, *special, real)
        else:
            _store(model, tensor, dtype, scale, zero, real)
    return model


def plain(model: schema.ModelT, form: str) -> schema.ModelT:
    """The file with numbers of another dtype in place of every float32 tensor."""
    dtype = np.dtype(PLAIN[form])
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == F32:
            tensor.type = getattr(schema.TensorType, dtype.name.upper())
            data = model.buffers[tensor.buffer].data
            if data is not None:
                buffer = schema.BufferT()
                real = np.frombuffer(bytes(bytearray(data)), np.float32)
                buffer.data = np.frombuffer(real.astype(dtype).tobytes(), np.uint8)
                model.buffers.append(buffer)
                tensor.buffer = len(model.buffers) - 1
    return model


def _store(model: schema.ModelT, tensor: schema.TensorT, dtype: Any, scale: float, zero: int, real: Any) -> None:
    info = np.iinfo(dtype)
    tensor.type = getattr(schema.TensorType, np.dtype(dtype).name.upper())
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([zero], np.int64)
    if real is not None:
        stored = np.clip(np.rint(real / scale) + zero, info.min, info.max).astype(dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1


@cache
def content(name: str, form: str) -> bytes:
    """The file of a case."""
    table = {**CASES, **MORE}
    graph, _ = cases.program(table[OTHERS.get(name, name)], False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.tflite")
        tflite.write(graph, path)
        data = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
    if name in OTHERS:
        code, op = model.operatorCodes[0], model.subgraphs[0].operators[0]
        code.builtinCode = code.deprecatedBuiltinCode = CODES[name]
        op.builtinOptionsType, op.builtinOptions = 0, None
    if form in ACTIVATION:
        model = quantised(model, form)
    elif form in PLAIN:
        model = plain(model, form)
    model.buffers[0].data = None
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def files(*forms: str) -> Iterator[tuple[str, str]]:
    """Every case in every form that makes a difference to it."""
    for name, (spec, _) in {**CASES, **MORE, **dict.fromkeys(OTHERS, ("f32", None))}.items():
        for form in forms:
            if form == "f32" or "f32" in spec:
                yield name, form
