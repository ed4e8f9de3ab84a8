"""What the definition of an IR operator holds.

A :class:`Kind` is the one place that knows an operator: its traits, shape and dtype inference, layout rule, dtypes of
its TFLite kernel, TFLite operands, options and version, TensorFlow counterpart, numpy evaluation.  The definitions are
in ``ir.kinds``, a family per file; kernel facts were measured with the LiteRT runtime (docs/kernels.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, field, fields
from typing import Any

import numpy as np

from ..record import record
from .dims import Dim, Shape
from .graph import Attrs, Op, Value, short
from .orders import AS_WRITTEN, Elementwise, Fill, Layout, Renamed
from .traits import Elements, Traits

Result = tuple[Shape, np.dtype]
Infer = Callable[[Sequence[Any], Attrs], "Result | list[Result]"]
Evaluate = Callable[..., Any]  # of attributes and arrays: a result, or several
Fields = dict[str, Any]  # of a row, or of the TFLite options in it


@record
class Kind(Traits):
    """Definition of one operator: its :class:`.traits.Traits`, and how it is written.

    ``infer(inputs, attrs)``
        (shape, dtype) of the result, or a list of them.  Raises ValueError for operands that do not fit.
    ``types``
        Short dtype names (``"f32 i32 i64"``) of the operands in ``typed`` that the CPU kernel computes correctly;
        ``legalize.dtypes`` casts around everything else.  "" means any.
    ``operator``
        the TFLite operator that it is written as; None: it is replaced before anything is written.
    ``operands``
        TFLite operand order: an input index, or the name of an attribute that TFLite wants as a tensor (a scalar for
        an int, else int32 of the attribute's shape; symbolic dims become a run-time tensor).  None: the inputs as is.
    ``options``
        (TFLite options table, {field: attribute name or constant}).
    ``versions``
        ``"2:i8|u8 3:i16 4:rank>4 5:@activation 6:inputs>2"``: versions with the conditions that need them: a dtype of
        any tensor (``qi8``: quantised), a rank, a true attribute or one of ``features`` (name -> test of the op), a
        number of inputs.  The highest one is written.
    ``tensorflow``
        name of the raw TensorFlow op with the same operands, and in ``tf_attrs`` its attributes that operands do not
        determine; ``emitters.saved_model.ops`` has the form of all others.
    ``run_time``
        attribute among the ``operands`` -> function of the operation and of the attribute: the same with constants that
        the kernel reads as an extent which only run time knows (-1, or a bound that it clamps).
    ``float64``
        the operator that computes the same in float64, of operands of one shape, and does not clamp.
    ``combines``
        the reduction ("mul", "max", "min") of STABLEHLO_SCATTER whose body it is.
    ``slides``
        every place of the result is computed alike, from a window of places around it: an image of fewer places shows
        all that it does.  What works on each element by itself does so anyway.
    ``empty(dtype)``
        the value of a reduction over no elements.
    ``evaluate(attrs, *arrays)``
        numpy result, for constant folding.
    ``symbolic(attrs, *arrays)``
        the same on object arrays of symbolic dims, to track shape arithmetic; raises TypeError where undecidable.
        ``attrs["dtype"]`` is that of the result.
    """

    _: KW_ONLY
    name: str
    infer: Infer
    layout: Layout = AS_WRITTEN
    types: str
    typed: tuple[int, ...] | None = (0,)  # None: every operand
    operands: tuple[int | str, ...] | None = None
    options: tuple[str, Fields] | None = None
    versions: str = ""
    features: Mapping[str, Callable[[Op], bool]] = field(default_factory=dict)
    max_rank: int
    tensorflow: str | None = None
    tf_attrs: Fields = field(default_factory=dict)
    evaluate: Evaluate | None = None
    symbolic: Evaluate | None = None
    run_time: Mapping[str, Callable[[Op, tuple[Dim, ...]], tuple[Dim, ...]]] = field(default_factory=dict)
    float64: str | None = None
    combines: str | None = None
    slides: bool = False
    empty: Callable[[np.dtype], float] | None = None
    operator: str | None

    @property
    def is_view(self) -> bool:
        """TRANSPOSE and RESHAPE: the same elements under other axes."""
        return isinstance(self.layout, Renamed)

    @property
    def permutes(self) -> bool:
        """TRANSPOSE: a view in another order of axes."""
        return isinstance(self.layout, Renamed) and self.layout.permutes

    @property
    def is_local(self) -> bool:
        """Every place of an image is computed alike, from the places around it."""
        return self.slides or isinstance(self.layout, Elementwise) or self.elements is Elements.ENCODED

    @property
    def is_splat(self) -> bool:
        """FILL: the result is one number everywhere."""
        return isinstance(self.layout, Fill)

    def takes(self, dtype: np.dtype) -> bool:
        """True where the kernel computes with plain numbers of ``dtype``."""
        return not self.types or short(dtype) in self.types.split()

    def copies(self, dtype: np.dtype) -> bool:
        """True where the kernel copies elements of ``dtype`` without a look at what they stand for."""
        return self.elements is Elements.COPIED and self.takes(dtype)

    def results(self, inputs: Sequence[Value | None], attrs: Attrs) -> list[Result]:
        """(shape, dtype) of every result."""
        found = self.infer(inputs, attrs)
        return found if isinstance(found, list) else [found]

    def typed_ports(self, op: Op) -> list[int]:
        """Inputs of ``op`` that are present and must have one of the dtypes in ``types``."""
        ports = range(len(op.inputs)) if self.typed is None else self.typed
        return [i for i in ports if i < len(op.inputs) and op.inputs[i] is not None]

    def version(self, op: Op) -> int:
        """The lowest operator version whose features ``op`` needs."""
        values: list[Value] = [*op.uses(), *op.outputs]
        names = {short(v.dtype) for v in values}
        names |= {"q" + short(v.dtype) for v in values if v.quant}
        rank = max((v.rank for v in values), default=0)
        count = sum(v is not None for v in op.inputs)

        def holds(condition: str) -> bool:
            if condition.startswith("rank>"):
                return rank > int(condition[5:])
            if condition.startswith("inputs>"):
                return count > int(condition[7:])
            if condition.startswith("@"):
                name = condition[1:]
                return self.features[name](op) if name in self.features else bool(op.attrs.get(name))
            return condition in names

        best = 1
        for entry in self.versions.split():
            number, _, conditions = entry.partition(":")
            if not conditions or any(map(holds, conditions.split("|"))):
                best = max(best, int(number))
        return best


def plain(function: Evaluate) -> Evaluate:
    """The ``evaluate`` of a function that needs no attributes."""
    return lambda attrs, *arrays: function(*arrays)


KINDS: dict[str, Kind] = {}


def define(name: str, infer: Infer, traits: Traits, **rest: Any) -> Kind:
    """Add an operator to the vocabulary.

    :raises ValueError: for a second definition of a name.
    :raises TypeError: for a definition that leaves a trait open, or has a field that does not exist.
    """
    if name in KINDS:
        raise ValueError(f"{name} is defined twice")
    if not isinstance(traits, Traits):
        raise TypeError(f"{name}: {traits!r} is no answer to {', '.join(f.name for f in fields(Traits))}")
    answers = {f.name: getattr(traits, f.name) for f in fields(Traits)}
    KINDS[name] = Kind(name=name, infer=infer, **answers, **{"operator": name, **rest})
    return KINDS[name]
