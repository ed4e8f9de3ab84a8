"""How an operation comes into the graph being built: folded where its operands are constant, with known contents.

:mod:`.build` has the verbs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import TooLargeError
from . import dims
from .dims import Expr
from .graph import SMALL, Attrs, Op, Value, constant, content_of, current_graph, current_origin, written_out
from .kinds import KINDS

FOLD_LIMIT = 1 << 20  # a folded constant may exceed its operands by this many bytes
OPERATIONS = 100_000  # that one node of a model is written out as
PARTS = 10_000  # results of one operation
TABLE = 1 << 26  # elements of an array that is computed for a constant

Operand = Any  # Value | np.ndarray | number


def lift(x: Operand, dtype: DTypeLike | None = None) -> Value:
    """``x`` as a value; a number or array becomes a constant of ``dtype``."""
    return x if isinstance(x, Value) else constant(x, dtype if dtype is not None else None)


def places(count: int, *width: int) -> np.ndarray:
    """0, 1, ..., ``count`` - 1, for a table of ``count`` rows of ``width`` elements that becomes a constant.

    :raises TooLargeError: for a table that nobody would want in a file; it is asked before anything is allocated.
    """
    if (size := math.prod((count, *width))) > TABLE:
        raise TooLargeError(f"a table of {size:,} elements, and {TABLE:,} are the most")
    return np.arange(count)


def parts(count: int) -> range:
    """0, 1, ..., ``count`` - 1, for results that are written out one by one.

    :raises TooLargeError: for more than a program has room for.
    """
    if count > PARTS:
        raise TooLargeError(f"{count:,} parts, and {PARTS:,} are the most")
    return range(count)


def emit_all(kind: str, inputs: Sequence[Value | None], /, **attrs: object) -> list[Value]:
    """Append an operation (or fold it) and return its results.

    :raises TooLargeError: where the node that it is for takes more than ``OPERATIONS``.
    """
    if written_out() > OPERATIONS:
        raise TooLargeError(f"more than {OPERATIONS:,} operations")
    definition = KINDS[kind]
    types = definition.results(inputs, attrs)
    present = [v for v in inputs if v is not None]
    folded = _fold(kind, present, attrs, types)
    if folded is not None:
        return folded
    graph, origin = current_graph(), current_origin()
    stem = origin.outputs[0] if origin and origin.outputs else kind.lower()
    op = Op(definition, list(inputs), [], dict(attrs), origin)
    contents = _contents(kind, present, attrs, types)
    numbers = [c for c in contents if c is not None and dims.is_static(c.ravel())]
    if len(numbers) == len(types):
        return [constant(np.array(c.tolist(), t[1]).reshape(c.shape)) for c, t in zip(numbers, types, strict=True)]
    for (shape, dtype), content in zip(types, contents, strict=True):
        value = Value(graph.fresh_name(stem), tuple(shape), np.dtype(dtype), producer=op, content=content)
        op.outputs.append(value)
    graph.ops.append(op)
    return op.outputs


def emit(kind: str, *inputs: Value | None, **attrs: object) -> Value:
    """:func:`emit_all` for operations with one result."""
    return emit_all(kind, inputs, **attrs)[0]


def _fold(kind: str, inputs: list[Value], attrs: Attrs, types: list[Any]) -> list[Value] | None:
    evaluate = KINDS[kind].evaluate
    if evaluate is None or any(v.data is None for v in inputs) or any(not dims.is_static(s) for s, _ in types):
        return None
    if any(isinstance(d, Expr) for a in attrs.values() if isinstance(a, tuple) for d in a):
        return None
    data = [v.data for v in inputs if v.data is not None]
    size = sum(dims.evaluate(dims.product(s), {}) * np.dtype(d).itemsize for s, d in types)
    if size > sum(a.nbytes for a in {id(a): a for a in data}.values()) + FOLD_LIMIT:
        return None
    with np.errstate(all="ignore"):
        try:
            result = evaluate(attrs, *data)
        except TypeError:
            return None
    arrays = result if isinstance(result, (list, tuple)) else [result]
    return [constant(np.asarray(a, d).reshape(s)) for a, (s, d) in zip(arrays, types, strict=True)]


def _contents(kind: str, inputs: list[Value], attrs: Attrs, types: list[Any]) -> list[np.ndarray | None]:
    unknown: list[np.ndarray | None] = [None] * len(types)
    function = KINDS[kind].symbolic
    if function is None or any(not isinstance(d, int) for s, _ in types for d in s):
        return unknown
    known = [content_of(v) for v in inputs]
    if any(k is None for k in known) or any(dims.evaluate(dims.product(s), {}) > SMALL for s, _ in types):
        return unknown
    try:
        result = function({**attrs, "dtype": types[0][1]}, *known)
    except (TypeError, ZeroDivisionError):
        return unknown
    arrays = result if isinstance(result, (list, tuple)) else [result]
    return [np.asarray(a, object).reshape(s) for a, (s, _) in zip(arrays, types, strict=True)]
