"""The one exception type of the package, and the form every message takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a model from being converted.

    ``where`` names the node (``Conv 'stem/conv1' (x: f32[1,3,64,64])``), ``what`` says what is wrong with it and
    ``remedy`` what the user can do.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" -> {self.remedy}" if self.remedy else "")


class ConversionError(Exception):
    """A model, an option or a file that cannot be processed; carries every :class:`Problem` that was found."""

    def __init__(self, *problems: Problem | str):
        self.problems = [p if isinstance(p, Problem) else Problem("model", p) for p in problems]
        super().__init__("\n".join(p.what if p.where == "model" else str(p) for p in self.problems))
