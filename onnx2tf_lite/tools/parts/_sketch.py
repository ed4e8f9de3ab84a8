"""A graph in the making: every call adds one thing and gives the name of the tensor it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Dim = int | str
Dims = Sequence[Dim]
IR = 8  # of the article's files; later opsets need a later one


class Sketch:
    """Nodes are called ``<part>_<operator>``, numbered where that is there already; their tensors ``<node>_out``."""

    def __init__(self, name: str, opset: int):
        self.name, self.opset = name, opset
        self.graph = onnx.GraphProto(name=name)
        self.counts: dict[str, int] = {}

    def input(self, name: str, dtype: Any, dims: Dims) -> str:
        self.graph.input.append(_info(name, dtype, dims))
        return name

    def const(self, name: str, values: Any, dtype: Any) -> str:
        """An initializer; asking twice for the same one gives the same one."""
        fresh = numpy_helper.from_array(np.asarray(values, dtype), name)
        held = next((t for t in self.graph.initializer if t.name == name), None)
        if held is None:
            self.graph.initializer.append(fresh)
        assert held in (None, fresh), f"two constants are called {name}"
        return name

    def i64(self, name: str, values: Any) -> str:
        return self.const(name, values, np.int64)

    def op(self, op_type: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """A node with one output, called ``out`` where that is given."""
        stem = f"{self.name}_{op_type.lower()}"
        count = self.counts[stem] = self.counts.get(stem, 0) + 1
        node = stem if count == 1 else f"{stem}_{count}"
        result = out or f"{node}_out"
        self.graph.node.append(helper.make_node(op_type, inputs, [result], node, **attributes))
        return result

    def sum(self, x: str, axis: int) -> str:
        """ReduceSum without the axis, which is an attribute before opset 13 and an input from there on."""
        if self.opset < 13:
            return self.op("ReduceSum", x, axes=[axis], keepdims=0)
        return self.op("ReduceSum", x, self.i64(f"{self.name}_axis_{axis}", [axis]), keepdims=0)

    def output(self, name: str, dtype: Any, dims: Dims) -> None:
        self.graph.output.append(_info(name, dtype, dims))

    def model(self) -> onnx.ModelProto:
        imports = [helper.make_opsetid("", self.opset)]
        ir = max(IR, helper.find_min_ir_version_for(imports, ignore_unknown=True))
        return helper.make_model(self.graph, opset_imports=imports, ir_version=ir, producer_name="onnx2tf_lite.parts")


def _info(name: str, dtype: Any, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(dims))
