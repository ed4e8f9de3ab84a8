"""What a table of a device consists of: rows of operators, facts about their operands.

    Kernel("ARG_MAX", "f32>i32 q8>i32", DEPTH_AT_MOST_127, source="...")

``types`` are the signatures that the kernel has, apart by spaces.  One is the types of the first operands, apart by
commas, and behind ``>`` those of the results; without ``>`` the first result has the type of the first operand.
Operands behind those that are named, and absent ones, are not looked at.  :mod:`.node` has the words for types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from functools import cache

from ..record import record
from .node import ABSENT, WORDS, Node

SPELLED = 3  # signatures that a message lists


@record
class Fact:
    """Something that has to hold of an operator: ``needs`` in words, the test, and what can be done where it does not.

    ``fatal``: where it does not hold the device's compiler ends, instead of leaving the operator to the processor.
    ``axes``: it holds of at most so many (0: it is about something else), to which ``forms.ranks`` merges them; with
    ``units`` those of one element in front do not count.
    """

    needs: str
    holds: Callable[[Node], bool]
    remedy: str = ""
    fatal: bool = False
    axes: int = 0
    units: bool = False


@record
class Signature:
    """The types of the first operands and results that a kernel has; ``*`` is any."""

    given: tuple[str, ...]
    made: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Signature:
        """As a row writes it."""
        given, _, made = text.partition(">")
        wanted = tuple(given.split(","))
        return cls(wanted, tuple(made.split(",")) if made else wanted[:1])

    def __call__(self, given: tuple[str, ...], made: tuple[str, ...]) -> bool:
        """True where it is that of operands and results of these types."""
        return _match(self.given, given) and _match(self.made, made)


@record
class Kernel:
    """A row: what a device takes of an operator.

    ``source``  where that is said, if not in the source of the device
    ``fatal``   of its signatures, as in a :class:`Fact`; ``crashes``: where the first operand has this type alone
    """

    operator: str
    types: str
    facts: tuple[Fact, ...] = ()
    source: str = ""
    fatal: bool = False
    crashes: str = ""

    def takes(self, node: Node) -> bool:
        """True where one of the signatures is that of ``node``."""
        return not self.types or _taken(self.types, *node.types)


@record
class Device:
    """A table.

    ``title``     the device in words
    ``rows``      by operator
    ``facts``     of every operator
    ``source``    where the facts come from
    ``tool``      what proves it (a name of ``proof.TOOLS``); empty: by table only
    ``fallback``  the device that runs what this one does not: a name of :data:`..DEVICES`, ``litert`` or nothing
    ``remedies``  operator without a row -> what can be done instead
    ``accelerator``  false for what a whole program runs on: nothing has to be faster there
    ``one_part``  once something runs there, everything behind an operator that falls back does so too
    """

    name: str
    title: str
    rows: Mapping[str, Kernel]
    source: str
    facts: tuple[Fact, ...] = ()
    tool: str = ""
    fallback: str = ""
    remedies: Mapping[str, str] = field(default_factory=dict)
    one_part: bool = False
    accelerator: bool = True

    def facts_of(self, operator: str) -> tuple[Fact, ...]:
        """What has to hold of an operator, beside its types."""
        row = self.rows.get(operator)
        return (*(row.facts if row else ()), *self.facts)

    def complaints(self, node: Node) -> Iterator[Fact]:
        """What of the table does not hold for ``node``."""
        row = self.rows.get(node.name)
        if row is None:
            remedy = self.remedies.get(node.name, "")
            yield Fact(f"a kernel for {node.name}, which {self.title} does not have", lambda _: False, remedy)
        elif not row.takes(node):
            here = _spelled(">".join(map(",".join, node.types)))
            fatal = row.fatal or (not node.subgraph and node.types[0][:1] == (row.crashes,))
            yield Fact(f"{_listed(row.types)}, here it is {here}", lambda _: False, fatal=fatal)
        else:
            yield from (fact for fact in row.facts if not fact.holds(node))
        yield from (fact for fact in self.facts if not fact.holds(node))


def rows(*given: Kernel) -> dict[str, Kernel]:
    """Rows by operator; a row of several (``ABS|NEG``) stands for each."""
    return {name: replace(r, operator=name) for r in given for name in r.operator.split("|")}


@cache
def _signatures(types: str) -> list[Signature]:
    return [Signature.read(text) for text in types.split()]


@cache
def _taken(types: str, given: tuple[str, ...], made: tuple[str, ...]) -> bool:
    """Is one of the signatures that of these types?  Most operators of a file are like others of it."""
    return any(fits(given, made) for fits in _signatures(types))


def _match(wanted: tuple[str, ...], found: tuple[str, ...]) -> bool:
    return all(there in (want, ABSENT) or want == "*" for want, there in zip(wanted, found, strict=False))


@cache
def _listed(types: str) -> str:
    """What a kernel takes; of many signatures the types alone."""
    signatures = types.split()
    if len(signatures) <= SPELLED:
        return " or ".join(map(_spelled, signatures))
    words = dict.fromkeys(_word(t) for signature in signatures for t in signature.partition(">")[0].split(","))
    return f"another of its types ({', '.join(words)})"


@cache
def _spelled(signature: str) -> str:
    given, _, made = signature.partition(">")
    wanted = given.split(",")
    words = [_word(t) for t in dict.fromkeys(wanted)]
    return " with ".join(words) + (f" to {', '.join(map(_word, dict.fromkeys(made.split(','))))}" if made else "")


def _word(short: str) -> str:
    return {"*": "anything", ABSENT: "nothing", "?": "no numbers"}.get(short, WORDS.get(short, short))
