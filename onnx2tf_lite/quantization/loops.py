"""Loops, into which calibration does not look: they compute with floats, on int8 weights where those are large."""

from __future__ import annotations

import numpy as np

from ..ir import dims
from ..ir.graph import Graph, Op
from ..targets.forms.unroll import loops

COUNTED, OPEN, OTHER = "counted loops", "loops of open sizes", "other loops"
INSIDE = "float inside"
#: Why they are, and what to do, for the summary.
WHY = {
    COUNTED: f"{INSIDE}: written out (-eru) they are integers",
    OPEN: f"{INSIDE}: with fixed sizes (-ois) and written out (-eru) they are integers",
    OTHER: f"{INSIDE}: only data says when they end, or they are too long to be written out",
}
#: For an error.
REMEDIES = {
    COUNTED: "write loops out (-eru), which makes them integers",
    OPEN: "fix the sizes (-ois) and write loops out (-eru), which makes them integers",
}


def float_inside(graph: Graph) -> dict[str, list[Op]]:
    """Those that compute with floats, by what can be done about it."""
    found: dict[str, list[Op]] = {}
    for op, counted in loops(graph).items():
        made = [v for inner in op.attrs["body"].ops for v in inner.outputs]
        if any(v.dtype == np.float32 for v in made):
            is_open = any(dims.symbols(v.shape) for v in (*op.uses(), *op.outputs, *made))
            found.setdefault(COUNTED if counted else OPEN if is_open else OTHER, []).append(op)
    return found
