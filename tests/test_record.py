"""A record is what ``dataclass(frozen=True)`` makes, in everything that is read of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass, field, fields, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from onnx2tf_lite.record import record

frozen = dataclass(frozen=True)


Case = tuple[Any, Any, list[dict[str, Any]]]


def _pairs() -> dict[str, Case]:
    """By case: the same class as a record and as a dataclass, and arguments for it."""

    class Empty:
        """Nothing."""

    class One:
        """One field."""

        x: object

    class Some:
        """Defaults, a factory, what is neither compared nor shown, and methods of its own."""

        name: str
        places: tuple[int, ...] = ()
        made: dict[str, int] = field(default_factory=dict, compare=False)
        cache: object = field(default=None, compare=False, repr=False)

        @property
        def rank(self) -> int:
            return len(self.places)

    class Said:
        """Its text, its equality and its hash are its own."""

        x: int

        def __repr__(self) -> str:
            return "said"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, int)

        def __hash__(self) -> int:
            return 7

    nan = float("nan")
    one = [{"x": x} for x in (0, 0.0, False, "", None, nan, (1, nan), (1, 2))]
    some = [{"name": n, "places": p, "made": m} for n, p, m in product("ab", [(), (1,)], [{}, {"k": 1}])]
    arguments: dict[Any, list[dict[str, Any]]] = {Empty: [{}], One: one, Some: some, Said: [{"x": 1}]}
    return {c.__name__: (record(_copy(c)), frozen(_copy(c)), rows) for c, rows in arguments.items()}


def _copy(cls: Any) -> Any:
    content = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    return type(cls.__name__, (), content)


PAIRS = _pairs()


@pytest.mark.parametrize("case", PAIRS)
def test_reads_like_a_frozen_dataclass(case: str) -> None:
    ours, theirs, arguments = PAIRS[case]
    assert [f.name for f in fields(ours)] == [f.name for f in fields(theirs)]
    assert ours.__match_args__ == theirs.__match_args__
    for said in arguments:
        a, b = ours(**said), theirs(**said)
        assert repr(a).rpartition(".")[2] == repr(b).rpartition(".")[2]
        assert asdict(a) == asdict(b)
        assert (a == 5) == (b == 5)
        assert repr(replace(a)) == repr(a)
        if case != "Some":
            assert hash(a) == hash(b)


@pytest.mark.parametrize("case", PAIRS)
def test_equal_where_dataclasses_are(case: str) -> None:
    ours, theirs, arguments = PAIRS[case]
    for left, right in product(arguments, repeat=2):
        a, b = ours(**left), ours(**right)
        assert (a == b) == (theirs(**left) == theirs(**right))
        assert a != b or hash(a) == hash(b)


def test_equal_only_within_a_class() -> None:
    @record
    class Base:
        x: int = 1

    @record
    class Derived(Base):
        y: int = 2

    @record
    class Other(Base):
        _: KW_ONLY
        y: int

    assert Base() != Derived()
    assert Derived(1, 2) == Derived()
    assert Derived(1, 3) != Derived()
    assert Other(y=2) != Derived()
    with pytest.raises(TypeError):
        Other(1, 2)  # type: ignore[misc]


def test_a_changed_copy_of_an_array_is_another_record() -> None:
    @record
    class Held:
        data: np.ndarray

    data = np.arange(3)
    assert Held(data) == Held(data)
    assert replace(Held(data), data=data[:2]).data.shape == (2,)
