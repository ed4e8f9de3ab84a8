"""What "the same" means: the tolerances, and the comparison of two tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

#: What may decide, each as a relative error that ``rtol`` bounds.
METRICS = {
    "max": "|x - ref| <= rtol * max|ref| + atol, at a share of the elements",
    "rmse": "root mean square of x - ref <= rtol * root mean square of ref + atol",
    "cosine": "1 - cosine similarity <= rtol",
    "sqnr": "signal to quantisation noise >= -20 log10(rtol) dB",
}


@dataclass(frozen=True)
class Tolerance:
    """``|x - reference| <= rtol * max|reference| + atol`` at ``share`` of the elements of every float tensor.

    The limit is one per tensor, since the rounding of a sum scales with its largest terms and not with the result.
    ``metric`` (see :data:`METRICS`) puts another measure in its place.
    With ``steps`` the limit is that many quantisation steps instead, also for integers; otherwise those (and booleans)
    are equal at ``integers`` of the elements.  NaN and infinities are where the reference has them
    (the largest float32 may stand for an infinity).

    Where a model is ill-conditioned, that is asked of no file: a tensor may then differ by ``SLACK`` times as much as
    the reference itself does when its own weights (of a quantised model: its inputs) are rounded as the file's are.

    ``source`` says who set it: ``default``, ``user`` or ``loosened`` (by the user, beyond ``default``, which is then
    kept so that a match that needed it can say so).  ``alone`` is the ``rtol`` for a layer on exact inputs, where that
    is stricter than what errors may add up to.
    """

    rtol: float
    why: str
    atol: float = 1e-6  # tensors that are zero but for rounding; ONNX Runtime's own Sigmoid is good to 1e-7 absolute
    share: float = 1.0
    integers: float = 1.0
    steps: float = 0.0
    metric: str = "max"
    source: str = "default"
    default: Tolerance | None = None
    alone: float | None = None

    @property
    def isolated(self) -> Tolerance:
        """What is asked of one layer that was run on the reference's values."""
        return self if self.alone is None else replace(self, rtol=self.alone, default=None)

    def __str__(self) -> str:
        if self.steps:
            return f"{self.steps:g} quantisation step at {100 * self.share:g} % of the elements, same argmax"
        if self.metric == "sqnr":
            return f"SQNR {-20 * math.log10(self.rtol):.3g} dB" if self.rtol else "no noise at all"
        if self.metric == "cosine":
            return f"cosine {1 - self.rtol:g}"
        share = "" if self.share == 1 else f" at {100 * self.share:g} % of the elements"
        return f"{self.rtol:g} * {'max|ref|' if self.metric == 'max' else 'rms(ref)'} + {self.atol:g}{share}"


SLACK = 3
FLOAT_MAX = float(np.finfo(np.float32).max)

_FLOAT32 = Tolerance(1e-4, "float32 sums in another order, kernels good to 1e-5")
_STEPS = Tolerance(0, "8-bit arithmetic rounds half-way cases either way", share=0.999, steps=1)

#: By kind of file, each with its metric.
TOLERANCES = {
    "float32": _FLOAT32,
    "saved_model": _FLOAT32,
    "keras": _FLOAT32,
    # the same program as float32, which is held to that limit; what differs is a rounding of every weight by up to
    # 2^-11, and the tail of what that does has no bound: a few elements next to a decision go anywhere
    "float16": Tolerance(1e-2, "weights of 11 bits, through some twenty layers", share=0.99, integers=0.99),
    # 8 bits leave 25 to 40 dB in one layer; at 10 dB (cosine 0.95) a network's decisions begin to change
    "quantised": Tolerance(10 ** (-10 / 20), "what 8 bits leave of a network; one layer alone is held to 15 dB",
                           integers=0.9, metric="sqnr", alone=10 ** (-15 / 20)),
}  # fmt: skip

#: ``rtol`` of a metric that is not the default one of its kind of file.
OTHER_METRICS = {
    "float32": {"rmse": 1e-4, "cosine": 1e-6, "sqnr": 1e-4},
    "float16": {"rmse": 1e-2, "cosine": 1e-4, "sqnr": 1e-2},
    "quantised": {"max": 0.5, "rmse": 10 ** (-10 / 20), "cosine": 0.05},
}


