"""What "the same" means: the tolerances, and the verdict on the figures of two tensors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...record import record
from . import phrase
from .measure import Array, Measures, exact, measure

#: What may decide, each as a relative error that ``rtol`` bounds.
METRICS = {
    "max": "|x - ref| <= rtol * max|ref| + atol, at a share of the elements",
    "rmse": "root mean square of x - ref <= rtol * root mean square of ref + atol",
    "cosine": "1 - cosine similarity <= rtol",
    "sqnr": "signal to quantisation noise >= -20 log10(rtol) dB",
}

POWERS = ("rmse", "sqnr")  # those that compare an error with the size of a tensor, over all samples


@record
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
    kept so that a match that needed it can say so).  ``alone`` is for a layer on exact inputs, where that is stricter
    than what errors may add up to; ``farthest``: how many times the limit even the elements beyond ``share`` may
    differ.
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
    alone: Tolerance | None = None
    farthest: float = math.inf

    @property
    def isolated(self) -> Tolerance:
        """What is asked of one layer that was run on the reference's values."""
        return self.alone or self

    def __str__(self) -> str:
        return phrase.limit(self.metric, self.rtol, self.atol, self.share, self.steps)


EPSILON = float(np.finfo(np.float32).eps)  # of a number: how far two multiples of a step are off one, as float32
SLACK = 3

_FLOAT32 = Tolerance(1e-4, "float32 sums in another order, kernels good to 1e-5")
_STEP = Tolerance(0, "8-bit arithmetic rounds half-way cases either way", share=0.999, steps=1)
# one layer: rounding tips a value by a step, and moves what a clamp cuts off; a wrong weight moves a channel by more
_STEPS = replace(_STEP, alone=replace(_STEP, farthest=2))
# 8 bits leave 25 to 40 dB in one layer; at 10 dB (cosine 0.95) a network's decisions begin to change
QUANTISED = Tolerance(
    10 ** (-10 / 20),
    "what 8 bits leave of a network; one layer alone is held to 15 dB",
    integers=0.9,
    metric="sqnr",
    alone=Tolerance(10 ** (-15 / 20), "what 8 bits leave of a layer", integers=0.9, metric="sqnr"),
)

