"""What a table of a device consists of: rows of operators, facts about their operands.

    Kernel("ARG_MAX", "f32>i32 q8>i32", DEPTH_AT_MOST_127, source="...")

``types`` are the signatures that the kernel has, apart by spaces.  One is the types of the first operands, apart by
commas, and behind ``>`` those of the results; without ``>`` the first result has the type of the first operand.
Operands behind those that are named, and absent ones, are not looked at.  :mod:`.node` has the words for types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .node import WORDS, Node, Operand

SPELLED = 3  # signatures that a message lists


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Kernel:
    """A row: what a device takes of an operator.

    ``source``  where that is said, if not in the source of the device
    ``fatal``   of its signatures, as in a :class:`Fact`
    """

    operator: str
    types: str
    facts: tuple[Fact, ...] = ()
    source: str = ""
    fatal: bool = False

    def takes(self, node: Node) -> bool:
        """True where one of the signatures is that of ``node``."""
        return not self.types or any(_fits(signature, node) for signature in self.types.split())


@dataclass(frozen=True)
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
            here = _spelled(_signature(node))
            yield Fact(f"{_listed(row.types.split())}, here it is {here}", lambda _: False, fatal=row.fatal)
        else:
            yield from (fact for fact in row.facts if not fact.holds(node))
        yield from (fact for fact in self.facts if not fact.holds(node))


def rows(*given: Kernel) -> dict[str, Kernel]:
    """Rows by operator; a row of several (``ABS|NEG``) stands for each."""
    return {name: Kernel(name, r.types, r.facts, r.source, r.fatal) for r in given for name in r.operator.split("|")}


def _fits(signature: str, node: Node) -> bool:
    given, _, made = signature.partition(">")
    wanted = given.split(",")
    found = [node.input(i) for i in range(len(wanted))]
    if any(x is not None and not _is(x, want) for x, want in zip(found, wanted, strict=True)):
        return False
    results = made.split(",") if made else wanted[:1]
    return all(_is(x, want) for x, want in zip(node.outputs, results, strict=False))


def _is(operand: Operand, want: str) -> bool:
    return want == "*" or operand.type == want


def _signature(node: Node) -> str:
    given = ",".join("-" if x is None else x.type for x in node.inputs)
    return f"{given}>{','.join(x.type for x in node.outputs)}"


def _listed(signatures: list[str]) -> str:
    """What a kernel takes; of many signatures the types alone."""
    if len(signatures) <= SPELLED:
        return " or ".join(map(_spelled, signatures))
    types = dict.fromkeys(t for signature in signatures for t in signature.partition(">")[0].split(","))
    return "another of its types (" + ", ".join(_word(t) for t in types) + ")"


def _spelled(signature: str) -> str:
    given, _, made = signature.partition(">")
    wanted = given.split(",")
    words = [_word(t) for t in dict.fromkeys(wanted)]
    return " with ".join(words) + (f" to {', '.join(map(_word, dict.fromkeys(made.split(','))))}" if made else "")


def _word(short: str) -> str:
    return {"*": "anything", "-": "nothing", "?": "no numbers"}.get(short, WORDS.get(short, short))
