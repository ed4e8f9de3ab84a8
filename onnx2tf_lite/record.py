"""Values with named fields, which nothing changes: ``dataclass(frozen=True)``, made in a third of the time.

A dataclass compiles up to six methods for each class while Python imports: seventy of them were a tenth of a whole
conversion.  Of a record only ``__init__`` is compiled; comparison, hash and text are the same for all.  That nothing
changes one is seen by the type checker, not at run time; ``Options``, which callers hold, stays a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # Python 3.10 has none

    def dataclass_transform(**said):
        """Says to type checkers what a decorator does, and does nothing itself."""
        return lambda decorator: decorator


T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """``cls`` with an ``__init__`` of its annotated fields; equal are records of one class with equal fields.

    ``dataclasses.replace``, ``fields`` and ``asdict`` take one.  A method that the class has itself stays; fields with
    ``compare=False`` or ``repr=False`` are left out as in a dataclass.
    """
    own = dict(cls.__dict__)
    made = dataclass(init=True, repr=False, eq=False)(cls)
    for name, method in _methods(made).items():
        if own.get(name) is None:
            setattr(made, name, method)
    return made


def _methods(made: type) -> dict[str, Callable[..., object]]:
    rows = fields(made)
    shown = [row.name for row in rows if row.repr]
    compared = [row.name for row in rows if row.compare]
    content: Callable[[object], tuple[object, ...]] = (
        attrgetter(*compared) if len(compared) > 1 else lambda self: tuple(getattr(self, n) for n in compared)
    )

    def equal(self: object, other: object) -> bool:
        return content(self) == content(other) if other.__class__ is self.__class__ else NotImplemented

    def text(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    return {"__eq__": equal, "__hash__": lambda self: hash(content(self)), "__repr__": text}
