"""Run a SavedModel, for validation."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from ..runtime import Runner, errors_only, tensorflow


def load(folder: str | os.PathLike[str], *, signature_key: str = "serving_default") -> Runner:
    """A function from arrays by signature key to arrays by signature key."""
    tf = tensorflow()
    with errors_only(), tf.device("/CPU:0"):
        module = tf.saved_model.load(os.fspath(folder))
    signature = module.signatures[signature_key]

    wanted = signature.structured_input_signature[1]

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with tf.device("/CPU:0"):
            results = signature(**{key: tf.constant(array, wanted[key].dtype) for key, array in feeds.items()})
        return {key: tensor.numpy() for key, tensor in results.items()}

    run.__dict__["module"] = module  # the signature holds its variables weakly
    run.__dict__["signature"] = signature
    return run
