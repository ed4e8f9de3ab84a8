"""What a check found, as data and as sentences.

The fields are an interface, plain data that can be pickled: the terminal (``show``), ``--json`` and the page read them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ...record import record
from ..figures.judge import QUANTISED, SLACK, Difference
from ..figures.measure import Histogram
from ..figures.phrase import decibel, dims
from ..files.written import Move

if TYPE_CHECKING:
    from ...targets.verdict import Fit
    from ..files.integers import Integers

INTRODUCES, CARRIES = "introduces", "carries"


@record
class Gap:
    """Something of a file that the check has not seen: ``what`` it is, and the ``reason``."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what} ({self.reason})"


@dataclass
class Coverage:
    """What of a file was run on its own, on operands made for it: ``layers``, ``branches`` and ``weights`` (elements of
    constants) out of all there are, where no, one and several turns of a loop are branches too; ``gaps``: what was not,
    and why."""

    layers: int = 0
    all_layers: int = 0
    branches: int = 0
    all_branches: int = 0
    weights: int = 0
    all_weights: int = 0
    gaps: list[Gap] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """The smallest share of the three, in percent."""
        pairs = ((self.layers, self.all_layers), (self.branches, self.all_branches), (self.weights, self.all_weights))
        return min(100 * part / whole if whole else 100.0 for part, whole in pairs)

    def add(self, other: Coverage) -> None:
        """That of a body."""
        for name in ("layers", "all_layers", "branches", "all_branches", "weights", "all_weights", "gaps"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        parts = [f"{self.layers} of {self.all_layers} layers" if self.all_layers else "no layers"]
        if self.all_branches:
            parts.append(f"{self.branches} of {self.all_branches} branches")
        share = 100 * self.weights / self.all_weights if self.all_weights else 100.0
        exact = self.weights == self.all_weights
        return ", ".join([*parts, f"{'100' if exact else f'{min(share, 99.9):.3g}'} % of the weights"])


@record
class Row:
    """One ONNX tensor in one file: the worst over all samples and runtimes.

    ``index``         number of the layer: place of its node in the ONNX graph, from 0 (-1: an input that is an output)
    ``node``, ``op``  the ONNX node that makes the tensor (its first output's name where it has none) and its operator
    ``tensor``        the ONNX tensor
    ``stored``        its name in the file
    ``shape``         in ONNX order
    ``stored_shape``  in the order of the file
    ``perm``          ``stored = onnx.transpose(perm)``; None where more than a permutation lies between
    ``assumed``       several permutations fit the shapes of a foreign file, and a rule chose this one
    ``dtype``         of the ONNX tensor; ``stored_dtype`` of that of the file (int8 where it is quantised)
    ``difference``    accumulated: the file was run from its inputs to here
    ``isolated``      the error that the layer itself introduces: its operators alone, run on ONNX Runtime's values of
                      the tensors before it; None where that was not measured
    ``alone``         the worst error of the layer on operands made for it; None where it was not run so
    ``role``          ``introduces`` or ``carries`` for a layer that disagrees and was isolated, else ``""``
    ``covers``        every ONNX node that was compiled into this layer (a convolution, its BatchNormalization, ...)
    ``operators``     the operators of the file between the tensors before it and this one, in order
    ``runtime``       the one with the worst difference; ``sample`` the number of the sample
    ``source``        where the tolerance of the row comes from: ``default``, ``user`` or ``loosened`` (by the user)
    ``histogram``     of reference and result, for the worst rows of a file only
    ``agreement``     share of the samples on which an output of a quantised file chooses the same class
    """

    node: str
    op: str
    tensor: str
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]
    perm: tuple[int, ...] | None
    dtype: str
    difference: Difference
    runtime: str
    index: int = -1
    stored: str = ""
    stored_dtype: str = ""
    source: str = "default"
    isolated: Difference | None = None
    alone: Difference | None = None
    role: str = ""
    covers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    sample: int = 0
    assumed: bool = False
    histogram: Histogram | None = None
    agreement: float | None = None

    @property
    def ok(self) -> bool:
        """Within the limit, end to end and on its own."""
        return not self.difference.what and not (self.alone and self.alone.what)

    @property
    def what(self) -> str:
        """What is wrong with it."""
        if self.difference.what or not self.alone or not self.alone.what:
            return self.difference.what
        return f"on operands made for it {self.alone.what}"

    @property
    def asked(self) -> str:
        """The limit that it exceeds, in words; empty where it exceeds none."""
        return self.difference.asked if self.difference.what or not self.alone else self.alone.asked

    @property
    def in_8_bits(self) -> bool:
        """True for real numbers that the file has in 8 bits."""
        return self.stored_dtype in ("int8", "uint8") and self.dtype not in ("int8", "uint8")

    @property
    def label(self) -> str:
        """``layer 143 /head/Resize``."""
        return f"layer {self.index} {self.node}" if self.index >= 0 else self.node


