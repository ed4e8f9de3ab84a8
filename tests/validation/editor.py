"""A .tflite as schema objects, for tests that change one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite.validation.files.flatfile import OPERATORS

DTYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16, schema.TensorType.INT8: np.int8,
          schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}  # fmt: skip
CODES = {name: code for code, name in OPERATORS.items()}


class Editor:
    """A .tflite as schema objects; ``save`` writes it."""

    def __init__(self, path: Path):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))
        self.graph = self.model.subgraphs[0]

    def name(self, op: Any) -> str:
        return OPERATORS[self.model.operatorCodes[op.opcodeIndex].builtinCode]

    def indices(self, *names: str) -> list[int]:
        return [i for i, op in enumerate(self.graph.operators) if self.name(op) in names]

    def expanded(self, tensor: int) -> Any:
        """The DEQUANTIZE that makes a tensor of a float16 constant; None where none does."""
        makers = (self.graph.operators[i] for i in self.indices("DEQUANTIZE"))
        maker = next((op for op in makers if op.outputs[0] == tensor), None)
        half = maker is not None and self.graph.tensors[maker.inputs[0]].type == schema.TensorType.FLOAT16
        return maker if half else None

    def data(self, tensor: int) -> np.ndarray | None:
        """The elements of a constant, also of one of 16 bits behind the DEQUANTIZE that expands it."""
        if (maker := self.expanded(tensor)) is not None:
            return self.data(int(maker.inputs[0]))
        table = self.graph.tensors[tensor]
        raw = self.model.buffers[table.buffer].data
        dtype = DTYPES.get(table.type)
        if raw is None or dtype is None:
            return None
        return np.frombuffer(bytearray(raw), dtype).reshape(table.shape if table.shape is not None else ())

    def put(self, op: int, position: int, array: np.ndarray) -> None:
        """A new constant for one operator only: others may share the old one.  One of 16 bits is expanded before all
        others, so the numbers of the operators are then one more."""
        buffer, table = schema.BufferT(), self.graph.operators[op]
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        old = int(table.inputs[position])
        maker, inputs = self.expanded(old), list(table.inputs)
        inputs[position] = self.twin(old if maker is None else int(maker.inputs[0]), len(self.model.buffers) - 1)
        if maker is not None:
            expansion = copy.deepcopy(maker)
            expansion.inputs = np.array([inputs[position]], np.int32)
            inputs[position] = self.twin(old)
            expansion.outputs = np.array([inputs[position]], np.int32)
            self.graph.operators.insert(0, expansion)
        table.inputs = np.array(inputs, np.int32)

    def twin(self, tensor: int, buffer: int | None = None) -> int:
        """Another tensor like one that there is."""
        table = copy.deepcopy(self.graph.tensors[tensor])
        table.name += b"~planted"
        table.buffer = table.buffer if buffer is None else buffer
        self.graph.tensors.append(table)
        return len(self.graph.tensors) - 1

    def swap_after(self, op: int, perm: list[int]) -> None:
        """A TRANSPOSE between ``op`` and all who read its result, which must be as large both ways."""
        result = int(self.graph.operators[op].outputs[0])
        fresh = copy.deepcopy(self.graph.tensors[result])
        fresh.name = fresh.name + b"~planted"
        self.graph.tensors.append(fresh)
        self.graph.operators[op].outputs = np.array([len(self.graph.tensors) - 1], np.int32)
        self.insert(op + 1, "TRANSPOSE", [len(self.graph.tensors) - 1, self.vector(perm)], [result])

    def swap_around(self, op: int) -> None:
        """The operator on the last two axes exchanged."""
        table = self.graph.operators[op]
        rank = len(self.graph.tensors[table.outputs[0]].shape)
        perm = [*range(rank - 2), rank - 1, rank - 2]
        source, result = int(table.inputs[0]), int(table.outputs[0])
        inner: list[int] = []
        for tensor in (source, result):
            fresh = copy.deepcopy(self.graph.tensors[tensor])
            fresh.name, fresh.shape = (
                fresh.name + f"~planted{len(inner)}".encode(),
                np.array([fresh.shape[p] for p in perm], np.int32),
            )
            fresh.shapeSignature = None
            self.graph.tensors.append(fresh)
            inner.append(len(self.graph.tensors) - 1)
        inputs = list(table.inputs)
        inputs[0] = inner[0]
        table.inputs, table.outputs = np.array(inputs, np.int32), np.array([inner[1]], np.int32)
        self.insert(op + 1, "TRANSPOSE", [inner[1], self.vector(perm)], [result])
        self.insert(op, "TRANSPOSE", [source, self.vector(perm)], [inner[0]])

    def vector(self, numbers: list[int]) -> int:
        buffer, table = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(np.array(numbers, np.int32).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        table.name, table.type, table.buffer = (
            f"planted{len(self.graph.tensors)}",
            schema.TensorType.INT32,
            len(self.model.buffers) - 1,
        )
        table.shape, table.hasRank = np.array([len(numbers)], np.int32), True
        self.graph.tensors.append(table)
        return len(self.graph.tensors) - 1

    def insert(self, place: int, name: str, inputs: list[int], outputs: list[int]) -> None:
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = CODES[name], CODES[name], 4
        self.model.operatorCodes.append(code)
        op.opcodeIndex = len(self.model.operatorCodes) - 1
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        self.graph.operators.insert(place, op)

    def save(self, path: Path) -> Path:
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())
        return path
