"""``index.html``: every model of a run on one page that needs no network, and what has changed since the run before.

Its own parts are ``index.html``, ``index.css`` and ``index.js``, in the frame of every page; the rows are drawn by the
browser from the same JSON that ``fleet.json`` holds.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

from ...validation.page.frame import frame
from ..job import versions
from ..made import STATUS

if TYPE_CHECKING:
    from ..storage import Record, Results

INDEX, SUMMARY = "index.html", "fleet.json"
#: What of a record the page shows: of 100,000 models every byte of each counts.
SHOWN = (
    "name",
    "status",
    "why",
    "page",
    "operators",
    "transposes",
    "sizes",
    "latency_ms",
    "sqnr",
    "targets",
    "coverage",
    "seconds",
)
#: Time is compared between runs of machines that are never quite the same.
SLOWER = 1.25
#: Changes that are shown, the worst first; index.js shows as many models at once.
MOST = 1000


def summary(records: Mapping[str, Record], lost: Mapping[str, str], began: float) -> Record:
    """A run as plain values: ``models`` by name, when it ``began`` and ``ended`` (seconds since 1970), ``versions``."""
    models = {name: dict(record) for name, record in sorted(records.items())}
    models |= {name: {"name": name, "status": "died", "why": [why], "files": {}} for name, why in lost.items()}
    return {"began": began, "ended": time.time(), "versions": versions(), "models": models}


def write(store: Results, now: Record) -> None:
    """The page and ``fleet.json``, compared with the ``fleet.json`` of the run before."""
    try:
        before = json.loads(store.read(SUMMARY) or "{}")
    except ValueError:
        before = {}
    store.write(INDEX, render(now, before))
    store.write(SUMMARY, json.dumps(now, indent=1) + "\n")


def render(now: Record, before: Record) -> str:
    """The page of a run; ``before`` is the :func:`summary` of the one before, or empty."""
    counts = Counter(record["status"] for record in now["models"].values())
    spent = now["ended"] - now["began"]
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(now["began"]))
    shown = "".join(f'<li class="{s}"><b>{counts[s]}</b> {s}</li>' for s in STATUS if counts[s])
    return frame(
        __name__,
        "index",
        title=f"{len(now['models'])} models",
        subtitle=f"{at}, {spent:.0f} s. " + ", ".join(f"{k} {v}" for k, v in now["versions"].items() if v),
        summary=f'<ul class="counts">{shown}</ul>',
        changes=_changes(list(changes(before, now)) if before else None),
        data=json.dumps([{k: r[k] for k in SHOWN if k in r} for r in now["models"].values()]).replace("</", "<\\/"),
    )


def _changes(found: list[tuple[str, str, str]] | None) -> str:
    if found is None:
        return '<p class="hint">There is no run before this one.</p>'
    if not found:
        return '<p class="hint">Nothing has changed since the run before.</p>'
    rest = f'<p class="hint">and {len(found) - MOST:,} more</p>' if len(found) > MOST else ""
    rows = "".join(
        f'<tr class="{escape(kind)}"><td>{escape(kind)}</td><td><a href="#{escape(name)}">{escape(name)}</a></td>'
        f"<td>{escape(what)}</td></tr>"
        for kind, name, what in found[:MOST]
    )
    return f"<table class=changes><tbody>{rows}</tbody></table>{rest}"


#: What is compared: its name, how it is read from a record, whether a new value is worse than an old one.
FIGURES: dict[str, tuple[Callable[[Record], Mapping[str, float]], Callable[[float, float], bool]]] = {
    "bytes of": (lambda r: {k: v for k, v in r.get("sizes", {}).items() if k.endswith(".tflite")}, lambda a, b: b > a),
    "operators": (lambda r: _single(r, "operators"), lambda a, b: b > a),
    "transposes": (lambda r: _single(r, "transposes"), lambda a, b: b > a),
    "% reached of": (lambda r: r.get("coverage", {}), lambda a, b: b < a),
    "dB of": (lambda r: r.get("sqnr", {}), lambda a, b: b < a - 0.5),
    "% of operators on": (lambda r: _devices(r), lambda a, b: b < a),
    "ms of": (lambda r: {k: v for k, v in r.get("latency_ms", {}).items() if v}, lambda a, b: b > SLOWER * a),
}


def _single(record: Record, name: str) -> dict[str, float]:
    return {"": record[name]} if name in record else {}


def _devices(record: Record) -> dict[str, float]:
    files = record.get("targets", {}).items()
    return {f"{device}, {kind}": share or 0.0 for kind, shares in files for device, share in shares.items()}


def changes(before: Record, now: Record) -> Iterator[tuple[str, str, str]]:
    """(``worse``, ``better``, ``new`` or ``gone``; the model; what), what got worse first."""
    found = [entry for name, record in now["models"].items() for entry in _changed(before, name, record)]
    found += [("gone", name, "") for name in before.get("models", {}) if name not in now["models"]]
    yield from sorted(found, key=lambda entry: ("worse", "gone", "new", "better").index(entry[0]))


def _changed(before: Record, name: str, record: Record) -> Iterator[tuple[str, str, str]]:
    old = before.get("models", {}).get(name)
    if old is None:
        yield "new", name, record["status"]
        return
    if old["status"] != record["status"]:
        kind = "worse" if STATUS.index(record["status"]) > STATUS.index(old["status"]) else "better"
        yield kind, name, f"{old['status']} before, {record['status']} now: {'; '.join(record.get('why', ()))}"
    for title, (read, worse) in FIGURES.items():
        was, held = read(old), read(record)
        for part in was.keys() & held.keys():
            for kind, is_so in (("worse", worse(was[part], held[part])), ("better", worse(held[part], was[part]))):
                if is_so:
                    yield kind, name, f"{title} {part}".strip() + f": {was[part]:g} before, {held[part]:g} now"
