"""What every page has in common: one file for a browser, which needs no network, with its title, style and script.

A page is a folder with its own part of the three: ``<name>.html`` (what is between header and end, with ``$names`` to
be filled in), ``<name>.css`` on top of ``frame.css``, ``<name>.js``.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template


def frame(package: str, name: str, *, title: str, subtitle: str, summary: str, head: str = "", **parts: str) -> str:
    """A page of ``package``.

    ``title``, ``subtitle``: plain text; ``summary``, ``head``, ``parts``: HTML, of which ``parts`` go into the page's
    own ``<name>.html``.
    """
    own = {kind: (files(package) / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
    ours = {kind: (files(__package__) / f"frame.{kind}").read_text(encoding="utf-8") for kind in ("html", "css")}
    return Template(ours["html"]).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=ours["css"] + own["css"],
        head=head,
        summary=summary,
        main=Template(own["html"]).substitute(parts),
        script=own["js"],
    )
