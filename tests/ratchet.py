"""The house may only get better: the figures of tests.house against those that were reached before (house.json).

    python -m tests.ratchet           # exit code 1 where a figure is worse
    python -m tests.ratchet --write   # keep what is better; never what is worse

Where nothing is allowed (a bar of 0), the file has what is still there by room, or by what else a place begins with: a
new room begins with nothing, so that its bars hold from the start.  Of all other measures it has the total.  Sizes may
grow by SLACK, for mends; a feature that needs more writes its figure into the file by hand, where a reviewer sees it.
Types and contracts are left to mypy and import-linter, which ``make lint`` runs too.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests import house

KEPT = Path(__file__).with_name("house.json")
SLACK = {"lines": 1.01, "code": 1.01, "entries": 1.1, "patterns": 1.1}
ELSEWHERE = ("strict", "arrows")  # mypy and import-linter hold these
Kept = dict[str, int | dict[str, int]]


def figures(tree: house.Tree) -> tuple[Kept, dict[str, tuple[str, ...]]]:
    """By the name of the measure: a total or counts by room, and the places."""
    found: Kept = {}
    places = {}
    for measure in house.MEASURES:
        if measure.name not in ELSEWHERE and not measure.name.endswith("-new"):
            figure = measure.of(tree)
            places[measure.name] = figure.places
            found[measure.name] = dict(Counter(map(room, figure.places))) if measure.bar == 0 else figure.value
    return found, places


def room(place: str) -> str:
    """What a place begins with: the room of a file, the name of a class, a module."""
    return re.split(r"[/:, ]", place, maxsplit=1)[0]


def compare(now: Kept, kept: Kept) -> Iterator[tuple[str, str, int, int]]:
    """(measure, room or "", before, now) of all that differs by more than the slack, or is better."""
    for name, value in now.items():
        before = kept.get(name, value)
        if isinstance(value, int) and isinstance(before, int):
            if value < before or value > before * SLACK.get(name, 1):
                yield name, "", before, value
        elif isinstance(value, dict) and isinstance(before, dict):
            for key in sorted(value.keys() | before.keys()):
                if value.get(key, 0) != before.get(key, 0):
                    yield name, key, before.get(key, 0), value.get(key, 0)


def better(now: Kept, kept: Kept) -> Kept:
    """The figures to keep: of each the lower one; a measure that is new begins with what it finds."""
    found: Kept = {}
    for name, value in now.items():
        before = kept.get(name, value)
        if isinstance(value, int) and isinstance(before, int):
            found[name] = min(value, before)
        elif isinstance(value, dict) and isinstance(before, dict):
            found[name] = {k: min(n, before.get(k, 0)) for k, n in value.items() if before.get(k, 0)}
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ratchet", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="keep what is better")
    args = parser.parse_args(argv)
    kept: Kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    now, places = figures(house.product())
    worse = 0
    for name, key, before, value in compare(now, kept):
        print(f"{name}{f' of {key}' if key else ''}: {before} -> {value}{'  WORSE' if value > before else ''}")
        if value > before:
            worse += 1
            for place in places[name] if key else ():
                if room(place) == key:
                    print(f"    {place}")
    if args.write:
        KEPT.write_text(json.dumps(better(now, kept), indent=1) + "\n")
    elif worse:
        print("see all places: python -m tests.house MEASURE")
    return int(worse > 0)


if __name__ == "__main__":
    raise SystemExit(main())
