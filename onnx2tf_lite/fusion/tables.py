"""Functions of one 8-bit operand as tables of their 256 results, for files that are integer throughout.

They serve where the steps of a kernel are too coarse for the model's own scale (objectness of at most 1e-4, where
LOGISTIC has 1/256), or where there is no integer kernel at all.  On a CPU the float function is some 20 times faster.
"""

from __future__ import annotations

import numpy as np

from ..ir import build as b
from ..ir.graph import Value, constant
from ..ir.rules import Match, rule
from .integer_kernels import I8, I32, computes, integers, source


@rule("QUANTIZE(result := elementwise(real := shared(DEQUANTIZE(x))))", origin="result")
def table(m: Match) -> Value | None:
    """function of 8 bits as a table

    Every operand has one of 256 values, whose results are known before it runs.
    """
    out, function, stored = m.root.attrs["quant"], m.op("result"), source(m.real)
    if not computes(out) or stored is None or stored.quant is None or stored.dtype != I8:
        return None
    if function.kind.evaluate is None:
        return None
    low, high = stored.quant.ends
    every = constant(stored.quant.real(np.arange(low, high + 1)))
    results = constant(function.kind.evaluate(function.attrs, every.data), name=f"{m.result.name}_table")
    value = b.gather(integers(results, out), b.cast(stored, I32) - low)
    value.quant = out
    return value
