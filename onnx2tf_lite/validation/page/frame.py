"""What every page has in common: one file for a browser, which needs no network, with its title, style and script.

A page is a folder with its own part of the three: ``<name>.html`` (with ``$names`` to be filled in), ``<name>.css``,
``<name>.js``.  Reports have the header of ``frame.html`` around theirs, and the style of ``frame.css``.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template


def frame(package: str, name: str, *, title: str, subtitle: str, summary: str, head: str = "", **parts: str) -> str:
    """A report of ``package``.

    ``title``, ``subtitle``: plain text; ``summary``, ``head``, ``parts``: HTML, of which ``parts`` go into the page's
    own ``<name>.html``.
    """
    main = _filled(package, f"{name}.html", **parts)
    body = _filled(
        __package__, "frame.html", title=escape(title), subtitle=escape(subtitle), summary=summary, main=main
    )
    return _document(package, name, title, body, head, _text(__package__, "frame.css"))


def window(package: str, name: str, *, title: str, **parts: str) -> str:
    """A page of ``package`` that fills the window: the title and ``parts`` (HTML) go into its own ``<name>.html``."""
    return _document(package, name, title, _filled(package, f"{name}.html", title=escape(title), **parts))


def _document(package: str, name: str, title: str, body: str, head: str = "", style: str = "") -> str:
    style, script = style + _text(package, f"{name}.css"), _text(package, f"{name}.js")
    return _filled(__package__, "document.html", title=escape(title), head=head, style=style, body=body, script=script)


def _filled(package: str, file: str, **parts: str) -> str:
    return Template(_text(package, file)).substitute(parts)


def _text(package: str, file: str) -> str:
    return (files(package) / file).read_text(encoding="utf-8")
