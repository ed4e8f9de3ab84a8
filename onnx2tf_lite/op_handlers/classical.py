"""ai.onnx.ml without trees: features, linear models, support vectors.

Axis names: N rows, C features or classes, S support vectors.  Floats are float32.  Where ONNX is vague (scores of two
classes, Normalizer of negative numbers) the results are those of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import build as b
from ..ir.graph import Value
from ._pairwise import of_pairs
from .registry import TensorAttribute, UnsupportedError, current_node, op, table

ML = "ai.onnx.ml"
NO_TEXT = "TFLite has no text tensors", "use numbers instead of strings, or take only the numeric outputs of the node"
UNDEFINED = "use LOGISTIC, SOFTMAX or NONE and two classes or more: ONNX Runtime leaves the scores to chance"
INF = np.float32(np.inf)


def rows(x: Value) -> Value:
    """``x`` as float32 [N, C]; a vector is one row."""
    return b.cast(x if x.rank > 1 else b.reshape(x, (1, -1)), np.float32)


Numbers = Sequence[float] | np.ndarray | TensorAttribute


def numbers(attribute: Numbers) -> np.ndarray:
    """An attribute that is a list or a tensor of numbers."""
    array = np.asarray(getattr(attribute, "values", attribute))
    if array.dtype.kind in "OSU":
        raise UnsupportedError(*NO_TEXT)
    return array


def floats(attribute: Numbers) -> np.ndarray:
    """The same as float32."""
    return numbers(attribute).astype(np.float32)


# ------------------------------------------------------------------------------------------------ scores and labels


def _softmax_zero(x: Value) -> Value:
    """The softmax of what is not 0."""
    zero = b.less(b.abs_(x), 1e-7)
    return b.where(zero, x, b.softmax(b.where(zero, -INF, x)))


PART = np.float32(0.147)


def _probit(x: Value) -> Value:
    """The inverse of the normal distribution function, by Winitzki's approximation of the inverse error function.

    Step by step as ONNX Runtime has it: the difference cancels out near 1/2, and its rounding is all that is left.
    """
    y = x * 2.0 - 1.0
    logarithm = b.log((1.0 - y) * (1.0 + y))
    v = logarithm * 0.5 + 2 / (np.float32(3.14159) * PART)
    square = b.neg(v) + b.sqrt(v * v - logarithm * (1 / PART))
    return b.where(b.less(y, 0), np.float32(-1), np.float32(1)) * b.sqrt(square) * np.float32(2**0.5)


# in the order of their numbers in TreeEnsemble
POST_TRANSFORMS: dict[str, Callable[[Value], Value]] = {
    "NONE": lambda x: x,
    "SOFTMAX": b.softmax,
    "LOGISTIC": b.logistic,
    "SOFTMAX_ZERO": _softmax_zero,
    "PROBIT": _probit,
}


def transformed(scores: Value, name: str) -> Value:
    """Scores after the ``post_transform`` of that name."""
    return POST_TRANSFORMS[name](scores)


def of_targets(scores: Value, name: str) -> Value:
    """The same of [N, K], of which ONNX Runtime changes a single score by PROBIT only."""
    return transformed(scores, "NONE" if scores.shape[1] == 1 and name != "PROBIT" else name)


def label(place: Value, labels: Sequence[int]) -> Value:
    """The label at ``place``; the place itself where labels are text, which only a caller can look up."""
    if not labels and any(current_node().read[:1]):
        raise UnsupportedError(*NO_TEXT)
    return b.gather(np.array(labels, np.int64), place) if labels else b.cast(place, np.int64)


def two_classes(
    score: Value, labels: Sequence[int], transform: str, threshold: float, opposite: Value
) -> list[Value | None]:
    """Label [N] and scores [N, 2] from one ``score`` [N, 1]: the second class wins above ``threshold``.

    The first class has the score ``opposite``.  Of the transforms, only LOGISTIC changes anything.
    """
    if transform == "PROBIT":
        raise UnsupportedError("PROBIT of one decision", UNDEFINED)
    first, second = (b.neg(score), score) if transform == "LOGISTIC" else (opposite, score)
    place = b.cast(b.greater(b.reshape(score, (-1,)), threshold), np.int32)
    both = b.concat([first, second], 1)
    return [label(place, labels), b.logistic(both) if transform == "LOGISTIC" else both]


# ------------------------------------------------------------------------------------------------ linear models


def _linear(x: Value, coefficients: Sequence[float], intercepts: Sequence[float]) -> Value:
    """[N, K] from K rows of coefficients."""
    x = rows(x)
    weights = floats(coefficients).reshape(-1, int(x.shape[1]))  # type: ignore[arg-type]
    bias = floats(intercepts) if len(intercepts) else np.zeros(len(weights), np.float32)
    return b.fully_connected(x, weights, bias)


@op("LinearRegressor", domain=ML)
def linear_regressor(
    x: Value,
    *,
    coefficients: Sequence[float],
    intercepts: Sequence[float] = (),
    targets: int = 1,
    post_transform: str = "NONE",
) -> Value:
    return of_targets(_linear(x, coefficients, intercepts), post_transform)


@op("LinearClassifier", domain=ML)
def linear_classifier(
    x: Value,
    *,
    coefficients: Sequence[float],
    intercepts: Sequence[float] = (),
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> list[Value | None]:
    scores = _linear(x, coefficients, intercepts)
    if scores.shape[1] == 1:
        return two_classes(scores, classlabels_ints, post_transform, 0.0, 1.0 - scores)
    return [label(b.arg("ARG_MAX", scores, 1), classlabels_ints), transformed(scores, post_transform)]


# ------------------------------------------------------------------------------------------------ support vectors


def _distance(x: Value, vectors: np.ndarray) -> Value:
    """Squared distances [N, S], from differences: products would cancel."""
    apart = b.reshape(x, (x.shape[0], 1, x.shape[1])) - vectors[None]
    return b.reduce("SUM", b.square(apart), (2,))


KERNELS: dict[str, Callable[[Value, np.ndarray, float, float, float], Value]] = {
    "LINEAR": lambda x, v, gamma, shift, degree: b.fully_connected(x, v),
    "POLY": lambda x, v, gamma, shift, degree: b.power(b.fully_connected(x, v) * gamma + shift, degree),
    "SIGMOID": lambda x, v, gamma, shift, degree: b.tanh(b.fully_connected(x, v) * gamma + shift),
    "RBF": lambda x, v, gamma, shift, degree: b.exp(_distance(x, v) * -gamma),
}


@op("SVMRegressor", domain=ML)
def svm_regressor(
    x: Value,
    *,
    coefficients: Sequence[float],
    rho: Sequence[float] = (0.0,),
    n_supports: int = 0,
    support_vectors: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    kernel_params: Sequence[float] = (0.0, 0.0, 0.0),
    one_class: int = 0,
    post_transform: str = "NONE",
) -> Value:
    """sum(coefficient * kernel(x, support vector)) + rho, or its sign."""
    x = rows(x)
    if n_supports:
        vectors = floats(support_vectors).reshape(n_supports, -1)
        x = KERNELS[kernel_type](x, vectors, *(float(p) for p in kernel_params))
    y = _linear(x, coefficients, rho[:1])
    return b.where(b.greater(y, 0), np.float32(1), np.float32(-1)) if one_class else y


@op("SVMClassifier", domain=ML)
def svm_classifier(
    x: Value,
    *,
    coefficients: Sequence[float],
    rho: Sequence[float],
    vectors_per_class: Sequence[int] = (),
    support_vectors: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    kernel_params: Sequence[float] = (0.0, 0.0, 0.0),
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    prob_a: Sequence[float] = (),
    prob_b: Sequence[float] = (),
    post_transform: str = "NONE",
) -> list[Value | None]:
    """A decision for every pair of classes, each a vote; label [N] and decisions [N, C * (C - 1) / 2].

    The scores of two classes are the negative of the decision, and the decision.  With ``prob_a`` and ``prob_b`` the
    scores are probabilities [N, C].  Without support vectors there is a linear decision for each class.
    """
    labels = classlabels_ints
    if not sum(vectors_per_class):
        classes = len(classlabels_strings or labels)
        return _linear_machine(x, coefficients, rho[0], labels, classes, bool(prob_a), post_transform)
    count, (starts, vectors) = len(vectors_per_class), _supports(vectors_per_class, support_vectors)
    if count < 2 or (count == 2 and post_transform == "PROBIT" and not prob_a):
        raise UnsupportedError("support vectors of one class, or PROBIT of one decision", UNDEFINED)
    kernel = KERNELS[kernel_type](rows(x), vectors, *(float(p) for p in kernel_params))
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    weights = np.zeros((len(pairs), len(vectors)), np.float32)
    ballot = np.zeros((2, len(pairs), count), np.float32)
    given = floats(coefficients)[: (count - 1) * starts[-1]].reshape(count - 1, -1)
    for row, (i, j) in enumerate(pairs):
        for own, other in ((i, j - 1), (j, i)):
            weights[row, starts[own] : starts[own + 1]] = given[other, starts[own] : starts[own + 1]]
        ballot[0, row, i] = ballot[1, row, j] = 1
    scores = b.fully_connected(kernel, weights, floats(rho)[: len(pairs)])
    won = b.cast(b.greater(scores, 0), np.float32)
    votes = b.fully_connected(won, ballot[0].T) + b.fully_connected(1.0 - won, ballot[1].T)
    place = label(b.arg("ARG_MAX", votes, 1), labels)
    if prob_a:
        slopes, offsets = (floats(p)[: len(pairs)] for p in (prob_a, prob_b))
        scores = of_pairs(scores, slopes, offsets, count)
    elif count == 2:
        first = 1.0 - scores if post_transform.startswith("SOFTMAX") else b.neg(scores)  # and it changes nothing
        both = b.concat([first, scores], 1)
        return [place, b.logistic(both) if post_transform == "LOGISTIC" else both]
    return [place, transformed(scores, post_transform)]


def _linear_machine(
    x: Value, coefficients: Sequence[float], rho: float, labels: Sequence[int], count: int, probable: bool,
    transform: str
) -> list[Value | None]:  # fmt: skip
    """Label [N] and scores [N, C] of a linear decision for each class.

    Of two classes the second one also wins where the best score is above 0, or 0.5 if no coefficient is negative, as
    ONNX Runtime has it; a single score is not transformed, unless by PROBIT.
    """
    weights = floats(coefficients)
    weights = weights[: len(weights) // count * count].reshape(count, -1)
    scores = b.fully_connected(rows(x), weights, np.full(count, rho, np.float32))
    place = b.arg("ARG_MAX", scores, 1)
    if count == 2 and not probable:
        best = b.reduce("REDUCE_MAX", scores, (1,))
        second = b.greater_equal(best, 0.5) if min(coefficients) >= 0 else b.greater(best, 0)
        place = b.where(second, np.int32(1), place)
    return [label(place, labels), of_targets(scores, transform)]


def _supports(per_class: Sequence[int], vectors: Sequence[float]) -> tuple[list[int], np.ndarray]:
    """Where the vectors of each class begin (and the last ones end), and the vectors [S, C]."""
    starts = [sum(per_class[:i]) for i in range(len(per_class) + 1)]
    return starts, floats(vectors).reshape(max(starts[-1], 1), -1)


# ------------------------------------------------------------------------------------------------ features


def _array_feature_extractor(x: Value, index: Value) -> Value:
    x = x if x.rank > 1 else b.reshape(x, (1, -1))
    return b.gather(x, b.cast(b.reshape(index, (-1,)), np.int32), -1)


table(
    ML,
    ArrayFeatureExtractor=_array_feature_extractor,
    Binarizer=lambda x, *, threshold=0.0: b.cast(b.greater(x, threshold), x.dtype),
    Scaler=lambda x, *, scale, offset: (b.cast(x, np.float32) - floats(offset)) * floats(scale),
)

NORMS: dict[str, Callable[[Value], Value]] = {
    "MAX": lambda x: b.reduce("REDUCE_MAX", x, (-1,), keepdims=True),
    "L1": lambda x: b.reduce("SUM", b.abs_(x), (-1,), keepdims=True),
    "L2": lambda x: b.sqrt(b.reduce("SUM", b.square(x), (-1,), keepdims=True)),
}


@op("Normalizer", domain=ML)
def normalizer(x: Value, *, norm: str = "MAX") -> Value:
    """Rows divided by their norm; a row whose norm is 0 stays."""
    x = b.cast(x, np.float32)
    size = NORMS[norm](x)
    return x / b.where(b.equal(size, 0), np.float32(1), size)


@op("Imputer", domain=ML)
def imputer(
    x: Value,
    *,
    imputed_value_floats: Sequence[float] = (),
    imputed_value_int64s: Sequence[int] = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Value:
    """One value per column, or one for all, in place of the one that is replaced (NaN, too)."""
    fresh = np.asarray(imputed_value_floats or imputed_value_int64s, x.dtype)
    old = replaced_value_float if imputed_value_floats else replaced_value_int64
    missing = b.not_equal(x, x) if np.isnan(old) else b.equal(x, old)
    return b.where(missing, b.broadcast_to(fresh, x.shape), x)


@op("FeatureVectorizer", domain=ML)
def feature_vectorizer(*xs: Value, inputdimensions: Sequence[int]) -> Value:
    parts = [b.cast(x if x.rank > 1 else b.reshape(x, (-1, 1)), np.float32) for x in xs]
    if [p.shape[1] for p in parts] != list(inputdimensions):
        raise UnsupportedError(
            f"inputdimensions {list(inputdimensions)} differ from the inputs", "correct the attribute"
        )
    return b.concat(parts, 1)


def _matches(x: Value, keys: np.ndarray) -> Value:
    """[..., K]: which of the keys each element is."""
    return b.equal(b.reshape(x, (*x.shape, 1)), keys.astype(x.dtype))


@op("OneHotEncoder", domain=ML)
def one_hot_encoder(
    x: Value, *, cats_int64s: Sequence[int] = (), cats_strings: Sequence[str] = (), zeros: int = 1
) -> Value:
    """A category that is not in the list gives zeros (with ``zeros=0`` ONNX leaves it undefined)."""
    if not cats_int64s:
        raise UnsupportedError(*NO_TEXT)
    return b.cast(_matches(b.cast(x, np.int64), np.array(cats_int64s)), np.float32)


@op("LabelEncoder", domain=ML)
def label_encoder(
    x: Value,
    *,
    default_int64: int = -1,
    default_float: float = -0.0,
    default_string: str = "_Unused",
    default_tensor: TensorAttribute | None = None,
    **lists: Any,
) -> Value:
    """The value of the first key that an element equals, or the default."""
    given = {
        role: (form, lists[f"{role}_{form}"])
        for role in ("keys", "values")
        for form in ("int64s", "floats", "strings", "tensor")
        if f"{role}_{form}" in lists
    }
    if set(given) != {"keys", "values"} or "strings" in (given["keys"][0], given["values"][0]):
        raise UnsupportedError(*NO_TEXT)
    keys, (form, found) = numbers(given["keys"][1]).ravel(), given["values"]
    default = {"int64s": default_int64, "floats": default_float}.get(form)
    if default_tensor is not None:
        default = numbers(default_tensor).item()
    if default is None or np.isnan(keys).any():
        raise UnsupportedError("a key that is NaN" if default is not None else "no default for a tensor of values")
    values = np.append(numbers(found).ravel(), default).astype(np.int64 if form == "int64s" else numbers(found).dtype)
    values = values if values.dtype.kind in "iu" else values.astype(np.float32)
    equal = _matches(x, keys)
    place = b.where(b.reduce("REDUCE_ANY", equal, (-1,)), b.arg("ARG_MAX", b.cast(equal, np.int32), -1), len(keys))
    return b.gather(values, place)
