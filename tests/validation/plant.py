"""Errors planted in a written .tflite, at seeded random places, and whether the checker blames the right layer.

python -m tests.validation.plant [--seeds 5] [name ...]     # precision and recall on the real models
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from onnx2tf_lite import convert, passes, validation
from onnx2tf_lite.validation.flatfile import OPERATORS
from onnx2tf_lite.validation.isolate import Layers
from onnx2tf_lite.validation.reference import Reference
from onnx2tf_lite.validation.targets import TFLite
from tests.models import golden

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

    def data(self, tensor: int) -> np.ndarray | None:
        """The elements of a constant."""
        table = self.graph.tensors[tensor]
        raw = self.model.buffers[table.buffer].data
        dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT8: np.int8}.get(table.type)
        if raw is None or dtype is None:
            return None
        return np.frombuffer(bytearray(raw), dtype).reshape(table.shape if table.shape is not None else ())

    def put(self, op: int, position: int, array: np.ndarray) -> None:
        """A new constant for one operator only: others may share the old one."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        table = copy.deepcopy(self.graph.tensors[self.graph.operators[op].inputs[position]])
        table.buffer, table.name = len(self.model.buffers) - 1, table.name + b"~planted"
        self.graph.tensors.append(table)
        inputs = list(self.graph.operators[op].inputs)
        inputs[position] = len(self.graph.tensors) - 1
        self.graph.operators[op].inputs = np.array(inputs, np.int32)

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


# ------------------------------------------------------------------------------------------------ kinds of error

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: A plant edits one operator chosen of those for which it is possible, and gives its index in the file as it was.
Plant = Callable[[Editor, np.random.Generator], "int | None"]


def _choose(candidates: list[int], rng: np.random.Generator) -> int | None:
    return int(rng.choice(candidates)) if candidates else None


def weight(edit: Editor, rng: np.random.Generator) -> int | None:
    """Every weight of one operator 1 % too large."""
    op = _choose([i for i in edit.indices(*WEIGHTED) if _floats(edit, i)], rng)
    if op is not None:
        edit.put(op, 1, edit.data(edit.graph.operators[op].inputs[1]) * np.float32(1.01))
    return op


def _floats(edit: Editor, op: int) -> bool:
    data = edit.data(edit.graph.operators[op].inputs[1])
    return data is not None and data.dtype == np.float32 and bool(np.any(data))


def softmax_axis(edit: Editor, rng: np.random.Generator) -> int | None:
    """A SOFTMAX over the last axis but one."""
    shapes = {i: edit.graph.tensors[edit.graph.operators[i].outputs[0]].shape for i in edit.indices("SOFTMAX")}
    op = _choose([i for i, s in shapes.items() if len(s) > 1 and s[-2] > 1], rng)
    if op is not None:
        edit.swap_around(op)
    return op


SPATIAL = ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "RESIZE_BILINEAR",
           "RESIZE_NEAREST_NEIGHBOR")  # fmt: skip


def height_and_width(edit: Editor, rng: np.random.Generator) -> int | None:
    """The spatial axes of a square result exchanged."""
    shapes = {i: edit.graph.tensors[edit.graph.operators[i].outputs[0]].shape for i in edit.indices(*SPATIAL)}
    op = _choose([i for i, s in shapes.items() if s is not None and len(s) == 4 and s[1] == s[2] > 2], rng)
    if op is not None:
        edit.swap_after(op, [0, 2, 1, 3])
    return op


