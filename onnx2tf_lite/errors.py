"""The errors of the package: of the converter and of the tools; and what they say of a name that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from .record import record


@record
class Problem:
    """One thing that keeps a model from being converted.

    ``where`` names the node (``Conv 'stem/conv1' (x: f32[1,3,64,64])``), ``what`` says what is wrong with it and
    ``remedy`` what the user can do.
    """

    where: str
    what: str
    remedy: str = ""
    ours: bool = False
    """True where the converter made a mistake, as far as it knows (see ``validation.refusal``)."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" -> {self.remedy}" if self.remedy else "")


class ConversionError(Exception):
    """A model, an option or a file that cannot be processed; carries every :class:`Problem` that was found."""

    def __init__(self, *problems: Problem | str):
        self.problems = [p if isinstance(p, Problem) else Problem("model", p) for p in problems]
        super().__init__("\n".join(p.what if p.where == "model" else str(p) for p in self.problems))


class ToolError(ConversionError):
    """A request about a model, to a tuning tool say, that cannot be met; nothing was written.

    ``what`` says why, ``name`` is the name it is about, ``candidates`` are the names it may have meant, ``tool`` is the
    command (filled in by the tool that runs).
    """

    def __init__(self, what: str, name: str = "", candidates: Sequence[str] = (), tool: str = ""):
        super().__init__(what)
        self.what, self.name, self.candidates, self.tool = what, name, tuple(candidates), tool

    def __str__(self) -> str:
        return self.what + (f"; nearest: {', '.join(map(repr, self.candidates))}" if self.candidates else "")


class TooLargeError(Exception):
    """What a model asks for would be written out larger than any file should be; the message says how large."""


#: How libraries say that they got no memory.
NO_MEMORY = (
    "Failed to allocate memory",
    "Cannot allocate memory",
    "Unable to allocate",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "failed to map segment",
)
#: With which place of its own code ONNX Runtime begins what it says.
SOURCE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ")
#: What to do about a mistake of the converter.
REPORT = "this is a mistake of the converter: please report it with the model"
#: What interpreter and libraries raise where a number, a depth or a size is beyond them: what is wrong, and the remedy.
LIMITS: dict[type[Exception], tuple[str, str]] = {
    RecursionError: ("it is nested too deeply", "flatten the bodies and functions of the model"),
    MemoryError: ("it needs more memory than there is", "fix smaller input shapes, or convert a part of the model"),
    TooLargeError: ("it would be written out too large", "check the sizes and attributes, or fix smaller ones"),
    OverflowError: ("a number is too large", "TFLite counts in 32 bits: check the sizes and attributes"),
    UnicodeError: ("a name or text is not UTF-8", "give it another name"),
}


def mistake(where: str, what: str, remedy: str = REPORT) -> Problem:
    """What nobody foresaw."""
    return Problem(where, what, remedy, ours=True)


def lacks_memory(error: BaseException) -> bool:
    """Is it of memory that was not to be had, whoever says it?"""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def one_line(error: BaseException) -> str:
    """What an error of a library says, of 300 letters at most, without places in its code; its type if it says none."""
    return SOURCE.sub("", " ".join(str(error).split()))[:300] or type(error).__name__


def unforeseen(where: str, error: Exception, before: str = "") -> Problem:
    """What is to be said of an error that is not ours: a limit that was reached, or else a mistake."""
    said = " ".join(str(error).split())[:400]
    if lacks_memory(error):
        error = MemoryError()
    for kind, (what, remedy) in LIMITS.items():
        if isinstance(error, kind):
            return Problem(where, f"{what} ({said})" if said else what, remedy)
    return mistake(where, f"{before}{type(error).__name__}: {said}")


@contextmanager
def boundary(where: str) -> Iterator[None]:
    """Around a stage, whose errors leave as one :class:`ConversionError` that says ``where``; those of files stay."""
    try:
        yield
    except (ConversionError, OSError):
        raise
    except Exception as error:  # whatever it is, it is told, not swallowed
        raise ConversionError(unforeseen(where, error)) from error


@contextmanager
def naming(tool: str) -> Iterator[None]:
    """Around the work of a tool, or decorating its function: the errors say which tool it is."""
    try:
        yield
    except ToolError as error:
        error.tool = error.tool or tool
        raise


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The ``count`` names most like ``name``, best first."""
    from difflib import get_close_matches  # few runs have an error to tell of

    names = sorted({k for k in known if k})
    close = get_close_matches(name, names, n=count, cutoff=0.3)
    inside = [k for k in names if name and name.lower() in k.lower()]
    return list(dict.fromkeys([*close, *inside, *names]))[:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for a name that does not exist."""
    from difflib import get_close_matches

    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.4)
    shown = close or known[:8]
    return ("did you mean " if close else "there are: ") + ", ".join(shown) + ("?" if close else "")


def unknown(flag: str, kind: str, name: str, known: Iterable[str]) -> ToolError:
    """The error for a name that does not exist: ``-rn: no node 'x'``, with the nearest names."""
    known = list(known)
    empty = "" if any(known) else f" (the model has no {kind} with a name)"
    return ToolError(f"{flag}: no {kind} {name!r}{empty}", name, nearest(name, known))


def ambiguous(flag: str, kind: str, name: str, places: Sequence[str]) -> ToolError:
    """The error for a name that several bodies have."""
    what = f"{flag}: {kind} {name!r} is in several graphs: {', '.join(places)}"
    return ToolError(f"{what}; say which", name)
