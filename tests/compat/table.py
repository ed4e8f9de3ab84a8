"""The table of options in docs/coming-from-onnx2tf.md, made of what onnx2tf has and what the parser does with it.

python -m tests.compat.table      # after a change of an option
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onnx2tf_lite.aliases import ALIASES, Alias

from .known import KNOWN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from-onnx2tf.md"
TABLE = re.compile(r"(<!-- options -->\n).*?(<!-- end -->\n)", re.DOTALL)
GENERATIONS = {"1": "1.x", "2": "2.x", "12": "both"}


def verdict(row: Alias) -> str:
    """What becomes of an option here, in a word."""
    return "works" if row.sets else "accepted" if row.ignored else "refused"


def rows() -> Iterator[tuple[str, str, str, str]]:
    """(flags, generations, verdict, what it does or why it does nothing) of every option of onnx2tf."""
    for known in KNOWN.values():
        row = ALIASES[known.keyword]
        said = row.ignored or row.refused or str(row.option.help)
        flags = ", ".join(f"`{flag}`" for flag in row.option.flags)
        yield flags, GENERATIONS[known.generations], verdict(row), said.replace("|", r"\|").replace("*", r"\*")


def table() -> str:
    """As Markdown: what works, then what is accepted, then what is refused."""
    order = ("works", "accepted", "refused")
    lines = [f"| {' | '.join(row)} |" for row in sorted(rows(), key=lambda row: order.index(row[2]))]
    return "\n".join(["| option | in | here | |", "|---|---|---|---|", *lines]) + "\n"


def filled(text: str) -> str:
    """The page with the table as it is now."""
    return TABLE.sub(lambda found: found[1] + table() + found[2], text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