def tolerance(
    kind: str, quantised: bool, rtol: float | None = None, atol: float | None = None, metric: str | None = None
) -> Tolerance:
    """The tolerance for a kind of file; ``quantised``: the ONNX model is, and a file computes in its steps.

    ``rtol``, ``atol`` and ``metric`` of the user replace the default ones.
    """
    default = _STEPS if quantised else TOLERANCES[kind]
    if rtol is None and atol is None and metric in (None, default.metric):
        return default
    known = OTHER_METRICS["quantised" if quantised else kind if kind in OTHER_METRICS else "float32"]
    chosen = metric or default.metric
    usual = default if chosen == default.metric else replace(default, rtol=known[chosen], metric=chosen, alone=None)
    asked = replace(usual, steps=0.0, alone=None)
    asked = replace(asked, rtol=usual.rtol if rtol is None else rtol, atol=usual.atol if atol is None else atol)
    loosened = asked.rtol > usual.rtol or asked.atol > usual.atol or bool(default.steps)
    why, source = ("LOOSENED by the user", "loosened") if loosened else ("set by the user", "user")
    return replace(asked, why=why, source=source, default=default)


@dataclass(frozen=True)
class Histogram:
    """How often values between consecutive ``edges`` occur in the reference and in the result (finite ones)."""

    edges: tuple[float, ...]
    reference: tuple[int, ...]
    result: tuple[int, ...]

    @classmethod
    def of(cls, got: np.ndarray, reference: np.ndarray, bins: int = 40) -> Histogram | None:
        """None for complex tensors and where nothing finite can be counted."""
        if "c" in (got.dtype.kind, reference.dtype.kind):
            return None
        sides = [a.reshape(-1).astype(np.float64) for a in (reference, got)]
        sides = [a[np.isfinite(a)] for a in sides]
        full = [a for a in sides if a.size]
        if not full:
            return None
        low, high = min(a.min() for a in full), max(a.max() for a in full)
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
        counts = [tuple(int(c) for c in np.histogram(a, edges)[0]) for a in sides]
        return cls(tuple(float(e) for e in edges), *counts)


