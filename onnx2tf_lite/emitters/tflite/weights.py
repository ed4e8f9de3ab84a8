"""The weights of a .tflite file as HDF5: every constant tensor under its name, as it is stored, with what its integers
stand for as attributes ``scale``, ``zero_point`` and ``axis``.

HDF5 makes groups of the parts of a name: ``file["model/conv/weights"]`` finds a tensor of that name.  Where a name is
the group of another one, the tensor is called ``NAME.value``; attribute ``name`` is as in the file in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...ir.graph import Graph
from ..runtime import package
from .tables import NARROW, Tables, unpacked

SUFFIX = "_weights.h5"


class Weight(NamedTuple):
    """A constant tensor; ``facts``: its attributes."""

    name: str
    data: np.ndarray
    facts: dict[str, object]


def beside(tflite: Path) -> Path:
    """The file that belongs to a .tflite."""
    return tflite.with_name(tflite.stem + SUFFIX)


def write(graph: Graph, tflite: Path, *, float16: bool = False) -> Path:
    """Write the weights of ``graph`` beside ``tflite``, which has been written of it; the path.

    :raises ConversionError: where h5py is not installed.
    """
    h5py = package("h5py", "h5py", "keras")
    weights, path = list(_weights(graph, float16)), beside(tflite)
    groups = {str(group) for weight in weights for group in Path(weight.name.lstrip("/")).parents}
    with h5py.File(path, "w") as file:
        for weight in weights:
            name = weight.name.lstrip("/") or "tensor"
            dataset = file.create_dataset(f"{name}.value" if name in groups else name, data=weight.data)
            dataset.attrs.update({"name": weight.name, **weight.facts})
    return path


def _weights(graph: Graph, float16: bool) -> Iterator[Weight]:
    """The constants of the main graph and of all bodies, as the file has them."""
    model = Tables(float16).model(graph, "")
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors if tensor.buffer):
        blob, quant = model.buffers[tensor.buffer], tensor.quantization
        facts = {} if quant is None else {"scale": quant.scale, "zero_point": quant.zeroPoint}
        if quant is not None and len(quant.scale) > 1:
            facts["axis"] = quant.quantizedDimension
        data = blob.array.astype(blob.dtype)
        if tensor.type in NARROW.values():
            data = unpacked(data, int(np.prod(tensor.shape)))
        yield Weight(tensor.name, data.reshape(tensor.shape), facts)