#: By kind of file, each with its metric.
TOLERANCES = {
    "float32": _FLOAT32,
    "saved_model": _FLOAT32,
    "keras": _FLOAT32,
    "keras_weights": _FLOAT32,
    "frozen": _FLOAT32,
    # the same program as float32, and one layer is held to that limit, or to what ``Trial.moved`` measures; over all
    # layers the tail of a rounding by up to 2^-11 has no bound: a few elements next to a decision go anywhere
    "float16": Tolerance(1e-2, "weights of 11 bits, through some twenty layers", share=0.99, integers=0.99,
                         alone=_FLOAT32),
    "quantised": QUANTISED,
    # 16 times the steps: where rounding goes by the user's samples, on operands that are made it leaves less
    "int4": Tolerance(10 ** (-10 / 20), "what weights of 4 bits leave of a network, and of a layer",
                      integers=0.9, metric="sqnr"),
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
    default = _STEPS if quantised and kind != "int4" else TOLERANCES[kind]
    if rtol is None and atol is None and metric in (None, default.metric):
        return default
    steps = quantised or kind == "int4"
    known = OTHER_METRICS["quantised" if steps else kind if kind in OTHER_METRICS else "float32"]
    chosen = metric or default.metric
    usual = default if chosen == default.metric else replace(default, rtol=known[chosen], metric=chosen, alone=None)
    asked = replace(usual, steps=0.0, alone=None)
    asked = replace(asked, rtol=usual.rtol if rtol is None else rtol, atol=usual.atol if atol is None else atol)
    loosened = asked.rtol > usual.rtol or asked.atol > usual.atol or bool(default.steps)
    why, source = ("LOOSENED by the user", "loosened") if loosened else ("set by the user", "user")
    return replace(asked, why=why, source=source, default=default)


@record
class Difference:
    """How two tensors differ.

    ``max_abs``, ``max_rel`` (of ``max|reference|``), ``rmse``, ``cosine``, ``sqnr`` (signal to noise in dB,
    infinite for equal tensors), ``within`` (share of the elements within ``limit``).  ``what`` says in words why they
    do not agree, and ``asked`` what was asked of them; both empty where they do.  ``used``: how much of the tolerance
    the difference takes up, in its ``metric``; above 1 not always a failure, as a share of elements may be beyond.
    ``slack``: what rounding does to the reference, relative to its maximum, where that made the limit.  ``loosened``:
    they agree, but not by the default tolerance.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    rmse: float = 0.0
    cosine: float = 1.0
    within: float = 1.0
    limit: float = 0.0
    slack: float = 0.0
    what: str = ""
    asked: str = ""
    sqnr: float = math.inf
    used: float = 0.0
    metric: str = "max"
    loosened: bool = False


@record
class Bound:
    """What is asked of one tensor: ``allowed`` at ``share`` of its elements, ``most`` at the others, by ``metric``.

    ``slack`` is what rounding does to the reference, of its maximum, where that made the limit."""

    allowed: float
    share: float
    metric: str
    most: float
    slack: float = 0.0


def bound(found: Measures, reference: Array, limit: Tolerance, step: float | None, slack: float) -> Bound:
    """``step`` of quantisation of the tensor; ``slack``: how far the reference moves by rounding."""
    whole_numbers = exact(reference.dtype)
    metric = "max" if limit.steps or whole_numbers else limit.metric
    if limit.steps and not whole_numbers:
        one = 1.0 if found.whole else step or 2 * found.scale / 255
        allowed, share = limit.steps * one * (1 + 1e-5) + EPSILON * found.scale, limit.share
    elif found.whole:
        allowed, share = 0.0, limit.integers
    else:
        allowed, share = limit.rtol * found.scale + limit.atol, limit.share
    most = limit.farthest * allowed if math.isfinite(limit.farthest) else math.inf
    if (found.whole and not limit.steps) or whole_numbers:
        return Bound(allowed, share - SLACK * slack, metric, most)
    if SLACK * slack > allowed:  # of the element that moves farthest
        most = max(most, SLACK * slack)
        return Bound(SLACK * slack, share, metric, most, slack / found.scale if found.scale else np.inf)
    return Bound(allowed, share, metric, most)


def judge(
    found: Measures,
    reference: Array,
    limit: Tolerance,
    step: float | None = None,
    slack: float = 0.0,
    ranked: bool = False,
) -> Difference:
    """The verdict on what was measured; ``ranked``: the same argmax as well."""
    asked = bound(found, reference, limit, step, slack)
    within = found.within(asked.allowed)
    worst, sqnr = found.worst, found.sqnr
    used = worst / asked.allowed if asked.allowed else float(worst > 0)
    what = ""
    if found.odd is not None:
        what, worst, sqnr, used = phrase.odd(int(found.odd.sum())), np.inf, -np.inf, np.inf
    elif asked.metric == "max":
        if within < asked.share or worst > asked.most:
            what = phrase.beyond(found, within)
        elif ranked and limit.steps and not found.whole and not _same_argmax(found, reference.shape, asked.allowed):
            what = "the largest element is another one"
    else:
        used, what = _by_metric(found, limit, asked, max(limit.atol, SLACK * slack))
    relative = 0.0 if worst == 0 else worst / found.scale if found.scale else np.inf
    strict = limit.default if limit.source == "loosened" and not what else None
    return Difference(
        worst, relative, found.rmse, found.cosine, within, asked.allowed, asked.slack, what, str(limit) if what else "",
        sqnr, used, asked.metric,
        loosened=bool(strict and judge(found, reference, strict, step, slack, ranked).what),
    )  # fmt: skip


def _by_metric(found: Measures, limit: Tolerance, asked: Bound, floor: float) -> tuple[float, str]:
    """How much of a limit that is not per element is used, and what is wrong; nothing is said by the direction of what
    is rounding only, below ``floor``."""
    have, may = {
        "rmse": (found.rmse, limit.rtol * found.signal + floor),
        "cosine": (1 - found.cosine, limit.rtol),
        "sqnr": (found.rmse, limit.rtol * found.signal),
    }[asked.metric]
    used = 0.0 if found.rmse <= floor else have / may if may else math.inf
    return used, phrase.metric(asked.metric, found, may) if used > 1 else ""


def compare(
    got: Array,
    reference: Array,
    limit: Tolerance,
    step: float | None = None,
    slack: float = 0.0,
    ranked: bool = False,
    usual: float = 0.0,
) -> Difference:
    """``step``: quantisation step of the tensor; ``slack``: its :func:`measure.change`; ``ranked``: the same argmax;
    ``usual``: the root mean square that it has over all samples, beside which noise is noise even where one of them
    has nearly nothing."""
    if got.shape != reference.shape:
        what = phrase.shapes(got.shape, reference.shape)
        return Difference(
            np.inf,
            np.inf,
            np.inf,
            0.0,
            0.0,
            what=what,
            asked=str(limit),
            sqnr=-np.inf,
            used=np.inf,
            metric=limit.metric,
        )
    if reference.size == 0:
        return Difference(metric=limit.metric)
    found = measure(got, reference, single=limit.metric == "max").beside(usual)
    return judge(found, reference, limit, step, slack, ranked)


def _same_argmax(found: Measures, shape: tuple[int, ...], tie: float) -> bool:
    """Per row of a [batch, classes] result: what is largest here is also largest there, up to ties of one step."""
    if len(shape) != 2:
        return True
    a, b = (side.reshape(shape) for side in found.values)
    chosen = np.take_along_axis(b, a.argmax(1)[:, None], 1)[:, 0]
    return bool(np.all(chosen >= b.max(1) - tie))
