"""TfIdfVectorizer against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model, new_runtime
from tests.op_handlers.nodes import check_node, node_model

POOL: dict[str, Any] = {
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 1, 1, 2], "ngram_counts": [0, 4, 10],
    "ngram_indexes": [0, 1, 2, 3, 6, 5, 4, 8],
}  # fmt: skip
TOKENS = np.array([[1, 1, 3, 3, 3, 7, 8], [8, 6, 7, 5, 6, 8, 2], [1, 1, 2, 1, 1, 2, 4]], np.int32)


@new_runtime
@pytest.mark.parametrize("dynamic", [(), (0, (0, 1))], ids=["static", "dynamic"])
@pytest.mark.parametrize("skip", [0, 2, 9])
@pytest.mark.parametrize("grams", [(1, 1), (1, 2), (2, 3)], ids=str)
@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_tfidf(mode: str, grams: tuple[int, int], skip: int, dynamic: tuple) -> None:
    weights = [0.5, 2.0, 1.0, 3.0, 1.5, 0.25, 4.0, 0.1]
    lengths = {"min_gram_length": grams[0], "max_gram_length": grams[1], "max_skip_count": skip}
    check_node("TfIdfVectorizer", [TOKENS], mode=mode, weights=weights, dynamic=dynamic, **lengths, **POOL)


def test_strings_are_refused() -> None:
    attrs = {"pool_strings": ["a"], "ngram_counts": [0], "ngram_indexes": [0], "mode": "TF"}
    lengths = {"min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0}
    with pytest.raises(ConversionError, match="TFLite has no strings"):
        compile_model(node_model("TfIdfVectorizer", [TOKENS], **attrs, **lengths))
