"""ai.onnx.ml without trees, against ONNX Runtime."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onnx2tf_lite.errors import ConversionError
from tests.harness import compile_model, new_runtime
from tests.op_handlers.ml_nodes import check_ml, ml_model

X = np.array([[1, -4, 2], [0, 0, 0], [-3, -1, -2], [0.5, 0.25, 0.75]], np.float32)
WHOLE = np.array([[1, 5, 7], [5, 5, -2]])
NAN = float("nan")


def machine(count: int) -> dict[str, Any]:
    """Attributes of a classifier with two vectors for each of ``count`` classes."""
    rng, pairs = np.random.default_rng(count), count * (count - 1) // 2
    numbers = {"support_vectors": 6 * count, "coefficients": 2 * count * (count - 1), "rho": pairs}
    drawn = {name: rng.standard_normal(size).tolist() for name, size in numbers.items()}
    labels = list(range(10, 10 + count))
    return {**drawn, "vectors_per_class": [2] * count, "kernel_params": [0.5, 0.0, 0.0], "classlabels_ints": labels}


CASES: dict[str, tuple[str, list[np.ndarray], dict[str, Any]]] = {
    "columns": ("ArrayFeatureExtractor", [X, np.array([[2, 0]])], {}),
    "columns of integers": ("ArrayFeatureExtractor", [WHOLE, np.array([1])], {}),
    "binarizer": ("Binarizer", [X], {"threshold": 0.5}),
    "scaler": ("Scaler", [X], {"scale": [2.0, 3.0, -1.0], "offset": [1.0, 0.0, 0.5]}),
    "scaler of integers": ("Scaler", [WHOLE], {"scale": [0.5], "offset": [1.0]}),
    **{f"norm {n}": ("Normalizer", [X], {"norm": n}) for n in ("MAX", "L1", "L2")},
    "imputer": ("Imputer", [X], {"imputed_value_floats": [9.0, 8.0, 7.0], "replaced_value_float": 0.0}),
    "imputer of NaN": ("Imputer", [np.where(X == 0, np.float32(NAN), X)],
                       {"imputed_value_floats": [9.0], "replaced_value_float": NAN}),
    "imputer of integers": ("Imputer", [WHOLE], {"imputed_value_int64s": [4], "replaced_value_int64": 5}),
    "vectorizer": ("FeatureVectorizer", [X, X[:, :2]], {"inputdimensions": [3, 2]}),
    "one-hot": ("OneHotEncoder", [WHOLE], {"cats_int64s": [7, 5, 1]}),
    "labels int to int": ("LabelEncoder", [WHOLE], {"keys_int64s": [5, 1, 5], "values_int64s": [10, 2**40, 30]}),
    "labels int to float": ("LabelEncoder", [WHOLE], {"keys_int64s": [5, 1], "values_floats": [0.5, 2.0],
                                                      "default_float": 7.0}),
    "labels float to int": ("LabelEncoder", [X], {"keys_floats": [0.5, 1.0], "values_int64s": [3, 4],
                                                  "default_int64": 9}),
    "labels of tensors": ("LabelEncoder", [WHOLE], {
        "version": 4, "keys_tensor": numpy_helper.from_array(np.array([5, 7]), "k"),
        "values_tensor": numpy_helper.from_array(np.array([50, 70]), "v"),
        "default_tensor": numpy_helper.from_array(np.array([-9]), "d")}),
    "regressor": ("LinearRegressor", [X], {"coefficients": [1.0, 2, 3, 4, 5, 6], "intercepts": [1.0, 2.0],
                                           "targets": 2}),
    **{f"classes {t}": ("LinearClassifier", [X], {
        "outputs": 2, "coefficients": [1.0, 2, 3, -4, 5, 6, 0.5, 0.5, -1], "intercepts": [0.5, 1.0, -1.0],
        "classlabels_ints": [30, 10, 20], "post_transform": t})
       for t in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")},
    **{f"two classes {t}": ("LinearClassifier", [X], {
        "outputs": 2, "coefficients": [1.0, 2, 3], "intercepts": [0.5], "classlabels_ints": [3, 5],
        "post_transform": t}) for t in ("NONE", "SOFTMAX", "LOGISTIC")},
    **{f"support vectors {k}": ("SVMRegressor", [X], {
        "kernel_type": k, "kernel_params": [0.5, 0.25, 3.0], "support_vectors": [1.0, 2, 3, -1, 0, 1],
        "coefficients": [0.5, -1.5], "n_supports": 2, "rho": [0.25]}) for k in ("LINEAR", "POLY", "RBF", "SIGMOID")},
    **{f"classes by support vectors, {k}, {n}": ("SVMClassifier", [X], {"outputs": 2, "kernel_type": k, **machine(n)})
       for k in ("LINEAR", "RBF") for n in (2, 3, 4)},
    **{f"probabilities of {n}": ("SVMClassifier", [X], {
        "outputs": 2, "kernel_type": "RBF", **machine(n), "prob_a": [-1.5 + 0.3 * i for i in range(n * (n - 1) // 2)],
        "prob_b": [0.2 * i - 0.1 for i in range(n * (n - 1) // 2)]}) for n in (2, 3, 5)},
    "one class": ("SVMRegressor", [X], {"coefficients": [0.5, -1.5, 1.0], "rho": [0.25], "one_class": 1,
                                        "kernel_params": [0.0, 0.0, 0.0]}),
}  # fmt: skip


TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


@new_runtime
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_machines_of_every_transform(count: int, transform: str) -> None:
    """With and without support vectors, probabilities, and coefficients of both signs."""
    pairs, own = count * (count - 1) // 2, machine(count)
    chances = {"prob_a": [-0.3 + 0.1 * i for i in range(pairs)], "prob_b": [0.2 * i - 0.1 for i in range(pairs)]}
    for number, (linear, probable, sign) in enumerate(product((False, True), (False, True), (-1, 0, 1))):
        if (transform, count, linear, probable) == ("PROBIT", 2, False, False):
            continue  # refused: half of ONNX Runtime's scores are what lay in its memory
        attrs = own | {
            "kernel_type": KERNELS[number % 4],
            "kernel_params": [0.5, 0.25, 3.0],
            "post_transform": transform,
        }
        if linear:
            attrs |= {"coefficients": own["support_vectors"][: 3 * count]}
            del attrs["vectors_per_class"], attrs["support_vectors"]
        attrs["coefficients"] = [sign * abs(c) if sign else c for c in attrs["coefficients"]]
        attrs |= {"post_transform": transform, "atol": 1e-4 if transform == "PROBIT" else 1e-6}  # its inverse is steep
        check_ml("SVMClassifier", [X], 2, **attrs | (chances if probable else {}))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("count", [1, 2])
def test_regressions_of_every_transform(count: int, transform: str) -> None:
    """ONNX Runtime changes a single score by PROBIT only, and those of support vectors never."""
    weights = [0.1, 0.05, -0.1, 0.2, -0.1, 0.05][: 3 * count]
    check_ml("LinearRegressor", [X], coefficients=weights, intercepts=[0.5, 0.4][:count], targets=count,
             post_transform=transform)  # fmt: skip
    if count == 1:
        check_ml(
            "SVMRegressor", [X], coefficients=weights, rho=[0.4], kernel_params=[0.0] * 3, post_transform=transform
        )


@new_runtime
@pytest.mark.parametrize("name", CASES)
def test_as_onnx_runtime(name: str) -> None:
    op_type, inputs, options = CASES[name]
    check_ml(op_type, inputs, **({"version": 2} if op_type == "LabelEncoder" else {}) | options)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "text values": ("LabelEncoder", {"version": 2, "keys_int64s": [1], "values_strings": ["a"]}, "no text"),
    "probit of one score": ("LinearClassifier", {"coefficients": [1.0] * 3, "intercepts": [0.0], "outputs": 2,
                                                 "classlabels_ints": [1, 2], "post_transform": "PROBIT"}, "PROBIT"),
    "key NaN": ("LabelEncoder", {"version": 2, "keys_floats": [NAN], "values_floats": [1.0]}, "NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    op_type, options, why = REFUSED[name]
    with pytest.raises(ConversionError, match=why):
        compile_model(ml_model(op_type, [WHOLE if "keys_int64s" in options else X], **options))
