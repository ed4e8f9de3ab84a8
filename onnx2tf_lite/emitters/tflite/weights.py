"""The weights of a .tflite file as HDF5: every constant tensor under its name, as it is stored, with what its integers
stand for as attributes ``scale``, ``zero_point`` and ``axis``.

HDF5 makes groups of the parts of a name: ``file["model/conv/weights"]`` finds a tensor of that name.  Where a name is
the group of another one, the tensor is called ``NAME.value``; attribute ``name`` is as in the file in any case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...ir.graph import Graph, Quant
from ..runtime import package
from .tables import Tables, unpacked

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
    tables = Tables(float16)
    tables.add(graph)
    for tensor in (tensor for body in tables.bodies for tensor in body.tensors if tensor.buffer):
        blob = tables.pool.blobs[tensor.buffer - 1]
        data, shape = blob.array.astype(blob.dtype), tensor.extents()
        if tensor.bits:
            data = unpacked(data, math.prod(shape))
        yield Weight(tensor.name, data.reshape(shape), _facts(tensor.quant))


def _facts(quant: Quant | None) -> dict[str, object]:
    """What the integers of a constant stand for."""
    if quant is None:
        return {}
    axis = {"axis": quant.axis or 0} if quant.scale.size > 1 else {}
    return {"scale": np.float32(quant.scale), "zero_point": np.int64(quant.zero_point), **axis}
