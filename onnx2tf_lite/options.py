"""What the user asks of a conversion, whichever of its names he gives it by."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar, cast

from numpy.typing import ArrayLike

from .aliases import ALIASES, CHECKS, IO_LAYOUTS, OUTER, SIMPLIFY, Alias
from .commands.terminal import LEVELS
from .emitters import EMITTERS, QUANTISED, default
from .errors import ConversionError, Problem, did_you_mean, nearest
from .onnx2tf_options import is_default
from .quantization.recipes import I8, RECIPES
from .record import record
from .targets import DEVICES

_Function = TypeVar("_Function", bound=Callable[..., object])


DEVICE_KINDS = ["float32"]  # what is written for a device, besides what is asked for
#: Who reads fields: where it is switched off, these have no effect.
FED = ("test_data", "shape_hints", "value_hints", "samples")
READERS = {
    "check": (*FED, "rtol", "atol", "require_coverage", "budget", "seconds", "html"),
    "shapes": ("batch_size", "input_shapes", "input_names", "output_names"),
    "fold": ("fold_budget",),
    "simplify": ("simplify",),
}
#: Fields that others read too.
SHARED = {"shape_hints": ("calibration", "random_calibration")}
#: A question, the field that answers it, and fields that would answer it otherwise.
RIVALS = (
    ("what the check feeds the model", FED[0], FED[1:]),
    ("what files are calibrated on", "calibration", ("calibration_parts", "random_calibration")),
    ("what files are calibrated on", "calibration_parts", ("random_calibration",)),
)
TFLITE = tuple(kind for kind, row in EMITTERS.items() if row.suffix.endswith(".tflite"))
CALIBRATED = ("calibration", "calibration_parts", "calibration_bgr", "random_calibration")
#: Fields, what they are about, and its kinds: without one of these they have no effect.  That contradicts nothing, and
#: scripts are written so.  (Of pictures compat always says something.)
ABOUT = (
    ((*CALIBRATED, "per_channel"), "quantised file", QUANTISED),
    (("float16_sums",), "float16 file", ("float16",)),
    (("tflite_weights",), ".tflite", TFLITE),
)


@record
class Demand:
    """``fields`` that ask something of the files of some kinds.

    ``takers``  the kinds that can have it; without one of these it is an error
    ``what``    they have, and others not
    ``others``  kinds that may be taken for such, and what they have ``instead``
    """

    fields: tuple[str, ...]
    takers: tuple[str, ...]
    what: str
    others: tuple[str, ...]
    instead: str


DEMANDS = (
    Demand(
        ("min_sqnr", "min_agreement"),
        tuple(kind for kind, recipe in RECIPES.items() if recipe.activations is not None),
        "integer activations",
        tuple(kind for kind, recipe in RECIPES.items() if recipe.activations is None),
        "whose activations are float",
    ),
    Demand(
        ("input_dtype", "output_dtype"),
        tuple(kind for kind, recipe in RECIPES.items() if recipe.outside and recipe.activations == I8),
        "8-bit inputs and outputs",
        tuple(kind for kind, recipe in RECIPES.items() if recipe.outside and recipe.activations != I8),
        "whose inputs and outputs are int16",
    ),
)


@dataclass(frozen=True)
class Options:
    """The options of :func:`onnx2tf_lite.convert`.

    ``outputs``          kinds of ``emitters.EMITTERS``; None: the default ones, as far as their packages are there
    ``added``            kinds that are written besides
    ``target``           the device (``targets.DEVICES``) that the files are made for, with a verdict on every operator
    ``asked``            a device of which only the verdict is wanted
    ``forms``            rewrites of ``targets.forms`` that are done besides
    ``calibration``      samples for quantised kinds: arrays by input name, sets of them, .npz, .npy, or a folder of
                         such or of images
    ``calibration_parts``  the same, a row for each input: name, .npy, perhaps mean and deviation
    ``calibration_mean``, ``calibration_std``, ``calibration_bgr``  of the images in the folder
    ``random_calibration``  noise instead
    ``picture_calibration``  made pictures, where there is nothing else to take ranges from
    ``min_sqnr``, ``min_agreement``  what mixed precision has to reach
    ``per_channel``      a scale for each output channel of weights
    ``input_dtype``, ``output_dtype``  of ``full_integer_quant``
    ``float16_sums``     the float16 file may be computed in float16, sums too, where the hardware can
    ``tflite_weights``   the weights of every .tflite file in an .h5 beside it
    ``save``             False: convert and check, write nothing
    ``batch_size``       of every free first dimension
    ``input_shapes``     input name -> its shape in ONNX order; -1 leaves an extent free
    ``input_names``, ``output_names``  tensors at which the model begins and ends
    ``pins``             input or output name -> the order that it is stored in, ``onnx`` or ``channels_last``
    ``io_layout``        how the other inputs and outputs are stored: ``auto``, ``channels-last``, ``onnx``
    ``simplify``         ``auto``, ``always``, ``never``: whether onnxsim is run
    ``fold_budget``      bytes by which folding may make the constants grow; None: the usual ones
    ``disabled_passes``  names of passes that are left out
    ``keep_nodes``       names of nodes that tuning neither folds, fuses nor removes
    ``keep_batchnorm``   BatchNormalization is not folded: in a Keras model it is a layer
    ``check``            ``outputs``, ``layers`` or ``none``
    ``rtol``, ``atol``   limit of the check: ``rtol * max|reference| + atol`` per tensor; None: by the kind of file
    ``require_coverage`` percent of layers, branches and weights that the check has to reach
    ``budget``, ``seconds`` bytes of memory above the weights, and time, that it may take; None: the usual ones
    ``test_data``        arrays by input name, or an .npz or .npy file; None: seeded random inputs
    ``shape_hints``      input name -> shape of the random inputs
    ``value_hints``      input name, or ``*`` for all others -> the number that fills it instead of random ones
    ``samples``          how many random inputs are drawn; None: as many as the model has cases
    ``html``             where the page of the check goes
    ``verbosity``        ``debug``, ``info``, ``warn``, ``error``
    ``listener``         told the name of every stage that begins
    ``warnings``         what is to be said of options that have no effect
    """

    outputs: tuple[str, ...] | None = None
    added: Mapping[str, bool] = field(default_factory=dict)
    target: str = ""
    asked: str = ""
    forms: Mapping[str, bool] = field(default_factory=dict)
    calibration: Any = None
    calibration_parts: tuple[tuple[object, ...], ...] = ()
    calibration_mean: ArrayLike = 0.0
    calibration_std: ArrayLike = 1.0
    calibration_bgr: bool = False
    random_calibration: bool = False
    picture_calibration: bool = False
    min_sqnr: float | None = None
    min_agreement: float | None = None
    per_channel: bool = True
    input_dtype: str = "int8"
    output_dtype: str = "int8"
    float16_sums: bool = False
    tflite_weights: bool = False
    save: bool = True
    batch_size: int | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    io_layout: str = "auto"
    simplify: str = "auto"
    fold_budget: int | None = None
    disabled_passes: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()
    keep_batchnorm: bool = False
    check: str = "outputs"
    rtol: float | None = None
    atol: float | None = None
    require_coverage: float = 0.0
    budget: int | None = None
    seconds: float | None = None
    test_data: Any = None
    shape_hints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    value_hints: Mapping[str, float] = field(default_factory=dict)
    samples: int | None = None
    html: Any = None
    verbosity: str = "info"
    listener: Callable[[str], object] | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = {"check": CHECKS, "simplify": SIMPLIFY, "io_layout": IO_LAYOUTS, "verbosity": LEVELS}
        words |= {"input_dtype": OUTER, "output_dtype": OUTER, "target": ("", *DEVICES)}
        for name, known in words.items():
            value = getattr(self, name)
            if value not in known:
                remedy = f"did you mean {', '.join(nearest(value, known))}?"
                raise ConversionError(Problem(f"{name} {value!r}", "is unknown", remedy))
        if unknown := [kind for kind in self.outputs or () if kind not in EMITTERS]:
            raise ConversionError(*(Problem(f"output {n!r}", "is unknown", did_you_mean(n, EMITTERS)) for n in unknown))
        if self.outputs == ():
            raise ConversionError("outputs is empty: there is nothing to write")
        if (device := self.target or self.asked) and not set(TFLITE).intersection(self.kinds):
            what = "judges .tflite files, and none is asked for"
            raise ConversionError(Problem(f"device '{device}'", what, "add one to the outputs"))
        said = {f.name: value for f in fields(self) if not _is_usual(f, value := getattr(self, f.name))}
        if problems := [*contradictions(said, {})]:
            raise ConversionError(*problems)

    @property
    def kinds(self) -> list[str]:
        """What is to be written; of the default kinds only that whose packages are there."""
        return _kinds(vars(self))


def _kinds(said: Mapping[str, Any]) -> list[str]:
    """The kinds that the fields ask for, which are known ones or not."""
    usual = DEVICE_KINDS if said.get("target") else default()
    outputs = said.get("outputs")
    return [*(usual if outputs is None else outputs), *said.get("added", ())]


def _is_usual(f: Field[object], value: object) -> bool:
    usual = f.default_factory() if callable(f.default_factory) else f.default
    return value is usual or (type(value) is type(usual) and bool(value == usual))


def contradictions(said: Mapping[str, Any], called: Mapping[str, str]) -> Iterator[Problem]:
    """Fields that cannot be meant together.  ``called``: what the user calls them."""
    words = {name: called.get(name, name) for name in said}
    read = {name for name, others in SHARED.items() if said.keys() & others}
    off = {name: f"{words['disabled_passes']} leaves the pass {name} out" for name in said.get("disabled_passes", ())}
    if said.get("check") == "none":
        off["check"] = f"{words['check']} lets nothing be checked"
    for reader, names in READERS.items():
        for name in (n for n in names if reader in off and n in said and said[n] != "never" and n not in read):
            yield Problem(words[name], f"has no effect: {off[reader]}", "leave one of the two out")
    for question, name, others in RIVALS:
        for other in (n for n in others if name in said and n in said and n not in read):
            yield Problem(f"{words[name]} and {words[other]}", f"say both {question}", "give one of them")
    yield from _unmet({*_kinds(said)}, words)


def _unmet(kinds: set[str], words: Mapping[str, str]) -> Iterator[Problem]:
    """What is asked of kinds of which none is to be written; unknown kinds are told of elsewhere."""
    for demand in DEMANDS if kinds <= EMITTERS.keys() else ():
        if not kinds.intersection(demand.takers):
            remedy = f"add one to the outputs: {', '.join(demand.takers)}"
            for word in _named(demand.fields, words):
                yield Problem(word, f"is for files with {demand.what}, and none is asked for", remedy)


def _named(names: Iterable[str], words: Mapping[str, str]) -> Iterable[str]:
    """What the user calls those of the fields that he set, each once."""
    return dict.fromkeys(words[n] for n in names if n in words)


def _without_effect(kinds: Collection[str], called: Mapping[str, str]) -> Iterator[str]:
    """Of the fields that the user set, those that nothing to be written is about, or not all of it."""
    for names, what, of in ABOUT:
        if not set(of).intersection(kinds):
            for word in _named(names, called):
                yield f"{word} has no effect: no {what} is asked for (--outputs)"
    for demand in DEMANDS:
        if left := ", ".join(kind for kind in demand.others if kind in kinds):
            for word in _named(demand.fields, called):
                yield f"{word} does not apply to {left}, {demand.instead}"


def explained(function: _Function) -> _Function:
    """``function`` with the keywords of the table as its parameters, for `help`, editors and `inspect.signature`; it
    says in words what it takes by position."""
    own = inspect.signature(function)
    *first, others = own.parameters.values()
    placed = [p.name for p in first if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.wraps(function)
    def asked(*given: object, **keywords: object) -> object:
        if len(given) > len(placed):
            what = f"{len(placed)} arguments by position, {' and '.join(placed)}, and all others by name"
            raise TypeError(f"{function.__name__}() takes {what}; {len(given)} were given by position")
        return function(*given, **keywords)

    rows = [row for row in ALIASES.values() if row.sets]
    only = inspect.Parameter.KEYWORD_ONLY
    named = [inspect.Parameter(row.keyword, only, default=None, annotation=row.form) for row in rows]
    asked.__dict__["__signature__"] = own.replace(parameters=[*first, *named, others])
    literal = {row.keyword: row.option.help.replace("*", "\\*") for row in rows}  # a star is no emphasis
    lines = [f":param {name}: {text}." for name, text in literal.items()]
    asked.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), *lines])
    return cast("_Function", asked)


def resolve(given: Mapping[str, object]) -> Options:
    """The options that ``given`` names mean; None, False and "" are as good as not given.

    So is onnx2tf's own default for a keyword, where it would not ask for something else here.

    :raises TypeError: for a name that does not exist.
    :raises ConversionError: with every value that cannot be read, every option that is refused and every contradiction.
    """
    if unknown := [name for name in given if name not in ALIASES]:
        close = ", ".join(nearest(unknown[0], ALIASES))
        raise TypeError(f"convert() has no keyword {unknown[0]!r}: did you mean {close}?")
    if given.get("non_verbose"):  # a short form that wins, as in onnx2tf
        given = {name: value for name, value in given.items() if name != "verbosity"}
    wishes = _Wishes()
    for name, value in given.items():
        if not _says_nothing(name, value):
            wishes.add(ALIASES[name], value)
    undisputed = {name: value for name, value in wishes.values.items() if name not in wishes.disputed}
    called = {name: str(row) for name, row in wishes.sources.items()}
    wishes.problems += contradictions(undisputed, called)
    if wishes.problems:
        raise ConversionError(*wishes.problems)
    options = Options(**wishes.values)
    return replace(options, warnings=(*wishes.warnings, *_without_effect(options.kinds, called)))


def _says_nothing(name: str, value: object) -> bool:
    if value is None or value is False or (isinstance(value, str) and not value):
        return True
    if is_default(name, value) and ALIASES[name].sets not in OTHER_DEFAULTS:
        return True
    return name != "outputs" and isinstance(value, list | tuple | dict | set | frozenset) and not value


MERGED = ("added", "forms", "pins", "input_shapes", "shape_hints")  # fields that several options may fill together
#: What onnx2tf takes for these if nothing is said is not what is taken here.
OTHER_DEFAULTS = ("rtol", "atol", "verbosity", "calibration_mean", "calibration_std")


class _Wishes:
    """The fields that options set, and what is wrong with them together."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, Alias] = {}  # of every field, and of every name within a mapping
        self.disputed: set[str] = set()  # fields of which a contradiction is told
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def add(self, row: Alias, value: object) -> None:
        if row.refused:
            self.problems.append(Problem(row.keyword, "is not supported", row.refused))
            return
        if row.ignored:
            self.warnings.append(f"{row.keyword} is ignored: {row.ignored}")
            return
        try:
            made = row.value(value)
        except (ValueError, TypeError) as error:
            self.problems.append(Problem(str(row), str(error)))
            return
        for name, wanted in {row.sets: made, **row.also}.items():
            self._set(row, name, made if wanted is ... else wanted)

    def _set(self, row: Alias, name: str, value: Any) -> None:
        """The field, unless another option has given it another value; fields that are mappings are merged."""
        together = name in MERGED
        self.sources.setdefault(name, row)
        held = self.values.setdefault(name, {}) if together else self.values
        for key, wanted in value.items() if together else [(name, value)]:
            source = self.sources.setdefault(f"{name} {key}" if together else key, row)
            if source is not row and not _same(held[key], wanted):
                what = f"contradict each other on {key}: {held[key]!r} and {wanted!r}"
                self.problems.append(Problem(f"{source} and {row}", what, "give one of them"))
                self.disputed.add(name)
                continue
            held[key] = wanted


def _same(a: object, b: object) -> bool:
    """Equal; of arrays only the same ones are."""
    return a is b or (not isinstance(a, Mapping) and not isinstance(b, Mapping) and bool(a == b))
