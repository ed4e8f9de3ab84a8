"""Random numbers.  ``seed`` 0 means another sequence in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kind import define

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
_SEEDS: dict[str, Any] = {"seed": "seed", "seed2": "seed"}

for _name, _tf in [("RANDOM_UNIFORM", "RandomUniform"), ("RANDOM_STANDARD_NORMAL", "RandomStandardNormal")]:
    define(_name, lambda inputs, attrs: (tuple(attrs["shape"]), F32), operands=("shape",), tensorflow=_tf, stateful=True,
           options=("RandomOptions", _SEEDS), tf_attrs={**_SEEDS, "dtype": lambda op: F32}, max_rank=8)  # fmt: skip
# logits[rows,classes]: ``count`` draws for each row
define("MULTINOMIAL", lambda inputs, attrs: ((inputs[0].shape[0], attrs["count"]), I64), types="f32", operands=(0, "count"),
       options=("RandomOptions", _SEEDS), tensorflow="Multinomial", tf_attrs={**_SEEDS, "output_dtype": lambda op: I64},
       stateful=True, max_rank=2)  # fmt: skip