@dataclass
class FileReport:
    """One file.

    ``kind``        ``float32``, ``float16``, ``quantised``, ``saved_model`` or ``keras``
    ``path``        the name of the file; ``size`` its bytes (of a folder: of all files in it)
    ``matched``     how tensors were found: ``map`` (the file carries it) or ``names and shapes``
    ``tolerance``   the limit in words, ``reason`` why it is that, ``source`` ``default``, ``user`` or ``loosened``
    ``metric``      what decides: ``max``, ``rmse``, ``cosine`` or ``sqnr``
    ``runtimes``    every one the file was run in; ``seconds`` the time in each (loading, running, comparing)
    ``outputs``     a row for every output; ``layers`` in the order of the ONNX graph, outputs included (or empty)
    ``operators``   how many of each operator the file has, bodies of control flow included; ``transposes`` those left
    ``integers``    what computes with integers; None of plain float files
    ``coverage``    what of the file was run on its own; None where that is not possible; ``required`` percent
    ``noise``       of a quantised model: the largest difference that was held to twice its own quantisation noise and
                    not to steps, as a share of that; 0 where none had to be; above 1 where that is what the file rounds
                    itself, and is held to what quantised files are
    ``rounding``    how far a layer by itself differs at most, of its maximum, where outputs are held to what the model
                    makes of as much noise in every layer; else 0
    ``rounded_inside``  the least SQNR of an output, in dB, beside what ONNX Runtime makes of a model whose operators
                    round to integers inside, where the file has floats; infinite for others
    ``error``       why it did not run; ``notes`` what else is to be known (unmatched tensors, assumed permutations)
    ``unchecked``   nothing is known of it: ``error`` says why it was not run, or not to its end
    """

    kind: str
    path: str
    tolerance: str
    reason: str
    runtimes: tuple[str, ...]
    outputs: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    coverage: Coverage | None = None
    required: float = 0.0
    noise: float = 0.0
    rounding: float = 0.0
    rounded_inside: float = math.inf
    error: str = ""
    unchecked: bool = False
    source: str = "default"
    metric: str = "max"
    matched: str = "map"
    size: int = 0
    operators: dict[str, int] = field(default_factory=dict)
    transposes: list[Move] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    integers: Integers | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """It matches, and was reached as far as is required."""
        return not self.error and self.agrees and self.reached

    @property
    def agrees(self) -> bool:
        """True where all that was compared is right."""
        return bool(self.rows) and all(r.ok for r in [*self.outputs, *self.layers])

    @property
    def reached(self) -> bool:
        """True where as much was compared as was required."""
        return (self.coverage.percent if self.coverage else 0.0) >= self.required

    @property
    def rows(self) -> list[Row]:
        """The layers, or the outputs where no layers were compared."""
        return self.layers or self.outputs

    @property
    def first_divergence(self) -> Row | None:
        """The first tensor, in graph order, that does not agree."""
        return next((r for r in [*self.layers, *self.outputs] if not r.ok), None)

    @property
    def culprits(self) -> list[Row]:
        """The layers that introduce error, in graph order; empty where none was isolated or all only carry it."""
        return [r for r in self.layers if r.role == INTRODUCES]

    @property
    def ill_conditioned(self) -> bool:
        """True where rounding moves the original model itself beyond the limit: it says little of the file."""
        return any(r.difference.slack for r in [*self.outputs, *self.layers])

    def worst(self, n: int = 10) -> list[Row]:
        """The tensors whose error takes up most of their limit; of those that disagree, the culprits first."""
        return sorted(self.rows, key=lambda r: (r.ok, r.role != INTRODUCES, -r.difference.used))[:n]

    @property
    def blame(self) -> str:
        """Which layers introduce the error and which only carry it, in a sentence; empty where nothing was isolated."""
        culprits, carried = self.culprits, [r for r in self.layers if r.role == CARRIES]
        if not culprits and not carried:
            return ""
        if not culprits:
            worst = max(carried, key=lambda r: r.isolated.used if r.isolated else 0.0)
            return (f"no layer alone is beyond the limit: the error builds up over {_layers(len(carried))}, "
                    f"most of it in {worst.label} ({_introduced(worst)})")  # fmt: skip
        named = "; ".join(f"{r.label} {_does(r)}" for r in culprits[:NAMED])
        if len(culprits) > NAMED:
            named += f"; so do {len(culprits) - NAMED} more"
        after = [r for r in carried if r.index > culprits[0].index]
        if not after:
            return named
        verb = "carries" if len(after) == 1 else "carry"
        order = "after it" if len(culprits) == 1 else "after the first"
        failing = "failing layer" if len(after) == 1 else f"{len(after)} failing layers"
        return f"{named}; the {failing} {order} only {verb} it"

    @property
    def suggestion(self) -> str:
        """Which operations mixed precision would raise, by the noise that each 8-bit layer itself introduces, in a
        sentence; empty where no few have most of it, or the outputs are good enough."""
        least = min((row.difference.sqnr for row in self.outputs), default=math.inf)
        known = [(r, r.isolated.sqnr) for r in self.layers if r.isolated and r.in_8_bits]
        noise = {r.label: 10 ** (-sqnr / 10) for r, sqnr in known if math.isfinite(sqnr)}
        few: list[str] = []
        for label in sorted(noise, key=lambda label: -noise[label]):
            if sum(noise[name] for name in few) < MOST * sum(noise.values()):
                few.append(label)
        if self.metric != "sqnr" or least >= WANTED or not few or len(few) > min(NAMED, FEW * len(noise)):
            return ""
        share = sum(noise[name] for name in few) / sum(noise.values())
        part = f"{len(few)} of {len(noise)} 8-bit layers introduce {share:.0%} of the noise: {', '.join(few)}"
        return f"{part}; mixed precision keeps such ones in 16 bits or float (--min-sqnr {WANTED:g})"

    @property
    def verdict(self) -> str:
        """One line."""
        if self.error:
            return "; ".join([f"{self.path}: {self.error}", *filter(None, [self.blame])])
        rows, bad = self.rows, self.first_divergence
        if not rows:
            return f"{self.path}: no tensor of the file could be matched with one of the model"
        if bad is None and not self.reached:
            seen = f"{self.coverage}{self._missed()}" if self.coverage else "it can be run from end to end only"
            return f"{self.path}: NOT REACHED, {self.required:g} % is required: {seen}"
        if bad is None:
            return f"{self.path}: {self._match(rows)}"
        place = f"first at {bad.op} '{bad.node}', tensor '{bad.tensor}'" if self.layers else f"output '{bad.tensor}'"
        others = sum(not r.ok for r in self.layers) - 1
        more = f"; {others} later tensors differ too" if others > 0 and not self.blame else ""
        more += f"; {self.blame}" if self.blame else ""
        more += "; the outputs agree" if self.outputs and all(r.ok for r in self.outputs) else ""
        what = f"{bad.what}{more} (limit {self._limit([bad], bad.asked)})"
        return f"{self.path}: DIFFERS, {place} ({bad.runtime}): {what}"

    def _match(self, rows: list[Row]) -> str:
        count = f"{len(rows)} {'layer' if self.layers else 'output'}{'s' * (len(rows) != 1)}"
        used = max((r.difference.used for r in rows), default=0.0)
        least = min((r.difference.within for r in rows), default=1.0)
        if self.metric in ("sqnr", "cosine"):
            lowest = min(getattr(r.difference, self.metric) for r in rows)
            seen = f"lowest SQNR {decibel(lowest)};" if self.metric == "sqnr" else f"lowest cosine {lowest:.5f};"
        else:
            seen = f"largest difference {used:.1%} of" if used <= 1 else f"{least:.2%} of the elements within"
        only = "; only because the tolerance was LOOSENED" if any(r.difference.loosened for r in rows) else ""
        assumed = sum(r.assumed for r in rows)
        guess = f"; permutation assumed for {assumed} of them" if assumed else ""
        reach = f": {self.coverage}" if self.coverage else ""
        inside = f"; {self.integers}" if self.integers else ""
        chosen = self.agreement
        return (f"matches{reach} ({count}; {seen} the limit {self._limit(rows)}{chosen}){only}{guess}{inside}"
                f"{self._rounded()}{self._missed()}")  # fmt: skip

    def _rounded(self) -> str:
        """How near it is to what ONNX Runtime rounds inside operators, as a quantised network."""
        if math.isinf(self.rounded_inside):
            return ""
        least = -20 * math.log10(QUANTISED.rtol)
        more = "" if self.rounded_inside >= least else ", beyond which its own rounding goes here"
        apart = f"{decibel(self.rounded_inside)} from ONNX Runtime's 8-bit ones (limit {least:g} dB{more})"
        return f"; dynamically quantised layers have their states in float, more exact: {apart}"

    @property
    def agreement(self) -> str:
        """How often the outputs of a quantised file choose the same class, in words."""
        known = [r.agreement for r in self.outputs if r.agreement is not None]
        return f"; same argmax on {100 * min(known):.4g} % of the samples" if known else ""

    def _missed(self) -> str:
        gaps = self.coverage.gaps if self.coverage else []
        more = f" and {len(gaps) - NAMED} more" if len(gaps) > NAMED else ""
        return f"; not reached: {', '.join(map(str, gaps[:NAMED]))}{more}" if gaps else ""

    def _limit(self, rows: list[Row], asked: str = "") -> str:
        text = (asked or self.tolerance) + (f" {self.reason}" if "user" in self.reason else "")
        if self.noise:
            own = f"what the model's own quantisation noise may: {self.noise:.1%} of that (RMSE)"
            held = own if self.noise <= 1 else f"{QUANTISED}, since the file rounds where the model does not"
            text += f"; as every layer alone is, what adds up is held to {held}"
        moved = max((r.difference.slack for r in rows), default=0.0)
        if not moved:
            return text
        unit = self.rounding or (2.0**-11 if self.kind == "float16" else 2.0**-22)
        amplified = f"ill-conditioned here: the model amplifies rounding by {moved / unit:,.0f}"
        return f"{text}, or {SLACK} x what rounding does to the original model, {moved:.0e} of max|ref|; {amplified}"