def resize_mode(edit: Editor, rng: np.random.Generator) -> int | None:
    """The other RESIZE operator, or other pixel centres."""
    op = _choose(edit.indices("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), rng)
    if op is None:
        return None
    table = edit.graph.operators[op]
    bilinear = edit.name(table) == "RESIZE_BILINEAR"
    code = schema.OperatorCodeT()
    code.builtinCode = CODES["RESIZE_NEAREST_NEIGHBOR" if bilinear else "RESIZE_BILINEAR"]
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 3
    edit.model.operatorCodes.append(code)
    table.opcodeIndex = len(edit.model.operatorCodes) - 1
    options = schema.ResizeNearestNeighborOptionsT() if bilinear else schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = (
        table.builtinOptions.alignCorners,
        table.builtinOptions.halfPixelCenters,
    )
    name = "ResizeNearestNeighborOptions" if bilinear else "ResizeBilinearOptions"
    table.builtinOptionsType, table.builtinOptions = getattr(schema.BuiltinOptions, name), options
    return op


def transposed_weight(edit: Editor, rng: np.random.Generator) -> int | None:
    """A matrix stored the other way round."""

    def suits(op: int) -> bool:
        data = edit.data(edit.graph.operators[op].inputs[1])
        return (
            data is not None
            and data.ndim > 1
            and min(data.shape[0], data.size // data.shape[0]) > 1
            and _floats(edit, op)
        )

    op = _choose([i for i in edit.indices("FULLY_CONNECTED", "CONV_2D") if suits(i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1])
        edit.put(op, 1, data.reshape(data.shape[0], -1).T.reshape(data.shape))
    return op


def int8_scale(edit: Editor, rng: np.random.Generator) -> int | None:
    """The scale of 8-bit weights twice as large."""

    def suits(op: int) -> bool:
        table = edit.graph.tensors[edit.graph.operators[op].inputs[1]]
        return table.type == schema.TensorType.INT8 and edit.data(edit.graph.operators[op].inputs[1]) is not None

    op = _choose([i for i in edit.indices(*WEIGHTED) if suits(i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1])
        edit.put(op, 1, data)
        quant = edit.graph.tensors[edit.graph.operators[op].inputs[1]].quantization
        quant.scale = np.asarray(quant.scale, np.float32) * 2
        bias = edit.graph.operators[op].inputs[2] if len(edit.graph.operators[op].inputs) > 2 else -1
        if bias >= 0 and edit.graph.tensors[bias].quantization is not None:  # kernels insist on the product of scales
            own = copy.deepcopy(edit.graph.tensors[bias])
            own.quantization.scale, own.name = (
                np.asarray(own.quantization.scale, np.float32) * 2,
                own.name + b"~planted",
            )
            edit.graph.tensors.append(own)
            edit.graph.operators[op].inputs[2] = len(edit.graph.tensors) - 1
    return op


def nan(edit: Editor, rng: np.random.Generator) -> int | None:
    """One weight is NaN."""
    op = _choose([i for i in edit.indices(*WEIGHTED) if _floats(edit, i)], rng)
    if op is not None:
        data = edit.data(edit.graph.operators[op].inputs[1]).copy()
        data.reshape(-1)[rng.integers(data.size)] = np.nan
        edit.put(op, 1, data)
    return op


PLANTS: dict[str, Plant] = {
    p.__name__: p for p in (weight, softmax_axis, height_and_width, resize_mode, transposed_weight, int8_scale, nan)
}


# ------------------------------------------------------------------------------------------------ outcome


@dataclass
class Model:
    """A converted model: where each operator of its file belongs."""

    source: Path
    file: Path
    feeds: Any
    reference: Reference

    @classmethod
    def of(cls, model: golden.Model, folder: Path) -> Model:
        result = convert(model.path, folder, outputs=("float32",), check="none", non_verbose=True)
        feeds = (model.feeds() or [None])[0]
        return cls(model.path, result.files["float32"], feeds, Reference.of(model.path, passes.load(model.path)))

    def layers_of(self, op: int) -> set[str]:
        """The ONNX tensors that the operator is the, or a, last step to, by the map of the file as it was written."""
        target = TFLite(self.file, self.reference)
        names = [s.name for s in self.reference.inputs] + [n for n in self.reference.nodes if n in target.program.names]
        layers = Layers(target, names, {})
        found = {n: layers.layer(n) for n in names}
        return {n for n, layer in found.items() if layer and op in layer.segment.operators}


@dataclass
class Outcome:
    """Who was to be blamed, who was, and whether anything was to be seen at all."""

    kind: str
    expected: set[str]
    blamed: set[str]
    seen: bool
    verdict: str

    @property
    def exact(self) -> bool:
        return (
            bool(self.blamed) and self.blamed <= self.expected
            if len(self.expected) > 1
            else self.blamed == self.expected
        )


def plant(model: Model, kind: str, seed: int, folder: Path) -> Outcome | None:
    """None where the model has no place for such an error."""
    edit = Editor(model.file)
    op = PLANTS[kind](edit, np.random.default_rng(seed))
    if op is None:
        return None
    path = edit.save(folder / f"planted_{kind}_{seed}.tflite")
    report = validation.check(model.source, path, inputs=model.feeds)
    (file,) = report.files
    blamed = {r.tensor for r in file.culprits}
    path.unlink()
    return Outcome(kind, model.layers_of(op), blamed, not file.ok, file.verdict)


NAMES = ("real/yolox_nano_416", "real/deeplab_v3_mnv2_257", "real/ppocr_rec_en_number", "real/vittrack",
         "real/mobilenet_v2_qdq")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in golden.real() + golden.exports():
            if entry.name not in args.names or not entry.present:
                continue
            model = Model.of(entry, Path(folder) / entry.path.stem)
            for kind in PLANTS:
                for seed in range(args.seeds):
                    outcome = plant(model, kind, seed, Path(folder))
                    if outcome is None:
                        break
                    outcomes.append(outcome)
                    state = "exact" if outcome.exact else "WRONG" if outcome.seen else "not to be seen"
                    print(
                        f"{entry.name:32}{kind:20}{seed} {state:8} {sorted(outcome.expected)} {sorted(outcome.blamed)}",
                        flush=True,
                    )
                    if not outcome.exact:
                        print("    ", outcome.verdict)
    seen = [o for o in outcomes if o.seen]
    right = sum(len(o.blamed & o.expected) for o in seen)
    print(f"{len(outcomes)} planted, {len(seen)} to be seen, {sum(o.exact for o in seen)} at the exact layer; "
          f"precision {right / max(1, sum(len(o.blamed) for o in seen)):.3f}, "
          f"recall {sum(bool(o.blamed & o.expected) for o in seen) / max(1, len(seen)):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