@dataclass(frozen=True)
class Difference:
    """How two tensors differ.

    ``max_abs``, ``max_rel`` (of ``max|reference|``), ``rmse``, ``cosine``, ``sqnr`` (signal to noise in dB,
    infinite for equal tensors), ``within`` (share of the elements within ``limit``).  ``what`` says in words why they
    do not agree; empty where they do.  ``used``: how much of the tolerance the difference takes up, in its ``metric``;
    above 1 not always a failure, as a share of elements may be beyond.  ``slack``: what rounding does to the
    reference, relative to its maximum, where that made the limit.  ``loosened``: they agree, but not by the default
    tolerance.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    rmse: float = 0.0
    cosine: float = 1.0
    within: float = 1.0
    limit: float = 0.0
    slack: float = 0.0
    what: str = ""
    sqnr: float = math.inf
    used: float = 0.0
    metric: str = "max"
    loosened: bool = False


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
        what = f"has shape {_shape(got)}, not {_shape(reference)}"
        return Difference(np.inf, np.inf, np.inf, 0.0, 0.0, what=what, sqnr=-np.inf, used=np.inf, metric=limit.metric)
    if reference.size == 0:
        return Difference(metric=limit.metric)
    whole = reference.dtype.kind not in "fcV"
    wide: Any = np.complex128 if "c" in (got.dtype.kind, reference.dtype.kind) else np.float64
    single = got.dtype == reference.dtype == np.float32 and limit.metric == "max"  # fast, and good to six digits
    a, b = got.reshape(-1), reference.reshape(-1)
    a, b = (a, b) if single else (a.astype(wide), b.astype(wide))
    with np.errstate(over="ignore", invalid="ignore"):
        error = a - b
        own, power, noise = _product(a, a), _product(b, b), _product(error, error)
    odd = None
    if not math.isfinite(own + power + noise):
        a, b, odd = _finite(a.astype(wide), b.astype(wide))
        error = a - b
        own, power, noise = _product(a, a), _product(b, b), _product(error, error)
    error = np.abs(error, out=error) if error.dtype.kind == "f" else np.abs(error)
    if whole:  # 64-bit integers are more exact than float64
        error = np.where(got.reshape(-1) != reference.reshape(-1), np.maximum(error, 1), 0)
        noise = _product(error, error)
    scale, moved = float(np.abs(b).max() if wide is np.complex128 else max(b.max(), -b.min())), 0.0
    if limit.steps and not _exact(reference.dtype):
        one = 1.0 if whole else step or 2 * scale / 255
        allowed, share = limit.steps * one * (1 + 1e-5), limit.share
    else:
        allowed, share = (0.0, limit.integers) if whole else (limit.rtol * scale + limit.atol, limit.share)
    if (whole and not limit.steps) or _exact(reference.dtype):
        share -= SLACK * slack
    elif SLACK * slack > allowed:
        allowed, moved = SLACK * slack, slack / scale if scale else np.inf
    worst, beyond = float(error.max()), 0
    if worst > allowed or odd is not None:
        beyond = int(np.count_nonzero(error > allowed if odd is None else (error > allowed) | odd))
    within = 1 - beyond / error.size
    dot = _product(a, b)
    cosine = min(1.0, dot / math.sqrt(power * own)) if power and own else float(power == own)
    sqnr = math.inf if not noise else 10 * math.log10(power / noise) if power else -math.inf
    rmse, count = math.sqrt(noise / error.size), error.size
    used = worst / allowed if allowed else float(worst > 0)
    measure = "max" if limit.steps or _exact(reference.dtype) else limit.metric
    what = ""
    if odd is not None:
        what = f"{int(odd.sum())} NaN or infinite elements that the other side has not"
        worst, sqnr, used = np.inf, -np.inf, np.inf
    elif measure == "max":
        if within < share:
            relation = "" if whole else f" = {worst / scale if scale else np.inf:.1e} of max|ref|"
            what = f"max|diff| {worst:.2e}{relation}, {100 * within:.4g} % of {count} elements within the limit"
        elif ranked and limit.steps and not whole and not _same_argmax(a, b, reference.shape, allowed):
            what = "the largest element is another one"
    else:
        floor = max(limit.atol, SLACK * slack)  # nothing is said by the direction of what is rounding only
        signal = math.sqrt(power / count)
        have, may = {
            "rmse": (rmse, limit.rtol * signal + floor),
            "cosine": (1 - cosine, limit.rtol),
            "sqnr": (rmse, limit.rtol * signal),
        }[measure]
        used = 0.0 if rmse <= floor else have / may if may else math.inf
        if used > 1:
            told = {"rmse": f"RMSE {rmse:.2e}, limit {may:.2e}", "cosine": f"cosine {cosine:.6f}"}
            what = told.get(measure, f"SQNR {sqnr:.1f} dB")
    relative = 0.0 if worst == 0 else worst / scale if scale else np.inf
    loosened = bool(
        not what and limit.source == "loosened" and limit.default is not None
        and compare(got, reference, limit.default, step, slack, ranked).what
    )  # fmt: skip
    return Difference(worst, relative, rmse, cosine, within, allowed, moved, what, sqnr, used, measure, loosened)


BLOCK = 1 << 16


def _product(a: np.ndarray, b: np.ndarray) -> float:
    """The scalar product (of complex vectors its size), the sums of blocks in double precision.

    Not by BLAS, whose threads cost more than they save beside those of a runtime.
    """
    if a.dtype.kind == "c":
        return float(np.abs(np.einsum("i,i->", a.conj(), b)))
    if a.size <= BLOCK:
        return float(np.einsum("i,i->", a, b))
    whole = a.size // BLOCK * BLOCK
    blocks = np.einsum("ij,ij->i", a[:whole].reshape(-1, BLOCK), b[:whole].reshape(-1, BLOCK))
    return float(blocks.sum(dtype=np.float64)) + float(np.einsum("i,i->", a[whole:], b[whole:]))


def _finite(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Both with zeros where one is NaN or infinite, and where that is so on one side only (None: nowhere)."""
    saturated = np.isinf(b) & (np.abs(a) >= FLOAT_MAX)  # TFLite's builtin ADD and MUL clamp to the finite range
    a = np.where(saturated & (np.sign(a) == np.sign(b)), b, a) if saturated.any() else a
    finite = np.isfinite(a) & np.isfinite(b)
    odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    return np.where(finite, a, 0), np.where(finite, b, 0), odd if odd.any() else None


def _same_argmax(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...], tie: float) -> bool:
    """Per row of a [batch, classes] result: what is largest here is also largest there, up to ties of one step."""
    if len(shape) != 2:
        return True
    a, b = a.reshape(shape), b.reshape(shape)
    chosen = np.take_along_axis(b, a.argmax(1)[:, None], 1)[:, 0]
    return bool(np.all(chosen >= b.max(1) - tie))


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
