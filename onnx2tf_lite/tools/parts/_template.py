"""Parts as text: a graph in ONNX's own notation (``graphs/*.txt``), with ``$words`` for what the options say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

Dim = int | str
IR = 8  # of the article's files; later opsets need a later one


def fill(
    template: str, opset: int, constants: Mapping[str, np.ndarray], dims: Mapping[str, Dim], **text: str
) -> ModelProto:
    """The model of a template; ``constants`` are arrays that become initializers, ``dims`` numbers or any names.

    Nodes are called ``<graph>_<operator>``, numbered where that is there already.
    """
    names = {f"dim_{word}": dim for word, dim in dims.items() if isinstance(dim, str)}
    words = {word: f"dim_{word}" if isinstance(dim, str) else dim for word, dim in dims.items()}
    source = (Path(__file__).parent / "graphs" / f"{template}.txt").read_text(encoding="utf-8")
    graph = onnx.parser.parse_graph(Template(source).substitute(words, **text))
    counts = Counter[str]()
    for node in graph.node:
        stem = f"{graph.name}_{node.op_type.lower()}"
        counts[stem] += 1
        node.name = stem if counts[stem] == 1 else f"{stem}_{counts[stem]}"
    for info in (*graph.input, *graph.output):
        for axis in info.type.tensor_type.shape.dim:
            if axis.dim_param in names:  # a name that the notation may not have
                axis.dim_param = names[axis.dim_param]
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    imports = [helper.make_opsetid("", opset)]
    ir = max(IR, helper.find_min_ir_version_for(imports, ignore_unknown=True))
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, producer_name="onnx2tf_lite.parts")


def reduce_sum(x: str, axis: int, opset: int) -> str:
    """ReduceSum without the axis, which is an attribute before opset 13 and an input from there on."""
    if opset < 13:
        return f"ReduceSum <axes = [{axis}], keepdims = 0> ({x})"
    return f"ReduceSum <keepdims = 0> ({x}, sum_axis)"