NAMED = 5  # layers that a sentence names
MOST, FEW = 1 / 2, 1 / 3  # of all noise, and the layers of which it is worth to be told
WANTED = 30.0  # dB of the outputs, from which on nothing is suggested
PREDICATES = ("has ", "cannot ")  # what is wrong with a layer may be a sentence without its subject


@dataclass
class Report:
    """A whole check.

    - ``engine``: what ran the original model; ``model``: its path; ``samples``: the shapes of the inputs of each sample
    - ``files``: a report for every file; ``error`` says why nothing could be compared at all
    - ``settings``: what it takes to reproduce the check: ``seed``, ``rtol``, ``atol``, ``metric``, ``inputs``,
      ``shapes``, ``samples``, ``budget``, ``versions`` of the libraries, and ``command``, a shell line
    - ``seconds``: time of each stage of the check
    - ``conversion``: the JSON report of the conversion where the pipeline made the files (``passes``, ``layout`` with
      ``transposes`` and their reasons, ``operators``, ``stages``, ``files``); else empty
    - ``fits``: how the files fit the device that was asked for
    """

    engine: str = ""
    samples: list[dict[str, tuple[int, ...]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[FileReport] = field(default_factory=list)
    error: str = ""
    model: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    conversion: dict[str, Any] = field(default_factory=dict)
    fits: list[Fit] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every file matches."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all files match, 1 one differs, 2 the model or a file could not be run."""
        if self.error or any(f.error for f in self.files):
            return 2
        return int(not all(f.ok for f in self.files))

    @property
    def wrong(self) -> bool:
        """A file that was run, or should have, does not match."""
        return any(not f.ok and not f.unchecked for f in self.files)

    def worst(self, n: int = 10) -> list[Row]:
        """The worst rows of all files."""
        rows = [r for f in self.files for r in f.worst(n)]
        return sorted(rows, key=lambda r: (r.ok, r.role != INTRODUCES, -r.difference.used))[:n]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the verdicts and the blame in words; infinities and NaN are left for the writer."""
        words = [
            {"verdict": f.verdict, "blame": f.blame, "suggestion": f.suggestion, "ok": f.ok, "reached": f.reached}
            for f in self.files
        ]
        data = asdict(self) | {"ok": self.ok, "exit_code": self.exit_code, "verdicts": [f.verdict for f in self.files]}
        data["fits"] = [fit.to_json() for fit in self.fits]
        data["files"] = [found | more for found, more in zip(data["files"], words, strict=True)]
        return data


HEADER = ("", "layer", "node", "op", "tensor", "ONNX shape", "stored", "perm", "dtype", "max|diff|", "of max|ref|",
          "RMSE", "cosine", "SQNR", "within %", "introduced", "limit")  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table as text, under :data:`HEADER`."""
    perm = "..." if row.perm is None else "" if row.perm == tuple(range(len(row.perm))) else dims(row.perm)
    d = row.difference
    dtype = row.dtype if row.stored_dtype in ("", row.dtype) else f"{row.dtype} as {row.stored_dtype}"
    numbers = (f"{d.max_abs:.1e}", f"{d.max_rel:.1e}", f"{d.rmse:.1e}", f"{d.cosine:.7f}", decibel(d.sqnr),
               f"{100 * d.within:.4g}", _introduced(row), row.source)  # fmt: skip
    verdict = "ok" if row.ok else row.role or "DIFFERS"
    place = ("" if row.index < 0 else str(row.index), row.node, row.op, row.tensor, dims(row.shape))
    return (verdict, *place, dims(row.stored_shape), perm + "?" * row.assumed, dtype, *numbers)


def _introduced(row: Row) -> str:
    """How much a layer introduces: of max|ref|, or as SQNR where its tensor is quantised."""
    d = row.isolated
    if row.alone and (d is None or (row.alone.what and not d.what)):
        d = row.alone
    if d is None:
        return ""
    if d.what and not math.isfinite(d.max_rel):
        return d.what if any(word in d.what for word in ("NaN", "shape", "cannot be")) else "infinity"
    return decibel(d.sqnr) if d.metric == "sqnr" else f"{d.max_rel:.1e}"


def _does(row: Row) -> str:
    """How a layer is wrong, in a sentence that begins with it."""
    what = _introduced(row)
    return what if what.startswith(PREDICATES) else f"introduces {what}"


def _layers(count: int) -> str:
    return f"{count} {_plural(count)}"


def _plural(count: int) -> str:
    return "layer" if count == 1 else "layers"
