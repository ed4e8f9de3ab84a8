"""What "the same" means: the tolerances, and the comparison of two tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """``|x - reference| <= rtol * max|reference| + atol`` at ``share`` of the elements of every float tensor.

    The limit is one per tensor, since the rounding of a sum scales with its largest terms and not with the result.
    With ``steps`` the limit is that many quantisation steps instead, also for integers; otherwise those (and booleans)
    are equal at ``integers`` of the elements.  NaN and infinities are where the reference has them
    (the largest float32 may stand for an infinity).

    Where a model is ill-conditioned, that is asked of no file: a tensor may then differ by ``SLACK`` times as much as
    the reference itself does when its own weights (of a quantised model: its inputs) are rounded as the file's are.
    """

    rtol: float
    why: str
    atol: float = 1e-6  # tensors that are zero but for rounding; ONNX Runtime's own Sigmoid is good to 1e-7 absolute
    share: float = 1.0
    integers: float = 1.0
    steps: float = 0.0

    def __str__(self) -> str:
        if self.steps:
            return f"{self.steps:g} quantisation step at {100 * self.share:g} % of the elements, same argmax"
        share = "" if self.share == 1 else f" at {100 * self.share:g} % of the elements"
        return f"{self.rtol:g} * max|ref| + {self.atol:g}{share}"


SLACK = 3
FLOAT_MAX = float(np.finfo(np.float32).max)

_FLOAT32 = Tolerance(1e-4, "float32 sums in another order, kernels good to 1e-5")
_QUANTISED = Tolerance(0, "8-bit arithmetic rounds half-way cases either way", share=0.999, steps=1)

#: By kind of file.
TOLERANCES = {
    "float32": _FLOAT32,
    "saved_model": _FLOAT32,
    # the same program as float32, which is held to that limit; what differs is a rounding of every weight by up to
    # 2^-11, and the tail of what that does has no bound: a few elements next to a decision go anywhere
    "float16": Tolerance(1e-2, "weights of 11 bits, through some twenty layers", share=0.99, integers=0.99),
}


def tolerance(kind: str, quantised: bool, rtol: float | None = None, atol: float | None = None) -> Tolerance:
    """The tolerance for a kind of file; ``rtol`` and ``atol`` of the user replace the default ones."""
    default = _QUANTISED if quantised else TOLERANCES[kind]
    if rtol is None and atol is None:
        return default
    asked = replace(default, steps=0.0)
    asked = replace(asked, rtol=default.rtol if rtol is None else rtol, atol=default.atol if atol is None else atol)
    loosened = asked.rtol > default.rtol or asked.atol > default.atol or quantised
    return replace(asked, why="LOOSENED by the user" if loosened else "set by the user")


@dataclass(frozen=True)
class Difference:
    """How two tensors differ: maximum (also relative to ``max|reference|``), root mean square, cosine, and the share of
    elements within ``limit``.  ``what`` says in words why they do not agree; empty where they do."""

    max_abs: float = 0.0
    max_rel: float = 0.0
    rmse: float = 0.0
    cosine: float = 1.0
    within: float = 1.0
    limit: float = 0.0
    slack: float = 0.0  # what rounding does to the reference, relative to its maximum, where that made the limit
    what: str = ""

    @property
    def used(self) -> float:
        """The share of the limit that the largest difference takes up."""
        return self.max_abs / self.limit if self.limit else float(self.max_abs > 0)


def change(moved: np.ndarray, reference: np.ndarray) -> float:
    """How far the reference moves: the largest difference, of integers the share that changes."""
    if moved.shape != reference.shape or reference.size == 0:
        return 0.0
    if _exact(reference.dtype):
        return float(np.mean(moved != reference))
    with np.errstate(invalid="ignore"):
        difference = np.abs(moved - (reference.astype(np.int32) if reference.dtype.kind in "iu" else reference))
        return float(np.max(np.nan_to_num(difference, nan=0.0, posinf=0.0)))


def _exact(dtype: np.dtype) -> bool:
    """True for whole numbers; those of 8 and 16 bits may be quantised reals."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize > 2)


def compare(
    got: np.ndarray,
    reference: np.ndarray,
    limit: Tolerance,
    step: float | None = None,
    slack: float = 0.0,
    ranked: bool = False,
) -> Difference:
    """``step``: quantisation step of the tensor; ``slack``: its :func:`change`; ``ranked``: the same argmax as well."""
    if got.shape != reference.shape:
        return Difference(np.inf, np.inf, np.inf, 0.0, 0.0, what=f"has shape {_shape(got)}, not {_shape(reference)}")
    if reference.size == 0:
        return Difference()
    whole = reference.dtype.kind not in "fcV"
    wide: Any = np.complex128 if "c" in (got.dtype.kind, reference.dtype.kind) else np.float64
    a, b = got.astype(wide).reshape(-1), reference.astype(wide).reshape(-1)
    saturated = np.isinf(b) & (np.abs(a) >= FLOAT_MAX)  # TFLite's builtin ADD and MUL clamp to the finite range
    a = np.where(saturated & (np.sign(a) == np.sign(b)), b, a) if saturated.any() else a
    finite = np.isfinite(a) & np.isfinite(b)
    odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    error, size = np.abs(a - b), np.abs(b)
    if whole:  # 64-bit integers are more exact than float64
        error = np.where(got.reshape(-1) != reference.reshape(-1), np.maximum(error, 1), 0)
    scale, moved = float(size.max()), 0.0
    if limit.steps and not _exact(reference.dtype):
        one = 1.0 if whole else step or 2 * scale / 255
        allowed, share = limit.steps * one * (1 + 1e-5), limit.share
    else:
        allowed, share = (0.0, limit.integers) if whole else (limit.rtol * scale + limit.atol, limit.share)
    if (whole and not limit.steps) or _exact(reference.dtype):
        share -= SLACK * slack
    elif SLACK * slack > allowed:
        allowed, moved = SLACK * slack, slack / scale if scale else np.inf
    within = 1 - float(np.mean((error > allowed) | odd))
    worst = float(error.max())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(np.abs(np.vdot(a, b)) if wide is np.complex128 else np.dot(a, b)) / norms if norms else 1.0
    what = ""
    if odd.any():
        what, worst = f"{int(odd.sum())} NaN or infinite elements that the other side has not", np.inf
    elif within < share:
        relation = "" if whole else f" = {worst / scale if scale else np.inf:.1e} of max|ref|"
        what = f"max|diff| {worst:.2e}{relation}, {100 * within:.4g} % of {error.size} elements within the limit"
    elif ranked and limit.steps and not whole and not _same_argmax(a, b, reference.shape, allowed):
        what = "the largest element is another one"
    relative = 0.0 if worst == 0 else worst / scale if scale else np.inf
    return Difference(worst, relative, float(np.sqrt(np.mean(np.square(error)))), cosine, within, allowed, moved, what)


def _same_argmax(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...], tie: float) -> bool:
    """Per row of a [batch, classes] result: what is largest here is also largest there, up to ties of one step."""
    if len(shape) != 2:
        return True
    a, b = a.reshape(shape), b.reshape(shape)
    chosen = np.take_along_axis(b, a.argmax(1)[:, None], 1)[:, 0]
    return bool(np.all(chosen >= b.max(1) - tie))


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
