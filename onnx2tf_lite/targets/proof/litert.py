"""Operands for a file, and what LiteRT makes of them: what the tools' results are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...validation.files.flatfile import FlatFile

Arrays = list[np.ndarray]
#: LiteRT's two sets of kernels; they round some 8-bit products differently, by a step.
KERNELS = {"reference": "BUILTIN_REF", "optimised": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def operands(file: FlatFile, low: float = -1.0) -> Arrays:
    """Seeded numbers for every input, in order: real ones of ``low`` (-1 or 0) to 1, or of that part of the range that
    the integers stand for; 0 or 1 for plain integers, which may be indices.  Extents that are free are 1."""
    rng = np.random.default_rng(0)
    made = []
    for tensor in (file.tensors[i] for i in file.inputs):
        shape = tuple(max(d, 1) for d in tensor.shape)
        if tensor.dtype.kind == "f":
            made.append(rng.uniform(low, 1, shape).astype(tensor.dtype))
        elif tensor.quantised:
            info = np.iinfo(tensor.dtype)
            least = info.min if low < 0 else int(tensor.zero[0]) + 1
            made.append(rng.integers(least, info.max, shape, tensor.dtype, endpoint=True))
        else:
            made.append(rng.integers(0, 2, shape).astype(tensor.dtype))
    return made


def run(content: bytes, feeds: Arrays, kernels: str) -> Arrays:
    """The outputs of a file in order, by one of :data:`KERNELS`.

    :raises RuntimeError, ValueError: LiteRT does not load the file, or not run it on these.
    """
    return inside(content, feeds, kernels)[0]


def inside(content: bytes, feeds: Arrays, kernels: str) -> tuple[Arrays, Callable[[int], np.ndarray]]:
    """The outputs, and what reads any tensor of the main program by its number."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = getattr(OpResolverType, KERNELS[kernels])
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), feeds, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    results = [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]
    return results, interpreter.get_tensor


def everywhere(content: bytes, feeds: Arrays) -> dict[str, Arrays]:
    """The outputs by the kernels that run the file."""
    found = {}
    for name in KERNELS:
        try:
            found[name] = run(content, feeds, name)
        except (RuntimeError, ValueError):  # a set lacks an operator, or the operator refuses these operands
            continue
    return found
