"""What is asked of an operator beside its shapes: one answer to each question, in the row that defines it.

Every field of :class:`Traits` has to be given.  Families of operators (``MOVER``, ``COMPUTED``) are complete answers
from which a row says what differs; a family that cannot know leaves the field to its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, replace
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any

from ..record import record
from .intervals import Transfer, first

if TYPE_CHECKING:
    from .graph import Op

Limits = tuple[float, float]
REALS: Limits = (-inf, inf)


class Elements(Enum):
    """Where the elements of a result come from."""

    COPIED = "each is an element of the first operand, wherever that lies"
    PICKED = "each is an element of some operand, by place or by order"
    PADDED = "each is an element of the first operand, or zero"
    CONVERTED = "each is an element of the operand in another dtype"
    ENCODED = "each stands for the number that an element of the operand is, or is the number that it stands for"
    COMPARED = "bools: how two operands compare"
    COMPUTED = "new numbers"
    DELEGATED = "what the bodies make of the operands"


class Bits(Enum):
    """How the int64 kernel serves uint64."""

    SAME = "right on the same bits: movement, equality, arithmetic that wraps"
    ORDERED = "right once the sign bits are flipped"
    FLIPPED = "right where who hands over the operands has flipped their sign bits"
    QUOTIENT = "not right: the quotient is composed"
    REMAINDER = "not right: the remainder is composed"
    CONVERTED = "not right: the conversion is composed"
    BODY = "right where its body is: one that orders has the sign bits flipped"
    WRONG = "not right, or there is no such kernel"


class Lapse(Enum):
    """What a kernel makes of infinities and NaN that differs from :class:`Special`."""

    SUM = "infinite sums become the largest number"
    DIFFERENCE = "infinite differences do"
    PRODUCT = "infinite products do"
    QUOTIENT = "infinite quotients do"
    FIRST = "NaN of the first operand is lost"
    NAN = "NaN becomes a number"
    AMONG = "NaN among the elements is lost"


class Int8(Enum):
    """Which quantisation parameters the 8-bit kernel takes."""

    MOVES = "the result has those of the operand"
    PADS = "the result has those of the operand, and so has the number that is filled in"
    JOINS = "all operands and the result have the same"
    LINEAR = "any activations; weights with zero point 0, bias in units of their product"
    RESCALES = "any, on every operand and the result"
    SUM = "any; but 16 bits not from powers of two that are both another than that of the result"
    PRODUCT = "any; the version depends on whether the product of the scales exceeds that of the result"
    ONE_SCALE = "the operand's must be those of the result"
    RESAMPLES = "as ONE_SCALE; and it knows positions to 2^-10 of an element only"


@record
class FixedScale:
    """An 8-bit kernel whose result has this scale and zero point whatever the operand has."""

    scale: float
    zero_point: int


@record
class Weights:
    """Constant weights (operand 1) of a linear operator: the axes of the output and the input channels (None: those
    are the output channels in another grouping), and those of the window.  ``biased``: the kernel crashes without a
    bias.  ``scatters``: of a transposed convolution, which adds each element of the operand to a window of results.
    """

    outputs: int
    inputs: int | None
    window: slice | None = None
    biased: bool = False
    scatters: bool = False


@record
class Special:
    """Which of +inf, -inf and NaN (``"+-n"``) can be among float results, by what is among the float operands.

    ``finite``: whatever they are (made from numbers: overflow, division by zero, the root of -1).  ``plus``, ``minus``,
    ``nan``: because +inf, -inf or NaN is there.  ``clash``: because two infinities meet, beyond what each gives alone.
    The definition is the operator's meaning in real arithmetic rounded to float32, not what a kernel makes of it.
    """

    finite: str
    plus: str
    minus: str
    clash: str
    nan: str

    @classmethod
    def of(cls, row: str) -> Special:
        """Five columns, ``.`` for none: ``"+- + - n n"`` is addition."""
        finite, plus, minus, clash, nan = ("" if column == "." else column for column in row.split())
        return cls(finite, plus, minus, clash, nan)

    def passes(self, sign: str) -> bool:
        """Results that are infinite because an operand is infinite, by its ``sign``."""
        return bool(set(self.plus if sign == "+" else self.minus) & set("+-"))


PASSES = Special.of(". + - . n")  # an infinity or NaN stays what it is
SUMS = Special.of("+- + - n n")
PRODUCTS = Special.of("+- +-n +-n . n")  # 0 * inf
TOTALS = Special.of("+-n + - n n")  # as sums, of more than two: partial ones overflow, and meet
DOTS = Special.of("+-n +-n +-n n n")  # totals of products
BOUNDED = Special.of(". . . . n")
NEVER = Special.of(". . . . .")  # no float result, or none that could be one
UNKNOWN = Special.of("+-n +-n +-n +-n +-n")


@record
class Traits:
    """The answers of one operator.

    ``elements``        where the elements of a result come from
    ``special``         what it does with infinities and NaN
    ``lapse``           where its kernel does something else with them
    ``limits``          numbers between which every float result lies, whatever the operands
    ``saturates``       operands beyond these numbers change a result by less than a fifth of a step of 8 bits
    ``interval``        transfer function of whole numbers (:mod:`.intervals`); None: anything of the dtype
    ``commutes``        the first two operands can be exchanged
    ``bits``            uint64 on int64
    ``int8``            parameters of its 8-bit kernel; None: there is none that we use
    ``int16``           it computes activations of 16 bits, zero points all 0, as well (weights stay int8)
    ``exact_in_float``  whole numbers below 2**24 give the exact whole result in float32
    ``fuses``           the kernel applies one of the fused activations (and clamps to the finite float32 without one)
    ``clamps``          it is such an activation: the operand limited to ``limits``
    ``weights``         the weights of a linear operator
    ``indices``         operands that say which elements are read or written
    ``trap``            what the kernel would answer with garbage or a crash: the reason against an operation, or ""
    ``bodies``          faults in the graphs that it carries
    ``data_shaped``     extents of the result depend on data: inference invents a new symbol
    ``stateful``        results differ from call to call: never folded, merged or dropped
    """

    _: KW_ONLY
    elements: Elements
    special: Special
    lapse: Lapse | None
    limits: Limits
    saturates: Limits
    interval: Transfer | None
    commutes: bool
    bits: Bits
    int8: Int8 | FixedScale | None
    int16: bool
    exact_in_float: bool
    fuses: bool
    clamps: bool
    weights: Weights | None
    indices: tuple[int, ...]
    trap: Callable[[Op], str] | None
    bodies: Callable[[Op], Iterator[str]] | None
    data_shaped: bool
    stateful: bool

    def but(self, **differs: Any) -> Traits:
        """These answers with some that differ; TypeError for a question that nobody asks."""
        return replace(self, **differs)


def computed(
    special: Special | str,
    limits: Limits,
    interval: Transfer | None,
    bits: Bits,
    int8: Int8 | FixedScale | None,
    **differs: Any,
) -> Traits:
    """New numbers: what depends on the function has to be given, the rest is no unless ``differs`` says otherwise."""
    special = Special.of(special) if isinstance(special, str) else special
    return replace(_NOTHING, special=special, limits=limits, interval=interval, bits=bits, int8=int8, **differs)


_NOTHING = Traits(
    elements=Elements.COMPUTED,
    special=UNKNOWN,
    lapse=None,
    limits=REALS,
    saturates=REALS,
    interval=None,
    commutes=False,
    bits=Bits.WRONG,
    int8=None,
    int16=False,
    exact_in_float=False,
    fuses=False,
    clamps=False,
    weights=None,
    indices=(),
    trap=None,
    bodies=None,
    data_shaped=False,
    stateful=False,
)


def real(special: Special | str, limits: Limits, int8: Int8 | FixedScale | None, **differs: Any) -> Traits:
    """New numbers from a kernel that takes no whole ones."""
    return computed(special, limits, None, Bits.WRONG, int8, **differs)


def whole(interval: Transfer | None, bits: Bits, **differs: Any) -> Traits:
    """New whole numbers or truth values, from whatever: no float ever results."""
    return computed(NEVER, REALS, interval, bits, None, **differs)


MOVER = computed(PASSES, REALS, first, Bits.SAME, Int8.MOVES, int16=True, elements=Elements.COPIED)
PICKER = MOVER.but(elements=Elements.PICKED, int8=None)
