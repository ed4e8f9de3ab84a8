"""The kinds of quantised program, as a table."""

from __future__ import annotations

import numpy as np

from ..record import record

I8, I16 = np.dtype(np.int8), np.dtype(np.int16)


@record
class Recipe:
    """What becomes integers.

    ``activations``  dtype of the tensors between operators; None: they stay float, and nothing is calibrated
    ``outside``      inputs and outputs of the program are integers too
    ``hybrid``       kernels read the int8 weights themselves; else a DEQUANTIZE expands them (float activations alone)
    ``bits``         of the weights; those of 4 bits are in blocks (``blocks``)
    """

    activations: np.dtype | None = None
    outside: bool = False
    hybrid: bool = False
    bits: int = 8


#: By branch of the compiler, which is also the name of the output kind.
RECIPES: dict[str, Recipe] = {
    "dynamic_range_quant": Recipe(hybrid=True),
    "integer_quant": Recipe(I8),
    "full_integer_quant": Recipe(I8, outside=True),
    "integer_quant_with_int16_act": Recipe(I16),
    "full_integer_quant_with_int16_act": Recipe(I16, outside=True),
    "weight_only_int8": Recipe(),
    "weight_only_int4": Recipe(bits=4),
}
