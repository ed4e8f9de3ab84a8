"""Random numbers.  ``seed`` 0 means another sequence in every run."""

from __future__ import annotations

import numpy as np

from ..kind import Fields, define
from ..traits import NEVER, REALS, Bits, Limits, real, whole

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
_SEEDS: Fields = {"seed": "seed", "seed2": "seed"}


def random(name: str, tensorflow: str, limits: Limits) -> None:
    """Define a distribution."""
    define(
        name,
        lambda inputs, attrs: (tuple(attrs["shape"]), F32),
        real(NEVER, limits, None, stateful=True),
        types="",
        max_rank=8,
        operands=("shape",),
        options=("RandomOptions", _SEEDS),
        tensorflow=tensorflow,
        tf_attrs={**_SEEDS, "dtype": lambda op: F32},
    )


random("RANDOM_UNIFORM", "RandomUniform", (0, 1))
random("RANDOM_STANDARD_NORMAL", "RandomStandardNormal", REALS)
# logits[rows,classes]: ``count`` draws for each row
define(
    "MULTINOMIAL",
    lambda inputs, attrs: ((inputs[0].shape[0], attrs["count"]), I64),
    whole(None, Bits.WRONG, stateful=True),
    types="f32",
    max_rank=2,
    operands=(0, "count"),
    options=("RandomOptions", _SEEDS),
    tensorflow="Multinomial",
    tf_attrs={**_SEEDS, "output_dtype": lambda op: I64},
)
